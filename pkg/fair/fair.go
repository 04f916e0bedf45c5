// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package fair shares a rate among namespaces, so that one tenant cannot use up what
// all of them need.
package fair

import (
	"sync"
	"time"
)

// Rate is how much may be used: a burst, which is refilled by so much per second.
type Rate struct{ PerSecond, Burst float64 }

// Budget is a rate for all namespaces together and a smaller one for each.
//
// A namespace that has used more than half of its own burst gets nothing while the
// common burst is less than half full. That half is for the namespaces that have used
// little. So many busy namespaces together cannot use it up either.
type Budget struct {
	all, each Rate
	now       func() time.Time

	mu     sync.Mutex
	common bucket
	// own has a bucket for each namespace whose burst is not full.
	own map[string]bucket
	// sweepAt is how many buckets there may be before full ones are removed.
	sweepAt int
}

// minSweep is how many buckets are kept without looking for full ones.
const minSweep = 64

// bucket is how much was left at a time.
type bucket struct {
	left float64
	at   time.Time
}

func (b bucket) refilled(rate Rate, now time.Time) bucket {
	elapsed := max(0, now.Sub(b.at).Seconds())
	return bucket{left: min(rate.Burst, b.left+elapsed*rate.PerSecond), at: now}
}

// NewBudget returns a budget that is full. now is the clock.
func NewBudget(all, each Rate, now func() time.Time) *Budget {
	return &Budget{
		all: all, each: each, now: now,
		common: bucket{all.Burst, now()}, own: make(map[string]bucket), sweepAt: minSweep,
	}
}

// Take uses one unit for a namespace, and reports whether there was one.
func (b *Budget) Take(namespace string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	b.common = b.common.refilled(b.all, now)
	own, known := b.own[namespace]
	if own = own.refilled(b.each, now); !known {
		own.left = b.each.Burst
	}
	busy := own.left <= b.each.Burst/2
	taken := false
	switch {
	case own.left < 1:
	case b.common.left < 1, busy && b.common.left <= b.all.Burst/2:
		// What others have used up must not make a busy namespace look quiet: its
		// own bucket would fill while it is refused.
		own.left = 0
	default:
		taken = true
		own.left--
		b.common.left--
	}
	b.own[namespace] = own
	b.sweep(now)
	return taken
}

// sweep removes full buckets. A namespace without one has its whole burst. The cost is
// constant per call on average, because the number has doubled since the last time.
func (b *Budget) sweep(now time.Time) {
	if len(b.own) < b.sweepAt {
		return
	}
	for namespace, own := range b.own {
		if own.refilled(b.each, now).left >= b.each.Burst {
			delete(b.own, namespace)
		}
	}
	b.sweepAt = max(minSweep, 2*len(b.own))
}
