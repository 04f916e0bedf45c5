// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package contest limits writes that are undone again and again. Without a limit that
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
	// Most rounds within window are how often something is put back before it is left
	// alone for Pause.
	Most   = 3
	window = 10 * time.Minute
	// Pause is how long something contested is left alone.
	Pause = time.Hour
)

// Rounds are the last times at which something was done that somebody undoes. The zero
// value has none.
type Rounds struct{ at []time.Time }

// Note notes a round.
func (r *Rounds) Note(now time.Time) {
	r.at = append(r.at, now)
	if len(r.at) > Most {
		r.at = r.at[1:]
	}
}

// Recent returns how many of the last rounds, at most [Most], were within the window that
// ends now.
func (r *Rounds) Recent(now time.Time) int {
	recent := 0
	for _, at := range r.at {
		if now.Sub(at) < window {
			recent++
		}
	}
	return recent
}

// Contested reports whether there were [Most] rounds within the window that ends now.
func (r *Rounds) Contested(now time.Time) bool { return r.Recent(now) >= Most }

// Contest counts how often one object was restored. The zero value is ready to use.
type Contest struct {
	Rounds
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
		*c = Contest{}
	}
	if !c.Contested(now) {
		return 0
	}
	c.given = now
	return Pause
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
