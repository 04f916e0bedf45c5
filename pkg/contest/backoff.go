// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package contest

import "time"

const (
	// free is the number of writes of one state without delay.
	free = 3
	// firstWait is the delay of the next write. It doubles with each further write, up to
	// longestWait.
	firstWait, longestWait = 2 * time.Second, 10 * time.Minute
)

// Backoff delays repeated writes of the same state of one object. The zero value is ready
// to use.
type Backoff struct {
	// state is the state of the last write.
	state string
	times int
	last  time.Time
}

// Wait returns the delay of the next write of a state. Another state resets the backoff,
// and so does a long time without a write.
func (b *Backoff) Wait(state string, now time.Time) time.Duration {
	if b.state == state && now.Sub(b.last) > 2*longestWait {
		*b = Backoff{}
	}
	if b.state != state || b.times < free {
		return 0
	}
	return max(0, b.last.Add(min(firstWait<<min(b.times-free, 10), longestWait)).Sub(now))
}

// Wrote records a write of a state.
func (b *Backoff) Wrote(state string, now time.Time) {
	if b.state != state {
		*b = Backoff{state: state}
	}
	b.times++
	b.last = now
}
