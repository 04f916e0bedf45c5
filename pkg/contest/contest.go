// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package contest says when to stop where somebody keeps undoing what the product
// does. To go on would be a loop, and for a Service two Revisions in each round.
package contest

import "time"

const (
	// Rounds within window are how often something is put back before it is left
	// alone for Pause.
	Rounds = 3
	window = 10 * time.Minute
	// Pause is how long something contested is left alone.
	Pause = time.Hour
)

// Contest is what is known of one object. It guards against loops only, so it may
// be lost with the process.
type Contest struct {
	// noted are the times of the last rounds.
	noted []time.Time
	// given is when the object was given up for the time being.
	given time.Time
}

// Left returns how long the object is to be left alone from now on: not at all,
// for Pause if it is given up now, or for the rest of that.
func (c *Contest) Left(now time.Time) time.Duration {
	if !c.given.IsZero() {
		if left := c.given.Add(Pause).Sub(now); left > 0 {
			return left
		}
		c.given, c.noted = time.Time{}, nil
	}
	recent := 0
	for _, at := range c.noted {
		if now.Sub(at) < window {
			recent++
		}
	}
	if recent < Rounds {
		return 0
	}
	c.given = now
	return Pause
}

// Note notes a round: something was put back.
func (c *Contest) Note(now time.Time) {
	c.noted = append(c.noted, now)
	if len(c.noted) > Rounds {
		c.noted = c.noted[1:]
	}
}
