// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"maps"
	"slices"
)

// attribute returns both sides of a request with the ledgers that are authoritative. The
// old side has its own ledger, completed. The requested side has the old ledger, and those
// items of its own ledger that are accepted or name a Free entry: a user who writes an
// entry owns it, so nobody can forge an item for a Free one. kept are entries of the last
// kind that this call does not know as declared: another call of the same request added
// them.
func (d Declared) attribute(old, requested Current) (_, _ Current, kept []Entry) {
	old = d.completed(old)
	brought := requested.Ledger
	declared, withheld := d.layers(nil, true)
	requested.Ledger = d.accepted(brought)
	for _, name := range clean(requested.List) {
		origin, named := brought[name]
		_, before := old.Ledger[name]
		if !named || before || !requested.Free.Has(name) {
			continue
		}
		requested.Ledger[name] = origin
		if !contains(declared, name) && !contains(withheld, name) {
			kept = append(kept, Entry{name, origin})
		}
	}
	maps.Copy(requested.Ledger, old.Ledger)
	return old, d.completed(requested), kept
}

// accepted returns the items of a ledger from a request that match what is declared now,
// with the same origin.
func (d Declared) accepted(brought Ledger) Ledger {
	accepted := make(Ledger, len(brought))
	for _, e := range d.entries() {
		if brought[e.Name] == e.Origin {
			accepted[e.Name] = e.Origin
		}
	}
	return accepted
}

// completed adds the items that a ledger lacks for Managed entries, with the origin that
// declares them now. An entry that is no longer declared gets the origin namespace, so
// that the next change of the template removes it.
func (d Declared) completed(c Current) Current {
	lacks := func(name string) bool {
		_, named := c.Ledger[name]
		return c.Managed.Has(name) && !named
	}
	if !slices.ContainsFunc(c.List, lacks) {
		return c
	}
	ledger, declared := maps.Clone(c.Ledger), d.entries()
	if ledger == nil {
		ledger = Ledger{}
	}
	for _, name := range slices.DeleteFunc(clean(c.List), func(name string) bool { return !lacks(name) }) {
		ledger[name] = FromNamespace
		if i := slices.IndexFunc(declared, func(e Entry) bool { return e.Name == name }); i >= 0 {
			ledger[name] = declared[i].Origin
		}
	}
	c.Ledger = ledger
	return c
}

// Restored returns the ledger for a [Restore]: the old one, completed. A request that
// drops an entry ends our ownership, so the entry is not Managed afterwards.
func Restored(old Current, d Declared) Ledger { return d.completed(old).Ledger }
