// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// fromAPIServer reads from the API server. After an opt-in, hundreds of Services need the
// same Namespace and ServiceAccount, which would be most of the requests of a backfill.
// So concurrent callers share a read.
func fromAPIServer(client kubernetes.Interface) sources {
	namespaces := sharedReads[*corev1.Namespace]{read: func(ctx context.Context, key types.NamespacedName) (*corev1.Namespace, error) {
		return client.CoreV1().Namespaces().Get(ctx, key.Name, metav1.GetOptions{})
	}}
	accounts := sharedReads[*corev1.ServiceAccount]{read: func(ctx context.Context, key types.NamespacedName) (*corev1.ServiceAccount, error) {
		return client.CoreV1().ServiceAccounts(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	}}
	return sources{
		namespace: func(ctx context.Context, name string) (*corev1.Namespace, error) {
			return namespaces.get(ctx, types.NamespacedName{Name: name})
		},
		account: func(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
			return accounts.get(ctx, types.NamespacedName{Namespace: namespace, Name: name})
		},
	}
}

// sharedReads lets concurrent callers share a read of the same object. A caller gets only
// a read that began after its call, so the answer is never older than the question. While
// a read is in progress, new callers wait for the next one. The object is shared and must
// not be changed.
type sharedReads[T any] struct {
	read func(context.Context, types.NamespacedName) (T, error)

	mu sync.Mutex
	// next are the following reads of objects that are being read now, or nil where nobody
	// waits.
	next map[types.NamespacedName]*sharedRead[T]
}

type sharedRead[T any] struct {
	done  chan struct{}
	value T
	err   error
}

func (s *sharedReads[T]) get(ctx context.Context, key types.NamespacedName) (T, error) {
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
func (s *sharedReads[T]) join(ctx context.Context, key types.NamespacedName) *sharedRead[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	next, busy := s.next[key]
	if next != nil {
		return next
	}
	next = &sharedRead[T]{done: make(chan struct{})}
	if busy {
		s.next[key] = next
		return next
	}
	if s.next == nil {
		s.next = make(map[types.NamespacedName]*sharedRead[T])
	}
	s.next[key] = nil
	// The read serves other callers too, so it is not cancelled with this one.
	go s.run(context.WithoutCancel(ctx), key, next)
	return next
}

// run reads the object until nobody waits for it.
func (s *sharedReads[T]) run(ctx context.Context, key types.NamespacedName, r *sharedRead[T]) {
	for r != nil {
		r.value, r.err = s.read(ctx, key)
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
