// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package contest

import "time"

const (
	// free is how often an object is brought to one state without delay.
	free = 3
	// firstWait is the delay of the next write. Each further one waits twice as long as
	// the one before, up to longestWait.
	firstWait, longestWait = 2 * time.Second, 10 * time.Minute
)

// Backoff spaces out the writes that bring one object to the same state again and again.
// The zero value is ready to use.
type Backoff struct {
	// state is what the object was brought to last.
	state string
	times int
	last  time.Time
}

// Wait returns how long the next write that brings the object to a state has to wait.
// Another state starts anew, and so does a long time without a write.
func (b *Backoff) Wait(state string, now time.Time) time.Duration {
	if b.state == state && now.Sub(b.last) > 2*longestWait {
		*b = Backoff{}
	}
	if b.state != state || b.times < free {
		return 0
	}
	return max(0, b.last.Add(min(firstWait<<min(b.times-free, 10), longestWait)).Sub(now))
}

// Wrote notes a write that brings the object to a state.
func (b *Backoff) Wrote(state string, now time.Time) {
	if b.state != state {
		*b = Backoff{state: state}
	}
	b.times++
	b.last = now
}
