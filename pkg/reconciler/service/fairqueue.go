// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"container/list"

	"k8s.io/apimachinery/pkg/types"
)

// patientShare guarantees the namespaces that have no urgent Service one turn in so
// many, however many namespaces have one.
const patientShare = 4

// fairQueue is the order in which Services that wait get their turns. It has neither
// clock nor goroutine.
//
//   - Namespaces take turns, so what a namespace gets does not depend on how many
//     Services another one has.
//   - Within a namespace, urgent Services come first, each kind in the order of asking.
//   - Namespaces with an urgent Service come before the others, which get one turn in
//     patientShare all the same.
//   - A Service that gives up its place and asks again gets the last place of its
//     namespace, and a namespace that leaves and comes back the last one of all.
//
// Each operation takes the same time however many Services and namespaces wait. The
// zero value is not ready to use.
type fairQueue struct {
	places     map[types.NamespacedName]place
	namespaces map[string]*queuedNamespace
	// urgent are the namespaces with an urgent Service, and patient the others, both
	// in the order of their turns.
	urgent, patient *list.List
	// urgentTurns is how many turns urgent namespaces have had since a patient one had
	// its turn.
	urgentTurns int
}

// place is where a Service waits.
type place struct {
	urgent  bool
	element *list.Element
}

// queuedNamespace is a namespace of which Services wait.
type queuedNamespace struct {
	name            string
	urgent, patient *list.List
	// ring is the list of namespaces that this one is in, and element its place there.
	ring    *list.List
	element *list.Element
}

func newFairQueue() *fairQueue {
	return &fairQueue{
		places: make(map[types.NamespacedName]place), namespaces: make(map[string]*queuedNamespace),
		urgent: list.New(), patient: list.New(),
	}
}

func (q *fairQueue) len() int { return len(q.places) }

// push has a Service wait, and reports whether that is new. Asking again neither helps
// nor hurts; asking with another urgency is a new place.
func (q *fairQueue) push(key types.NamespacedName, urgent bool) bool {
	if p, ok := q.places[key]; ok && p.urgent == urgent {
		return false
	}
	n := q.namespaces[key.Namespace]
	if n == nil {
		n = &queuedNamespace{name: key.Namespace, urgent: list.New(), patient: list.New()}
		q.namespaces[key.Namespace] = n
	}
	q.take(key)
	q.places[key] = place{urgent, n.line(urgent).PushBack(key)}
	q.settle(n)
	return true
}

// remove gives up a Service's place, if it has one.
func (q *fairQueue) remove(key types.NamespacedName) {
	if q.take(key) {
		q.settle(q.namespaces[key.Namespace])
	}
}

// pop takes out the Service whose turn it is, and puts its namespace last.
func (q *fairQueue) pop() (types.NamespacedName, bool) {
	ring := q.next()
	first := ring.Front()
	if first == nil {
		return types.NamespacedName{}, false
	}
	n := first.Value.(*queuedNamespace)
	service := n.line(n.urgent.Len() > 0).Front()
	key := service.Value.(types.NamespacedName)
	ring.MoveToBack(first)
	q.remove(key)
	return key, true
}

// next is whose turn it is, the urgent namespaces' or the patient ones'.
func (q *fairQueue) next() *list.List {
	if q.urgent.Len() > 0 && (q.patient.Len() == 0 || q.urgentTurns < patientShare-1) {
		q.urgentTurns++
		return q.urgent
	}
	q.urgentTurns = 0
	return q.patient
}

// take takes a Service out of the line of its namespace.
func (q *fairQueue) take(key types.NamespacedName) bool {
	p, ok := q.places[key]
	if ok {
		q.namespaces[key.Namespace].line(p.urgent).Remove(p.element)
		delete(q.places, key)
	}
	return ok
}

// settle puts a namespace where it belongs after its Services have changed.
func (q *fairQueue) settle(n *queuedNamespace) {
	var ring *list.List
	switch {
	case n.urgent.Len() > 0:
		ring = q.urgent
	case n.patient.Len() > 0:
		ring = q.patient
	}
	if ring == n.ring {
		return
	}
	if n.ring != nil {
		n.ring.Remove(n.element)
	}
	if n.ring = ring; ring == nil {
		delete(q.namespaces, n.name)
		return
	}
	n.element = ring.PushBack(n)
}

func (n *queuedNamespace) line(urgent bool) *list.List {
	if urgent {
		return n.urgent
	}
	return n.patient
}
