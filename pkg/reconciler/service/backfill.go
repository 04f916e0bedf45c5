// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/pkg/memory"
)

// backfill limits the rate of Revisions that the reconciler causes. A Service that has to
// wait leaves the work queue. It waits in a fairQueue and is enqueued when its turn comes,
// so waiting costs nothing, however many Services wait.
type backfill struct {
	// enqueue enqueues a Service whose turn it is.
	enqueue func(types.NamespacedName)

	mu        sync.Mutex
	perMinute int
	// last is when the last turn began.
	last    time.Time
	waiting *fairQueue
	// granted are the turns in progress.
	granted map[types.NamespacedName]turn
	changed chan struct{}
}

// turn is when a turn began, and when the previous one began.
type turn struct{ began, before time.Time }

func newBackfill(m *memory.Memory, enqueue func(types.NamespacedName)) *backfill {
	b := &backfill{
		enqueue: enqueue, changed: make(chan struct{}, 1),
		waiting: newFairQueue(), granted: make(map[types.NamespacedName]turn),
	}
	m.Add(b)
	return b
}

// ask reports whether it is the Service's turn, and queues the Service if it is not. A
// turn lasts until done, so that a conflict does not cost it.
func (b *backfill) ask(key types.NamespacedName, urgent bool, perMinute int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.perMinute != perMinute {
		b.perMinute = perMinute
		b.notify()
	}
	if _, ok := b.granted[key]; ok {
		return true
	}
	if perMinute == 0 || b.waiting.len() == 0 && b.wait() <= 0 {
		b.waiting.remove(key)
		b.grant(key)
		return true
	}
	if b.waiting.push(key, urgent) {
		b.notify()
	}
	return false
}

// done ends the turn or the wait of a Service. A turn in which nothing was written passes
// to the next Service, unless that one has had its own turn meanwhile: two writes would
// exceed the rate.
func (b *backfill) done(key types.NamespacedName, wrote bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t, ok := b.granted[key]; ok && !wrote && b.last.Equal(t.began) {
		b.last = t.before
		b.notify()
	}
	delete(b.granted, key)
	b.waiting.remove(key)
}

// Forget implements [memory.Keeper].
func (b *backfill) Forget(key types.NamespacedName) { b.done(key, false) }

// ForgetThose implements [memory.Keeper]. The other Services keep their places: they have
// left the work queue, and nothing else would enqueue them.
func (b *backfill) ForgetThose(are func(types.NamespacedName) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.granted, func(key types.NamespacedName, _ turn) bool { return are(key) })
	for key := range b.waiting.places {
		if are(key) {
			b.waiting.remove(key)
		}
	}
}

// run enqueues waiting Services at the rate until ctx is done.
func (b *backfill) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.changed:
		case <-timer.C:
		}
		if next := b.next(); next > 0 {
			timer.Reset(next)
		}
	}
}

// next enqueues the Services whose turn has come, and returns the time until the next
// turn, or zero if no Service waits.
func (b *backfill) next() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.waiting.len() > 0 {
		if wait := b.wait(); wait > 0 {
			return wait
		}
		key, _ := b.waiting.pop()
		b.grant(key)
		b.enqueue(key)
	}
	return 0
}

// wait returns the time until the next turn.
func (b *backfill) wait() time.Duration {
	if b.perMinute == 0 {
		return 0
	}
	return time.Until(b.last.Add(time.Minute / time.Duration(b.perMinute)))
}

func (b *backfill) grant(key types.NamespacedName) {
	now := time.Now()
	b.granted[key] = turn{began: now, before: b.last}
	b.last = now
}

func (b *backfill) notify() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}
