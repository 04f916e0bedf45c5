// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package memory holds what a reconciler knows besides the cluster's state: what it has
// written, reported and counted. All of it may be lost with the process. It prevents
// loops and repeated Events, and saves work; it never decides what is right.
//
// Each reconciler has one [Memory]. Whatever it remembers by object is a [Store], or
// another [Keeper], that belongs to it from the start. So nothing is left behind when an
// object is gone or the process stops leading for a bucket.
package memory

import (
	"maps"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/reconciler"
)

// A Keeper remembers something by the key of the object that is reconciled.
type Keeper interface {
	// Forget drops what is remembered of an object that is gone.
	Forget(key types.NamespacedName)
	// ForgetThose drops what is remembered of the objects for which are reports true.
	ForgetThose(are func(types.NamespacedName) bool)
}

// A Memory is all that a reconciler remembers. The zero value remembers nothing. All
// keepers are added before the reconciler starts.
type Memory struct {
	keepers []Keeper
	leads   func(types.NamespacedName) bool
}

// LedBy sets what reports whether the process leads for an object: the generated reconciler. It
// is called before the reconciler starts. Without it, the process leads for all.
func (m *Memory) LedBy(generated any) {
	m.leads = generated.(interface {
		IsLeaderFor(key types.NamespacedName) bool
	}).IsLeaderFor
}

// Leads reports whether the process leads for an object.
func (m *Memory) Leads(key types.NamespacedName) bool { return m.leads == nil || m.leads(key) }

// Add makes a Keeper part of the memory.
func (m *Memory) Add(k Keeper) { m.keepers = append(m.keepers, k) }

// Forget drops everything about an object that is gone.
func (m *Memory) Forget(key types.NamespacedName) {
	for _, k := range m.keepers {
		k.Forget(key)
	}
}

// Demote drops everything about the objects of a bucket that the process no longer
// leads. Another process reconciles them now, and what is known here would be old when
// they come back.
func (m *Memory) Demote(bucket reconciler.Bucket) {
	for _, k := range m.keepers {
		k.ForgetThose(bucket.Has)
	}
}

// Settle is called after an object was reconciled. It drops everything about it if its bucket was
// lost meanwhile, perhaps before something was remembered. A bucket that is lost from now on is
// dropped afterwards, by Demote.
func (m *Memory) Settle(key types.NamespacedName) {
	if !m.Leads(key) {
		m.Forget(key)
	}
}

// A Store remembers one V for each object. It is safe for concurrent use.
type Store[V any] struct {
	mu      sync.Mutex
	entries map[types.NamespacedName]*V
}

// NewStore returns an empty Store that is part of a memory.
func NewStore[V any](m *Memory) *Store[V] {
	s := &Store[V]{entries: make(map[types.NamespacedName]*V)}
	m.Add(s)
	return s
}

// Do calls do with what is remembered of an object, or with a new zero V. It stays
// remembered if do returns true. No other call runs meanwhile, so do must be quick.
func (s *Store[V]) Do(key types.NamespacedName, do func(v *V) (keep bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, found := s.entries[key]
	if !found {
		v = new(V)
	}
	switch keep := do(v); {
	case !keep:
		delete(s.entries, key)
	case !found:
		s.entries[key] = v
	}
}

// Each calls do for each object of which something is remembered, in no order. No other
// call runs meanwhile.
func (s *Store[V]) Each(do func(key types.NamespacedName, v *V)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, v := range s.entries {
		do(key, v)
	}
}

// Clear drops everything.
func (s *Store[V]) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.entries)
}

// Forget implements [Keeper].
func (s *Store[V]) Forget(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, key)
}

// ForgetThose implements [Keeper].
func (s *Store[V]) ForgetThose(are func(types.NamespacedName) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.entries, func(key types.NamespacedName, _ *V) bool { return are(key) })
}

// A Table is a Store of several V for each object, by their names: a Namespace has copies,
// and an object has topics that are reported of it. An object without any has no entry.
type Table[K comparable, V any] struct{ *Store[map[K]V] }

// NewTable returns an empty Table that is part of a memory.
func NewTable[K comparable, V any](m *Memory) Table[K, V] {
	return Table[K, V]{NewStore[map[K]V](m)}
}

// Do calls do with what is remembered of an object, to read and to change. No other call
// runs meanwhile, so do must be quick.
func (t Table[K, V]) Do(key types.NamespacedName, do func(all map[K]V)) {
	t.Store.Do(key, func(all *map[K]V) bool {
		if *all == nil {
			*all = make(map[K]V)
		}
		do(*all)
		return len(*all) > 0
	})
}
