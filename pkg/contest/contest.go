// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package contest limits writes where somebody keeps undoing them. Without a limit that
// would be a loop, and for a Service two Revisions in each round.
//
// A list of pull secrets is left alone after a few rounds ([Contest], [Additions]),
// because its owner may mean it. A copy is written again, later each time ([Backoff]),
// because it has no owner but its ClusterPullSecret.
package contest

import (
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"pullsecrets.dev/pkg/merge"
)

const (
	// Rounds within window are how often something is put back before it is left
	// alone for Pause.
	Rounds = 3
	window = 10 * time.Minute
	// Pause is how long something contested is left alone.
	Pause = time.Hour
)

// Contest counts how often one object was restored. The zero value is ready to use.
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

// Additions are the names that were added to one list. The zero value has none.
type Additions struct{ names sets.Set[string] }

// Again returns the entries that a result adds although they were added before.
func (a *Additions) Again(r merge.Result) []merge.Entry {
	var again []merge.Entry
	for _, e := range r.Added {
		if a.names.Has(e.Name) {
			again = append(again, e)
		}
	}
	return again
}

// Wrote notes that a result was written.
func (a *Additions) Wrote(r merge.Result) {
	if a.names == nil {
		a.names = sets.New[string]()
	}
	for _, e := range r.Added {
		a.names.Insert(e.Name)
	}
	for _, e := range r.Taken {
		a.names.Delete(e.Name)
	}
}
