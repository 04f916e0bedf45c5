// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/reconciler"
)

func key(name string) types.NamespacedName { return types.NamespacedName{Namespace: "ns", Name: name} }

func count(s *Store[int], name string) (n int) {
	s.Do(key(name), func(v *int) bool { n = *v; return *v != 0 })
	return n
}

func TestStoreKeepsWhatIsWorthIt(t *testing.T) {
	s := NewStore[int](&Memory{})
	add := func(name string, by int) {
		s.Do(key(name), func(v *int) bool { *v += by; return *v != 0 })
	}
	add("a", 1)
	add("a", 1)
	add("b", 0)
	if got := count(s, "a"); got != 2 {
		t.Errorf("a is %d, want 2", got)
	}
	if add("a", -2); len(s.entries) != 0 {
		t.Errorf("%d entries are kept, want none", len(s.entries))
	}
}

func TestTableKeepsNoEmptyObject(t *testing.T) {
	table := NewTable[string, int](&Memory{})
	table.Do(key("a"), func(all map[string]int) { all["x"]++ })
	table.Do(key("a"), func(all map[string]int) { all["x"]++ })
	table.Do(key("b"), func(map[string]int) {})
	if len(table.entries) != 1 || (*table.entries[key("a")])["x"] != 2 {
		t.Errorf("the table has %v, want two of x in a", table.entries)
	}
	if table.Do(key("a"), func(all map[string]int) { delete(all, "x") }); len(table.entries) != 0 {
		t.Errorf("the table has %d objects, want none", len(table.entries))
	}
}

func TestEverythingIsForgottenTogether(t *testing.T) {
	var m Memory
	stores := []*Store[int]{NewStore[int](&m), NewStore[int](&m)}
	for _, s := range stores {
		for _, name := range []string{"gone", "lost", "kept"} {
			s.Do(key(name), func(v *int) bool { *v = 1; return true })
		}
	}
	m.Forget(key("gone"))
	m.Demote(bucket{"lost"})
	for i, s := range stores {
		for name, want := range map[string]int{"gone": 0, "lost": 0, "kept": 1} {
			if got := count(s, name); got != want {
				t.Errorf("store %d has %d for %s, want %d", i, got, name, want)
			}
		}
		if s.Clear(); len(s.entries) != 0 {
			t.Errorf("store %d keeps %d entries after Clear", i, len(s.entries))
		}
	}
}

// bucket is a bucket with a single key.
type bucket struct{ name string }

var _ reconciler.Bucket = bucket{}

func (b bucket) Name() string                       { return b.name }
func (b bucket) Has(name types.NamespacedName) bool { return name == key(b.name) }

func TestStoreIsSafeForConcurrentUse(t *testing.T) {
	s := NewStore[int](&Memory{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				s.Do(key("a"), func(v *int) bool { *v++; return true })
				s.Each(func(types.NamespacedName, *int) {})
			}
		})
	}
	wg.Wait()
	if got := count(s, "a"); got != 800 {
		t.Errorf("a is %d, want 800", got)
	}
}

// leader leads for all objects but those of a bucket.
type leader struct{ lost bucket }

func (l leader) IsLeaderFor(key types.NamespacedName) bool { return !l.lost.Has(key) }

// What is remembered after Demote, by a reconciliation that was running, is dropped as well.
func TestSettleDropsWhatIsRememberedTooLate(t *testing.T) {
	var m Memory
	s := NewStore[int](&m)
	reconcile := func(name string) {
		defer m.Settle(key(name))
		s.Do(key(name), func(v *int) bool { *v = 1; return true })
	}
	if reconcile("lost"); count(s, "lost") != 1 {
		t.Error("without leaders, something is dropped")
	}
	m.LedBy(leader{bucket{"lost"}})
	reconcile("lost")
	reconcile("kept")
	if count(s, "lost") != 0 || count(s, "kept") != 1 {
		t.Errorf("%d of a lost and %d of a kept object are remembered", count(s, "lost"), count(s, "kept"))
	}
}
