// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
)

// backfill spaces out the Revisions that the reconciler makes. A Service that
// has to wait leaves the work queue altogether: it stands in a line here, and is
// woken when its turn comes, so that waiting costs nothing however long the line
// is. Those that are not Ready come first, each in the order of asking.
type backfill struct {
	// enqueue wakes a Service whose turn it is.
	enqueue func(types.NamespacedName)

	mu        sync.Mutex
	perMinute int
	last      time.Time
	urgent    []types.NamespacedName
	patient   []types.NamespacedName
	waiting   map[types.NamespacedName]bool // whether urgent
	granted   sets.Set[types.NamespacedName]
	changed   chan struct{}
}

func newBackfill(enqueue func(types.NamespacedName)) *backfill {
	return &backfill{
		enqueue: enqueue,
		waiting: make(map[types.NamespacedName]bool),
		granted: sets.New[types.NamespacedName](),
		changed: make(chan struct{}, 1),
	}
}

// ask tells whether it is a Service's turn, and puts it into the line if not. A
// turn lasts until done, so that a conflict does not cost it.
func (b *backfill) ask(key types.NamespacedName, urgent bool, perMinute int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.perMinute != perMinute {
		b.perMinute = perMinute
		b.notify()
	}
	if b.granted.Has(key) {
		return true
	}
	if perMinute == 0 || len(b.waiting) == 0 && b.wait() <= 0 {
		b.leave(key)
		b.grant(key)
		return true
	}
	if was, ok := b.waiting[key]; !ok || was != urgent {
		b.leave(key)
		b.waiting[key] = urgent
		if urgent {
			b.urgent = append(b.urgent, key)
		} else {
			b.patient = append(b.patient, key)
		}
		b.notify()
	}
	return false
}

// done ends a Service's turn, or its waiting, because it was written or there is
// nothing to write any more.
func (b *backfill) done(key types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.granted.Delete(key)
	b.leave(key)
}

// run wakes one waiting Service after the other until ctx is done.
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

// next wakes whoever has the turn now, and returns how long the next one has to
// wait, or zero where nobody waits.
func (b *backfill) next() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.waiting) > 0 {
		if wait := b.wait(); wait > 0 {
			return wait
		}
		key := b.pop()
		b.grant(key)
		b.enqueue(key)
	}
	return 0
}

// wait is how long the next turn is away.
func (b *backfill) wait() time.Duration {
	if b.perMinute == 0 {
		return 0
	}
	return time.Until(b.last.Add(time.Minute / time.Duration(b.perMinute)))
}

func (b *backfill) grant(key types.NamespacedName) {
	b.last = time.Now()
	b.granted.Insert(key)
}

// pop takes the first of the line. Keys that left it are still in the slices
// and are passed over.
func (b *backfill) pop() types.NamespacedName {
	for _, line := range []struct {
		keys   *[]types.NamespacedName
		urgent bool
	}{{&b.urgent, true}, {&b.patient, false}} {
		for len(*line.keys) > 0 {
			key := (*line.keys)[0]
			*line.keys = (*line.keys)[1:]
			if urgent, ok := b.waiting[key]; ok && urgent == line.urgent {
				delete(b.waiting, key)
				return key
			}
		}
	}
	panic("the line is empty although Services wait")
}

func (b *backfill) leave(key types.NamespacedName) { delete(b.waiting, key) }

func (b *backfill) notify() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}
