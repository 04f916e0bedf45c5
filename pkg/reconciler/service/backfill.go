// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
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
	// urgent and patient are the two halves of the line. A place whose ticket is
	// not the one in waiting was given up and is passed over.
	urgent, patient []place
	waiting         map[types.NamespacedName]ticket
	tickets         int
	// granted are the turns that are not over, with the time before each.
	granted map[types.NamespacedName]time.Time
	changed chan struct{}
}

type place struct {
	key    types.NamespacedName
	ticket ticket
}

type ticket struct {
	number int
	urgent bool
}

func newBackfill(enqueue func(types.NamespacedName)) *backfill {
	return &backfill{
		enqueue: enqueue, changed: make(chan struct{}, 1),
		waiting: make(map[types.NamespacedName]ticket), granted: make(map[types.NamespacedName]time.Time),
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
	if _, ok := b.granted[key]; ok {
		return true
	}
	if perMinute == 0 || len(b.waiting) == 0 && b.wait() <= 0 {
		b.leave(key)
		b.grant(key)
		return true
	}
	if t, ok := b.waiting[key]; ok && t.urgent == urgent {
		return false
	}
	b.tickets++
	p := place{key, ticket{b.tickets, urgent}}
	b.waiting[key] = p.ticket
	if urgent {
		b.urgent = append(b.urgent, p)
	} else {
		b.patient = append(b.patient, p)
	}
	b.notify()
	return false
}

// done ends a Service's turn or its waiting. A turn in which nothing was written
// goes to the next one.
func (b *backfill) done(key types.NamespacedName, wrote bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before, ok := b.granted[key]
	if ok && !wrote {
		b.last = before
		b.notify()
	}
	delete(b.granted, key)
	b.leave(key)
}

// forgetThose drops the places and turns of certain Services, for a process that no
// longer leads for them.
func (b *backfill) forgetThose(are func(types.NamespacedName) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.granted, func(key types.NamespacedName, _ time.Time) bool { return are(key) })
	for key := range b.waiting {
		if are(key) {
			b.leave(key)
		}
	}
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
	b.granted[key] = b.last
	b.last = time.Now()
}

// pop takes the first of the line.
func (b *backfill) pop() types.NamespacedName {
	for _, line := range []*[]place{&b.urgent, &b.patient} {
		for len(*line) > 0 {
			first := (*line)[0]
			*line = (*line)[1:]
			if b.waiting[first.key] == first.ticket {
				b.leave(first.key)
				return first.key
			}
		}
	}
	panic("the line is empty although Services wait")
}

// leave gives up a place. Given-up places are dropped when nobody waits.
func (b *backfill) leave(key types.NamespacedName) {
	delete(b.waiting, key)
	if len(b.waiting) == 0 {
		b.urgent, b.patient = nil, nil
	}
}

func (b *backfill) notify() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}
