// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/util/sets"
)

// source returns choices from fuzzed bytes, and zeros when they are used up.
type source struct{ data []byte }

func (s *source) next(n int) int {
	if len(s.data) == 0 {
		return 0
	}
	b := int(s.data[0])
	s.data = s.data[1:]
	return b % n
}

func (s *source) flag() bool { return s.next(2) == 1 }

// names chooses from a few names, so that the layers overlap often. Some of them are empty
// or repeated, as users write them.
func (s *source) names() []string {
	var all []string
	for range s.next(6) {
		all = append(all, [...]string{"a", "b", "c", "d", "e", "f", ""}[s.next(7)])
	}
	return all
}

func (s *source) grants() []Grant {
	var all []Grant
	for _, name := range s.names() {
		all = append(all, Grant{ClusterPullSecret: fmt.Sprintf("cps-%d", s.next(3)), Secret: name})
	}
	return all
}

func (s *source) current() Current {
	c := Current{List: s.names(), Ledger: Ledger{}, Claimed: sets.New[string](), Free: sets.New[string](), Managed: sets.New[string]()}
	// Ledgers name what is in the list and what is not.
	for _, name := range append(s.names(), c.List...) {
		switch s.next(7) {
		case 1:
			c.Ledger[name] = FromService
		case 2:
			c.Ledger[name] = FromNamespace
		case 3:
			c.Ledger[name] = FromClusterPullSecret(fmt.Sprintf("cps-%d", s.next(3)))
		case 4:
			c.Ledger[name] = fromServiceAccount("default")
		case 5:
			c.Claimed.Insert(name)
		}
	}
	if s.flag() {
		return c // Nothing is known of the owners.
	}
	for _, name := range c.List {
		if c.Claimed.Has(name) {
			continue
		}
		switch s.next(3) {
		case 1:
			c.Free.Insert(name)
		case 2:
			c.Free.Insert(name)
			c.Managed.Insert(name)
		}
	}
	return c
}

// answered returns a request as a second call sees it: with the first answer applied,
// whose entries have no owner.
func answered(requested Current, r Result) Current {
	after := Current{List: r.List, Ledger: r.Ledger, Claimed: requested.Claimed, Free: requested.Free.Clone(), Managed: requested.Managed}
	for _, name := range r.List {
		if !slices.Contains(requested.List, name) && requested.Free.Len() > 0 {
			after.Free.Insert(name)
		}
	}
	return after
}

func (s *source) declared() Declared {
	return Declared{
		Hold:    s.next(16) == 1,
		Service: s.names(), Namespace: s.names(), Always: s.grants(), Auto: s.grants(),
		Account: Account{Name: "default", Secrets: s.names(), Enforced: s.next(4) == 1},
	}
}

// snapshot returns a deep copy for the law that inputs are never changed.
func snapshot(t *testing.T, in ...any) string {
	t.Helper()
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// laws checks properties of every result. Only entries in the ledger that are not claimed
// may be removed.
func laws(t *testing.T, what string, old, requested Current, got Result) {
	t.Helper()
	fail := func(law string) {
		t.Errorf("%s: %s:\nold       %+v\nrequested %+v\ngot       %+v", what, law, old, requested, got)
	}
	own := requested.own()
	kept := slices.DeleteFunc(clean(got.List), func(n string) bool { return !slices.Contains(own, n) })
	if !slices.Equal(own, kept) {
		fail("the user's own entries must all stay, in their order")
	}
	for _, e := range got.Taken {
		if !old.ours(e.Name) || slices.Contains(got.List, e.Name) {
			fail("only what the ledger names may be removed")
		}
	}
	for name := range got.Ledger {
		if !slices.Contains(got.List, name) || slices.Contains(own, name) {
			fail("the ledger must name exactly our entries of the list")
		}
	}
	if got.ListChanged {
		if sets.New(got.List...).Len() != len(got.List) || slices.Contains(got.List, "") {
			fail("a list that is written has no repeats and no empty names")
		}
		if slices.Equal(got.List, requested.List) {
			fail("the same list is no change")
		}
	} else if !slices.Equal(got.List, requested.List) {
		fail("another list is a change")
	}
}

// held returns a list with the ledger that a reconciliation uses.
func (d Declared) held(c Current) Current {
	if d.Hold {
		return c
	}
	return d.completed(c)
}

func FuzzReconcile(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &source{data}
		c, d, ready := s.current(), s.declared(), s.flag()
		before := snapshot(t, c, d)
		got := Reconcile(c, d, ready)
		if before != snapshot(t, c, d) {
			t.Errorf("inputs were changed")
		}
		laws(t, "Reconcile", d.held(c), d.held(c), got)
		if isReordering(clean(c.List), clean(got.List)) && got.ListChanged {
			t.Errorf("a difference of order alone was written: %v, %v", c.List, got.List)
		}
		for _, e := range got.Taken {
			if e.Origin != FromService && !e.Origin.isServiceAccount() {
				t.Errorf("removed %v, which its owner did not ask for", e)
			}
		}
		again := Reconcile(answered(c, got), d, ready)
		if got.Changed() && again.Changed() {
			t.Errorf("not idempotent: %+v with %+v became\n%+v, and that became\n%+v", c, d, got, again)
		}
		if ready && got.ListChanged && len(got.Taken) == 0 &&
			!slices.ContainsFunc(got.Added, func(e Entry) bool {
				return slices.Contains(d.Service, e.Name) || slices.Contains(d.Namespace, e.Name) ||
					slices.ContainsFunc(d.Always, func(g Grant) bool { return g.Secret == e.Name })
			}) {
			t.Errorf("layers 5 and 6 alone created a Revision of a ready Service: %+v", got)
		}
		// What is to be added can be left out for now, and then nothing else goes but what
		// only stayed because the ServiceAccount's entries come along with it.
		var later []string
		for _, e := range got.Added {
			if s.flag() {
				later = append(later, e.Name)
			}
		}
		for _, e := range Reconcile(c, d.Without(later), ready).Taken {
			if !slices.Contains(got.Taken, e) && !slices.Contains(d.Account.Secrets, e.Name) && !e.Origin.isServiceAccount() {
				t.Errorf("without %v, %v was removed as well:\n%+v %+v %t\n%+v", later, e, c, d, ready, got)
			}
		}
		for _, e := range Reconcile(c, d.Without(later), ready).Added {
			if slices.Contains(later, e.Name) {
				t.Errorf("without %v, %v was added", later, e)
			}
		}
	})
}

func FuzzCreate(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &source{data}
		c, d := s.current(), s.declared()
		c.Claimed = nil
		before := snapshot(t, c, d)
		got := Create(c, d)
		if before != snapshot(t, c, d) {
			t.Errorf("inputs were changed")
		}
		for _, name := range clean(c.List) {
			origin, claimed := c.Ledger[name]
			withheld := contains(got.Withheld, name)
			if !slices.Contains(got.List, name) && !withheld && (!claimed || !origin.isServiceAccount()) {
				t.Errorf("%q is gone: %+v became %+v", name, c, got)
			}
		}
		again := Create(answered(c, got), d)
		if diff := cmp.Diff(got.List, again.List); diff != "" {
			t.Errorf("the second call answers otherwise (-first, +second):\n%s", diff)
		}
		if diff := cmp.Diff(got.Ledger, again.Ledger); diff != "" {
			t.Errorf("the second call answers otherwise (-first, +second):\n%s", diff)
		}
	})
}

func FuzzUpdate(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &source{data}
		old, requested, d := s.current(), s.current(), s.declared()
		before := snapshot(t, old, requested, d)
		got := update(old, requested, d)
		if before != snapshot(t, old, requested, d) {
			t.Errorf("inputs were changed")
		}
		judged, trusted, _ := d.attribute(old, requested)
		laws(t, "Update", judged, trusted, got)
		// The API server calls us again with our own answer.
		second := update(old, answered(requested, got), d)
		if diff := cmp.Diff(got.List, second.List); diff != "" {
			t.Errorf("the second call answers otherwise (-first, +second):\n%s", diff)
		}
		if diff := cmp.Diff(got.Ledger, second.Ledger); diff != "" {
			t.Errorf("the second call answers otherwise (-first, +second):\n%s", diff)
		}
	})
}

// FuzzAdmitUpdate calls twice, as the API server does when a later webhook changed
// something: the second call, with the first answer applied, must have the same result.
func FuzzAdmitUpdate(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &source{data}
		side := func() Side {
			side := Side{Inject: fmt.Sprint(s.next(2))}
			if name := s.next(3); name > 0 {
				side.Name = fmt.Sprint("app-", name)
			}
			side.Current = s.current()
			return side
		}
		old, requested, d := side(), side(), s.declared()
		changed := s.flag()
		var taken *Revision
		if s.flag() {
			taken = &Revision{List: clean(s.names())}
		}
		answer := func(requested Side) Side {
			switch verdict, result := AdmitUpdate(old, requested, func() bool { return changed }, d, taken); verdict {
			case Renew:
				requested.Current = answered(requested.Current, result)
			case Restore:
				requested.Current = answered(requested.Current, Result{List: old.List, Ledger: Restored(old.Current, d)})
			}
			return requested
		}
		first := answer(requested)
		second := answer(first)
		if diff := cmp.Diff(first.List, second.List, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("the second call makes another list (-first, +second):\n%s", diff)
		}
		if diff := cmp.Diff(first.Ledger, second.Ledger, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("the second call makes another ledger (-first, +second):\n%s", diff)
		}
	})
}

func FuzzForServiceAccount(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &source{data}
		c, namespace, always := s.current(), s.names(), s.grants()
		before := snapshot(t, c, namespace, always)
		got := ForServiceAccount(c, namespace, always)
		if before != snapshot(t, c, namespace, always) {
			t.Errorf("inputs were changed")
		}
		laws(t, "ForServiceAccount", c, c, got)
		again := ForServiceAccount(answered(c, got), namespace, always)
		if again.Changed() {
			t.Errorf("not idempotent: %+v became %+v", got, again)
		}

		// In an admission request, what somebody dropped comes back, and the
		// second call changes nothing.
		requested := s.current()
		first := AdmitServiceAccount(c, requested, namespace, always)
		if len(first.Taken) > 0 {
			t.Errorf("admission removed %v", first.Taken)
		}
		second := AdmitServiceAccount(c, answered(requested, first), namespace, always)
		if diff := cmp.Diff(first.List, second.List); diff != "" {
			t.Errorf("the second call answers otherwise (-first, +second):\n%s", diff)
		}
	})
}

// FuzzForgedLedger uses arbitrary ledgers: entries with another or an unknown owner stay,
// and do not count as ours unless they are declared so.
func FuzzForgedLedger(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &source{data}
		old, requested, d := s.current(), s.current(), s.declared()
		requested.Ledger = Ledger{}
		for _, name := range s.names() {
			requested.Ledger[name] = [...]Origin{FromService, FromNamespace, FromClusterPullSecret("cps-1"), fromServiceAccount("default")}[s.next(4)]
		}
		proven, ledger := d.accepted(requested.Ledger), d.completed(old).Ledger
		got := update(old, requested, d)
		for _, name := range clean(requested.List) {
			_, declared := proven[name]
			_, before := ledger[name]
			theirs := requested.Claimed.Has(name) || !declared && !before && !requested.Free.Has(name)
			_, taken := got.Ledger[name]
			if theirs && (taken || !slices.Contains(got.List, name)) {
				t.Errorf("%q is no longer the user's: %+v, %+v became %+v", name, old, requested, got)
			}
		}
	})
}

// FuzzTwoCalls calls twice with different caches: the second call never loses an entry of
// the first one or its item in the ledger, and agrees about the user's own entries.
func FuzzTwoCalls(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &source{data}
		old, requested, d1, d2 := s.current(), s.current(), s.declared(), s.declared()
		// What an enforcing ServiceAccount keeps out may differ.
		d1.Account.Enforced, d2.Account.Enforced = false, false
		requested.Ledger = nil
		first := update(old, requested, d1)
		again := answered(requested, first)
		for _, name := range first.List {
			if !slices.Contains(requested.List, name) {
				again.Free.Insert(name)
			}
		}
		second := update(old, again, d2)
		for name := range first.Ledger {
			_, before := old.Ledger[name]
			if _, kept := second.Ledger[name]; !kept && (slices.Contains(second.List, name) || !before && !requested.Managed.Has(name) && !old.Managed.Has(name)) {
				t.Errorf("%q is no longer ours: %+v, %+v became %+v by %+v and %+v by %+v", name, old, requested, first, d1, second, d2)
			}
		}
		for _, name := range clean(requested.List) {
			if requested.Claimed.Has(name) && !slices.Contains(second.List, name) {
				t.Errorf("%q is gone: %+v, %+v became %+v, %+v", name, old, requested, first, second)
			}
		}
	})
}

func FuzzParseLedger(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"a":"service"}`, `{"a":"serviceaccount/x","b":1}`, `[`, `{"a":"service","a":"namespace"}`, "null"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, _ := ParseLedger(text)
		again, err := ParseLedger(got.String())
		if err != nil {
			t.Errorf("a ledger that was read does not read again: %v", err)
		}
		if len(got) != len(again) {
			t.Errorf("%v became %v", got, again)
		}
	})
}

// seeds adds byte strings that together reach every branch; the corpus in testdata holds
// what fuzzing found.
func seeds(f *testing.F) {
	f.Add([]byte{})
	for i := range 64 {
		seed := make([]byte, 48)
		for j := range seed {
			seed[j] = byte((i*31 + j*j*7 + i*j) % 251)
		}
		f.Add(seed)
	}
}

func BenchmarkReconcile(b *testing.B) {
	d := Declared{Namespace: list("ghcr quay"), Account: Account{Name: "default"}}
	for _, bb := range []struct {
		name    string
		current Current
		d       Declared
	}{
		{"nothing declared", current("mine", ""), Declared{}},
		{"converged", current("mine ghcr=namespace quay=namespace", ""), d},
		{"to be added", current("mine", ""), d},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Reconcile(bb.current, bb.d, true)
			}
		})
	}
}

func BenchmarkAdmitUpdate(b *testing.B) {
	old, requested := Side{Current: current("mine ghcr=namespace", "")}, Side{Current: current("mine", "")}
	d := Declared{Namespace: list("ghcr quay")}
	for name, changed := range map[string]bool{"unchanged": false, "changed": true} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				AdmitUpdate(old, requested, func() bool { return changed }, d, nil)
			}
		})
	}
}
