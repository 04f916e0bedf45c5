// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/sets"
)

// byPolicy returns a request as the policies of config/outage leave it: with the entries
// of the old ledger that the old list has and the request lacks, and with their items. ok
// is false for lists that the policies do not change.
func byPolicy(old, requested Current, inOrder bool) (_ Current, ok bool) {
	for _, list := range [][]string{old.List, requested.List} {
		if unique := sets.New(list...); unique.Has("") || unique.Len() != len(list) {
			return Current{}, false
		}
	}
	for name := range old.Managed {
		if _, named := old.Ledger[name]; !named {
			return Current{}, false // The ledger is damaged, and only the webhook can complete it.
		}
	}
	list := append(slices.Clone(requested.List), dropped(old, requested)...)
	if inOrder && slices.Equal(old.own(), ownByLedger(old, requested)) && !claimsDropped(old, requested) && sets.New(old.List...).HasAll(requested.List...) {
		list = slices.Clone(old.List)
	}
	ledger := maps.Clone(requested.Ledger)
	for _, e := range old.added() {
		if _, named := ledger[e.Name]; !named && !requested.Claimed.Has(e.Name) {
			ledger[e.Name] = e.Origin
		}
	}
	free := requested.Free.Clone()
	for _, name := range list {
		// What admission adds has no owner. Without records, nothing is known.
		if !slices.Contains(requested.List, name) && requested.Free.Len() > 0 {
			free.Insert(name)
		}
	}
	return Current{List: list, Ledger: ledger, Claimed: requested.Claimed, Free: free, Managed: requested.Managed, Shared: requested.Shared}, true
}

// ownByLedger returns the user's own entries of a request by the old ledger.
func ownByLedger(old, requested Current) []string {
	return Current{List: requested.List, Ledger: old.Ledger, Claimed: requested.Claimed}.own()
}

func claimsDropped(old, requested Current) bool {
	return slices.ContainsFunc(old.added(), func(e Entry) bool {
		return requested.Claimed.Has(e.Name) && !slices.Contains(requested.List, e.Name)
	})
}

// The webhook's answer is the same with and without the policies of config/outage, which
// restore before it is called.
func FuzzAnswerIsTheSameAfterRestoration(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &source{data}
		old, requested, d := s.current(), s.current(), s.declared()
		after, ok := byPolicy(old, requested, true)
		if !ok {
			return
		}
		alone, both := update(old, requested, d), update(old, after, d)
		if !slices.Equal(alone.List, both.List) || !maps.Equal(alone.Ledger, both.Ledger) {
			t.Errorf("old %+v\nrequested %+v\nrestored %+v\n%+v\nalone %+v\nboth %+v", old, requested, after, d, alone, both)
		}
		if diff := cmp.Diff(alone.Withheld, both.Withheld); diff != "" {
			t.Error("withheld:", diff)
		}
		if sameOwn(old, requested, d) != sameOwn(old, after, d) {
			t.Errorf("the user's own entries are the same alone: %t\nold %+v\nrequested %+v\nrestored %+v\n%+v", sameOwn(old, requested, d), old, requested, after, d)
		}
		if renewed(Side{Current: old}, Side{Current: requested}) != renewed(Side{Current: old}, Side{Current: after}) {
			t.Error("the request looks like a second call only with the policies")
		}

		after, _ = byPolicy(old, requested, false)
		account, boundAccount := AdmitServiceAccount(old, requested, d.Namespace, d.Always), AdmitServiceAccount(old, after, d.Namespace, d.Always)
		if !slices.Equal(account.List, boundAccount.List) || !maps.Equal(account.Ledger, boundAccount.Ledger) {
			t.Errorf("a ServiceAccount:\nold %+v\nrequested %+v\nrestored %+v\n%+v\nalone %+v\nboth %+v", old, requested, after, d, account, boundAccount)
		}
	})
}

// Of an apply that the policy for ServiceAccounts has completed, the ledger names what is
// not the applier's.
func TestApplied(t *testing.T) {
	const a, b = `{"a":"namespace"}`, `{"a":"namespace","b":"service"}`
	for name, tt := range map[string]struct{ names, stored, requested, want string }{
		"the policy did nothing":           {"own a b", b, b, "own a b"},
		"an entry was restored":            {"own a b", b, a, "own b"},
		"the only entry was restored":      {"own a", a, `{ "a":"namespace"}`, "own"},
		"an apply that drops the ledger":   {"own a", a, "", "own a"},
		"a forged item":                    {"own a", "", a, "own a"},
		"a ledger that does not parse":     {"own a", a, "junk", "own a"},
		"a stored one that does not parse": {"own a", "junk", a, "own a"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(list(tt.want), Applied(list(tt.names), tt.stored, tt.requested)); diff != "" {
				t.Error("names of the applier (-want, +got):", diff)
			}
		})
	}
}
