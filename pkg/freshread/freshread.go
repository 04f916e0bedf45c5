// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package freshread lets concurrent callers share reads from the API server, where a cache may
// be too old.
package freshread

import (
	"context"
	"sync"
	"time"
)

// timeout is how long a read may take. Without one, a single read that hangs would stop all
// callers with the same key.
const timeout = 30 * time.Second

// Shared lets concurrent callers share a read by the same key. A caller gets only a read that
// began after its call, so the answer is never older than the question. While a read is in
// progress, new callers wait for the next one. What is read is shared and must not be changed.
type Shared[K comparable, T any] struct {
	// Read reads from the API server. Its context has the values of the one caller for
	// whom it began, and ends after 30 seconds, not with that caller.
	Read func(context.Context, K) (T, error)

	mu sync.Mutex
	// next are the following reads by keys that are being read now, or nil where nobody
	// waits.
	next map[K]*read[T]
}

type read[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// Get returns what a read by this key returns that begins after the call, or the error of ctx
// if that ends first.
func (s *Shared[K, T]) Get(ctx context.Context, key K) (T, error) {
	r := s.join(ctx, key)
	select {
	case <-r.done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// join returns the first read that begins after the call.
func (s *Shared[K, T]) join(ctx context.Context, key K) *read[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	next, busy := s.next[key]
	if next != nil {
		return next
	}
	next = &read[T]{done: make(chan struct{})}
	if busy {
		s.next[key] = next
		return next
	}
	if s.next == nil {
		s.next = make(map[K]*read[T])
	}
	s.next[key] = nil
	// The read serves other callers too, so it is not cancelled with this one.
	go s.run(context.WithoutCancel(ctx), key, next)
	return next
}

// run reads until nobody waits for it.
func (s *Shared[K, T]) run(ctx context.Context, key K, r *read[T]) {
	for r != nil {
		r.value, r.err = s.readOnce(ctx, key)
		close(r.done)
		s.mu.Lock()
		r = s.next[key]
		if r == nil {
			delete(s.next, key)
		} else {
			s.next[key] = nil
		}
		s.mu.Unlock()
	}
}

func (s *Shared[K, T]) readOnce(ctx context.Context, key K) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return s.Read(ctx, key)
}
