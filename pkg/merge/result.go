// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"cmp"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"
)

// Entry is a name of the list and the origin that it was added for.
type Entry struct {
	Name   string
	Origin Origin
}

func contains(entries []Entry, name string) bool {
	return slices.ContainsFunc(entries, func(e Entry) bool { return e.Name == name })
}

// Result is the new state of a list.
type Result struct {
	// List and Ledger are the new state. Both are nil where they are empty.
	List   []string
	Ledger Ledger
	// Added and Taken are the entries that are added and removed.
	Added, Taken []Entry
	// Withheld are declared names that the ServiceAccount's enforce-mountable-secrets
	// excludes.
	Withheld []Entry
	// ListChanged and LedgerChanged report whether there is anything to write.
	ListChanged, LedgerChanged bool
}

// Changed reports whether there is anything to write.
func (r Result) Changed() bool { return r.ListChanged || r.LedgerChanged }

// TooLong reports whether the ledger exceeds [MaxLedger]. Such a ledger would be read as
// empty, so it must not be written.
func (r Result) TooLong() bool { return len(r.Ledger.String()) > MaxLedger }

// against sets LedgerChanged by the ledger that is stored or requested, which may have
// been dropped or forged.
func (r Result) against(brought Ledger) Result {
	r.LedgerChanged = !maps.Equal(r.Ledger, brought)
	return r
}

// interleave adds the kept entries that are no longer declared to want, each after the
// entries of its own layer.
func interleave(want, keep []Entry) []Entry {
	all := slices.Clone(want)
	for _, e := range keep {
		if !contains(all, e.Name) {
			all = append(all, e)
		}
	}
	slices.SortStableFunc(all, func(a, b Entry) int { return cmp.Compare(rank(a.Origin), rank(b.Origin)) })
	return all
}

func rank(o Origin) int {
	switch {
	case o == FromService:
		return 2
	case o == FromNamespace:
		return 3
	case o.isClusterPullSecret():
		return 4
	default:
		return 6
	}
}

// settle makes a result from the user's own entries and ours. If the result only reorders
// the old list, or the requested one with what it lacks of ours, that order is kept,
// because each reordering creates a Revision. The order of the user's own entries is
// always the user's.
func settle(old, requested Current, own []string, entries []Entry, withheld []Entry) Result {
	list := make([]string, 0, len(own)+len(entries))
	list = append(list, own...)
	ours := make(Ledger, len(entries))
	for _, e := range entries {
		list = append(list, e.Name)
		ours[e.Name] = e.Origin
	}
	for _, other := range [][]string{clean(old.List), restoredList(old, requested)} {
		if isReordering(list, other) && slices.Equal(Current{List: other, Ledger: ours}.own(), own) {
			list = other
			break
		}
	}
	return compare(old, requested, list, entries, withheld)
}

// restoredList returns a requested list without repeats and empty names, with the entries
// of ours that the old list has and the request lacks: the old list, if the user's own
// entries are the same, and otherwise with ours at the end. The policies in config/outage
// restore the same before the webhook is called, or another writer sends it. So the order
// of a result does not depend on them.
func restoredList(old, requested Current) []string {
	missing := dropped(old, requested)
	switch {
	case len(missing) == 0:
		return clean(requested.List)
	case sets.New(old.List...).HasAll(requested.List...) &&
		slices.Equal(old.own(), Current{List: requested.List, Ledger: old.Ledger, Claimed: requested.Claimed}.own()):
		return clean(old.List)
	default:
		return append(clean(requested.List), missing...)
	}
}

// dropped returns the entries of ours that the old list has and the request lacks, without
// those that the request claims.
func dropped(old, requested Current) []string {
	var names []string
	for _, e := range old.added() {
		if !slices.Contains(requested.List, e.Name) && !requested.Claimed.Has(e.Name) {
			names = append(names, e.Name)
		}
	}
	return names
}

// isReordering reports whether two lists without repeats hold the same names.
func isReordering(a, b []string) bool {
	return len(a) == len(b) && sets.New(a...).HasAll(b...)
}

// compare computes what a new state changes: Added and Taken against the old state,
// ListChanged and LedgerChanged against the requested one.
func compare(old, requested Current, list []string, entries []Entry, withheld []Entry) Result {
	r := Result{List: list, Withheld: withheld}
	for _, e := range entries {
		if !slices.Contains(old.List, e.Name) && !slices.Contains(requested.List, e.Name) {
			r.Added = append(r.Added, e)
		}
		// A claimed entry that was only dropped from the list comes back as the
		// user's.
		if !requested.Claimed.Has(e.Name) {
			if r.Ledger == nil {
				r.Ledger = make(Ledger, len(entries))
			}
			r.Ledger[e.Name] = e.Origin
		}
	}
	for _, e := range old.added() {
		if !slices.Contains(list, e.Name) {
			r.Taken = append(r.Taken, e)
		}
	}
	if r.ListChanged = !slices.Equal(list, clean(requested.List)); !r.ListChanged {
		r.List = slices.Clone(requested.List)
	}
	r.List = clip(r.List)
	r.LedgerChanged = !maps.Equal(r.Ledger, requested.trimmed())
	return r
}

func unchanged(c Current) Result {
	return Result{List: clip(slices.Clone(c.List)), Ledger: c.trimmed()}
}

// clip returns nil for an empty list, so that absent and empty lists are equal.
func clip(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return list
}
