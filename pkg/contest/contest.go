// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package contest limits writes that another writer reverts repeatedly. Without a limit that
// would be an endless loop, and two Revisions of a Service in each round.
//
// For a list of pull secrets, writes stop after a few rounds ([Contest], [Additions]),
// because its owner may intend the removal. For a copy they continue with increasing delay
// ([Backoff]), because a copy has no owner but its ClusterPullSecret.
package contest

import (
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"pullsecrets.dev/pkg/merge"
)

const (
	// Most is the number of rounds within window after which an entry is not restored for
	// Pause.
	Most   = 3
	window = 10 * time.Minute
	// Pause is how long a contested object is not written.
	Pause = time.Hour
)

// Rounds are the last times of a write that another writer reverts. The zero value has
// none.
type Rounds struct{ at []time.Time }

// Note records a round.
func (r *Rounds) Note(now time.Time) {
	r.at = append(r.at, now)
	if len(r.at) > Most {
		r.at = r.at[1:]
	}
}

// Recent returns how many of the last rounds, at most [Most], were within the window
// before now.
func (r *Rounds) Recent(now time.Time) int {
	recent := 0
	for _, at := range r.at {
		if now.Sub(at) < window {
			recent++
		}
	}
	return recent
}

// Contested reports whether there were [Most] rounds within the window before now.
func (r *Rounds) Contested(now time.Time) bool { return r.Recent(now) >= Most }

// Contest counts the restores of one object. The zero value is ready to use.
type Contest struct {
	Rounds
	// paused is when the current pause began.
	paused time.Time
}

// Left returns how long the object must not be written: zero, Pause if a pause begins now,
// or the rest of the current pause.
func (c *Contest) Left(now time.Time) time.Duration {
	if !c.paused.IsZero() {
		if left := c.paused.Add(Pause).Sub(now); left > 0 {
			return left
		}
		*c = Contest{}
	}
	if !c.Contested(now) {
		return 0
	}
	c.paused = now
	return Pause
}

// Additions are the names that were added to one list. The zero value has none.
type Additions struct{ names sets.Set[string] }

// Again returns the entries that a result adds and that were added before.
func (a *Additions) Again(r merge.Result) []merge.Entry {
	var again []merge.Entry
	for _, e := range r.Added {
		if a.names.Has(e.Name) {
			again = append(again, e)
		}
	}
	return again
}

// Wrote records that a result was written.
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
