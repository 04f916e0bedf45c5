// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/contest"
	"pullsecrets.dev/pkg/merge"
)

// memory is what the reconciler remembers of its own writes. It guards against
// loops only, so it may be lost with the process.
type memory struct {
	mu       sync.Mutex
	services map[types.NamespacedName]*history
}

type history struct {
	uid types.UID
	// asked are the annotations by which the Service's owner asks; when they
	// change, everything is tried again.
	asked [2]string
	// added are the names that were added already.
	added sets.Set[string]
	// contest counts how often names were put back.
	contest contest.Contest
	// denied is the generation whose change the API server refused.
	denied int64
	// relabelled: the ledger alone was written before.
	relabelled bool
	// checked are the names whose Secrets were looked at.
	checked []string
}

// recall returns what is known of a Service, which is nothing if it was made
// anew or asks for something else now. The caller holds the lock.
func (m *memory) recall(svc *servingv1.Service) *history {
	key := keyOf(svc)
	asked := [2]string{svc.Annotations[pullsecrets.SecretsAnnotation], svc.Annotations[pullsecrets.InjectAnnotation]}
	h := m.services[key]
	if h == nil || h.uid != svc.UID || h.asked != asked {
		h = &history{uid: svc.UID, asked: asked, added: sets.New[string]()}
		if m.services == nil {
			m.services = make(map[types.NamespacedName]*history)
		}
		m.services[key] = h
	}
	return h
}

// contested returns which entries somebody keeps removing, and when to try
// again, if the Service is to be left alone.
func (m *memory) contested(svc *servingv1.Service, r merge.Result) ([]merge.Entry, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.recall(svc)
	back := putBack(h, svc, r)
	if len(back) == 0 && (r.ListChanged || !h.relabelled) {
		return nil, 0
	}
	if left := h.contest.Left(time.Now()); left > 0 {
		return back, left
	}
	return nil, 0
}

// putBack lists what would be added although it was added before: by this
// process, or according to the ledger.
func putBack(h *history, svc *servingv1.Service, r merge.Result) []merge.Entry {
	ledger, _ := merge.ParseLedger(svc.Annotations[pullsecrets.AddedAnnotation])
	var back []merge.Entry
	for _, e := range r.Added {
		if _, listed := ledger[e.Name]; listed || h.added.Has(e.Name) {
			back = append(back, e)
		}
	}
	return back
}

// wrote notes a write.
func (m *memory) wrote(svc *servingv1.Service, r merge.Result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.recall(svc)
	if len(putBack(h, svc, r)) > 0 || !r.ListChanged && h.relabelled {
		h.contest.Note(time.Now())
	}
	h.relabelled = h.relabelled || !r.ListChanged
	for _, e := range r.Added {
		h.added.Insert(e.Name)
	}
	for _, e := range r.Taken {
		h.added.Delete(e.Name)
	}
}

// deny notes that the API server refused to change this generation.
func (m *memory) deny(svc *servingv1.Service) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.recall(svc).denied = svc.Generation
}

// wasDenied tells whether the API server refused to change this generation.
func (m *memory) wasDenied(svc *servingv1.Service) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.recall(svc).denied == svc.Generation && svc.Generation != 0
}

// checked notes that the Secrets of names are looked at now, and tells whether
// they were before.
func (m *memory) checked(svc *servingv1.Service, names []string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.recall(svc)
	before := h.checked
	h.checked = names
	return slices.Equal(before, names)
}

// unchecked notes that the Secrets could not be looked at yet.
func (m *memory) unchecked(svc *servingv1.Service) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.recall(svc).checked = nil
}

// forgetThose drops what is known of certain Services, for a process that no longer
// leads for them.
func (m *memory) forgetThose(are func(types.NamespacedName) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.services, func(key types.NamespacedName, _ *history) bool { return are(key) })
}

func (m *memory) forget(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.services, key)
}
