// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"maps"
	"slices"
)

// ForServiceAccount computes the list of a bound ServiceAccount. Declared names are
// appended, entries in the ledger that are no longer declared are removed, and all others
// keep their position. A claimed entry leaves the ledger at once, because the next write
// of the list ends the proof of the claim.
func ForServiceAccount(current Current, namespace []string, always []Grant) Result {
	stored := maps.Clone(current.Ledger)
	maps.DeleteFunc(stored, func(name string, _ Origin) bool { return !slices.Contains(current.List, name) })
	return bind(current, Declared{Namespace: namespace, Always: always}, true).against(stored)
}

// AdmitServiceAccount computes the list in an admission request. It removes nothing, and
// restores what the request lacks of ours: a stale cache may lack the declaration that an
// entry is there for, so the reconciler removes it after it asked the API server. As in [AdmitUpdate], the ledger of the old
// object is authoritative; old is empty for a new ServiceAccount. Requested names that are
// Managed are ours if they are declared. Nothing is added to a Shared list: admission
// changes a list without owning it, so the addition would pass as applied by the other
// manager. The reconciler adds it, and owns the list alone from then on.
func AdmitServiceAccount(old, requested Current, namespace []string, always []Grant) Result {
	if requested.Shared {
		namespace = slices.DeleteFunc(slices.Clone(namespace), func(name string) bool { return !slices.Contains(requested.List, name) })
		always = slices.DeleteFunc(slices.Clone(always), func(g Grant) bool { return !slices.Contains(requested.List, g.Secret) })
	}
	d := Declared{Namespace: namespace, Always: always}
	brought := requested.Ledger
	requested.Ledger = d.accepted(brought)
	maps.DeleteFunc(requested.Ledger, func(name string, _ Origin) bool { return slices.Contains(old.List, name) })
	maps.Copy(requested.Ledger, old.trimmed())
	want, _ := d.layers(nil, false)
	for _, e := range want {
		if requested.Managed.Has(e.Name) {
			requested.Ledger[e.Name] = e.Origin
		}
	}
	missing := dropped(old, requested)
	if len(missing) > 0 {
		requested.List = append(clean(requested.List), missing...)
	}
	r := bind(requested, d, false).against(brought)
	r.ListChanged = r.ListChanged || len(missing) > 0
	return r
}

// bind computes the list of a ServiceAccount. With take, entries that are no longer
// declared are removed.
func bind(current Current, d Declared, take bool) Result {
	want, _ := d.layers(nil, false)
	var (
		list    []string
		entries []Entry
	)
	for _, name := range clean(current.List) {
		if current.ours(name) {
			e := Entry{name, current.Ledger[name]}
			if i := slices.IndexFunc(want, func(e Entry) bool { return e.Name == name }); i >= 0 {
				e = want[i]
			} else if take {
				continue
			}
			entries = append(entries, e)
		}
		list = append(list, name)
	}
	for _, e := range want {
		if !slices.Contains(list, e.Name) {
			list = append(list, e.Name)
			entries = append(entries, e)
		}
	}
	return compare(current, current, list, entries, nil)
}
