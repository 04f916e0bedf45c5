// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// The managers who write the Service of a simulation: one by server-side apply, and
// one by replacing it.
const applier, editor = "argocd-controller", "kubectl-edit"

// simulated is a Service in the API server, with the owners of each entry by the rules of
// structured-merge-diff for a list that is a map.
type simulated struct {
	list   []string
	ledger Ledger
	owners map[string]sets.Set[string]
}

func (s simulated) clone() simulated {
	c := simulated{slices.Clone(s.list), maps.Clone(s.ledger), map[string]sets.Set[string]{}}
	for name, owners := range s.owners {
		c.owners[name] = owners.Clone()
	}
	return c
}

func (s simulated) current() Current {
	managed := []metav1.ManagedFieldsEntry{{Manager: "controller", FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:metadata":{}}`)}}}
	for _, manager := range []string{applier, editor, pullsecrets.FieldManager} {
		var items []string
		for _, name := range s.list {
			if s.owners[name].Has(manager) {
				items = append(items, fmt.Sprintf(`"k:{\"name\":\"%s\"}":{}`, name))
			}
		}
		if len(items) > 0 {
			managed = append(managed, metav1.ManagedFieldsEntry{Manager: manager, FieldsV1: &metav1.FieldsV1{Raw: fmt.Appendf(nil,
				`{"f:spec":{"f:template":{"f:spec":{"f:imagePullSecrets":{".":{},%s}}}}}`, strings.Join(items, ","))}})
		}
	}
	return CurrentOf(s.list, s.ledger, managed, nil)
}

// replace is a write of the whole list: new entries belong to the manager, missing ones to
// no one, and unchanged ones keep their owners.
func (s *simulated) replace(manager string, list []string) {
	for name := range s.owners {
		if !slices.Contains(list, name) {
			delete(s.owners, name)
		}
	}
	for _, name := range list {
		if !slices.Contains(s.list, name) {
			s.owners[name] = sets.New(manager)
		}
	}
	s.list = list
}

// apply is a server-side apply: the manager owns what it applies, and what it no longer
// applies is removed if it has no other owner.
func (s *simulated) apply(list []string) {
	gone := func(name string) bool {
		withdrawn := s.owners[name].Has(applier) && !slices.Contains(list, name)
		if withdrawn {
			s.owners[name].Delete(applier)
		}
		return withdrawn && s.owners[name].Len() == 0
	}
	s.list = slices.DeleteFunc(s.list, gone)
	for _, name := range list {
		if !slices.Contains(s.list, name) {
			s.list = append(s.list, name)
		}
		if s.owners[name] == nil {
			s.owners[name] = sets.New[string]()
		}
		s.owners[name].Insert(applier)
	}
}

// admitted returns the Service with the webhook's changes, which change no ownership.
func (s simulated) admitted(list []string, ledger Ledger) simulated {
	s = s.clone()
	for name := range s.owners {
		if !slices.Contains(list, name) {
			delete(s.owners, name)
		}
	}
	s.list, s.ledger = list, ledger
	return s
}

// replica answers a call of the webhook with its own cache.
func replica(old, requested simulated, changed bool, d Declared) simulated {
	before, after := Side{Current: old.current()}, Side{Current: requested.current()}
	switch verdict, result := AdmitUpdate(before, after, func() bool { return changed }, d, nil); verdict {
	case Renew:
		return requested.admitted(result.List, result.Ledger)
	case Restore:
		return requested.admitted(old.list, Restored(before.Current, d))
	}
	return requested
}

// TestSequences runs random sequences of requests, each seen by one or two replicas of the
// webhook with different caches, and of reconciliations with stale caches. It compares the
// owner of each entry with a model, in which the last writer owns it.
func TestSequences(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	for seed := range uint64(4000) {
		r := rand.New(rand.NewPCG(seed, 1))
		some := func() []string {
			picked := slices.DeleteFunc(slices.Clone(names), func(string) bool { return r.IntN(2) == 0 })
			return slices.Clip(picked)
		}
		knows := func() Declared {
			return Declared{Hold: r.IntN(5) == 0, Namespace: some(), Always: []Grant{{"cps", names[r.IntN(4)]}}}
		}
		service := simulated{owners: map[string]sets.Set[string]{}}
		// applied and edited are what the two users have in the list.
		applied, edited := sets.New[string](), sets.New[string]()
		var history []string
		for range 12 {
			old, d, list := service.clone(), knows(), some()
			step := fmt.Sprintf("%v knowing %+v", list, d)
			switch r.IntN(4) {
			case 0:
				step = "apply " + step
				service.apply(list)
				applied = sets.New(list...)
			case 1, 2:
				step = "replace " + step
				edited = sets.New(slices.DeleteFunc(slices.Clone(list), func(name string) bool {
					return slices.Contains(old.list, name) && !old.owners[name].Has(editor)
				})...)
				applied = applied.Intersection(sets.New(list...))
				service.replace(editor, list)
				service.ledger = nil
				if r.IntN(2) == 0 {
					service.ledger = Ledger{names[r.IntN(4)]: FromNamespace, names[r.IntN(4)]: FromService}
				}
			default:
				result := Reconcile(service.current(), d, r.IntN(2) == 0)
				if result.Changed() {
					service.replace(pullsecrets.FieldManager, result.List)
					service.ledger = result.Ledger
				}
				history = append(history, "reconcile "+step+fmt.Sprintf(": %v %v %v", service.list, service.ledger, service.owners))
				checkOwnership(t, seed, history, service, applied.Union(edited))
				continue
			}
			changed := r.IntN(2) == 0
			requested := service
			service = replica(old, requested, changed, d)
			if r.IntN(2) == 0 {
				again := knows()
				step += fmt.Sprintf(", and again knowing %+v", again)
				service = replica(old, service, changed, again)
			}
			history = append(history, step+fmt.Sprintf(": %v %v %v", service.list, service.ledger, service.owners))
			checkOwnership(t, seed, history, service, applied.Union(edited))
		}
		if t.Failed() {
			return
		}
	}
}

// checkOwnership compares a Service with the model: the entries of its users are in the
// list and theirs, and all others are ours.
func checkOwnership(t *testing.T, seed uint64, history []string, s simulated, users sets.Set[string]) {
	t.Helper()
	c := s.current()
	own := sets.New((Declared{}).completed(c).own()...)
	if !own.Equal(users) {
		t.Fatalf("seed %d: the user's are %v, want %v, after\n%s", seed, sets.List(own), sets.List(users), strings.Join(history, "\n"))
	}
}
