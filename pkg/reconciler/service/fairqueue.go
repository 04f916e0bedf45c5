// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"container/list"

	"k8s.io/apimachinery/pkg/types"
)

// patientShare guarantees namespaces without urgent Services one turn in patientShare,
// however many namespaces have urgent ones.
const patientShare = 4

// fairQueue orders waiting Services. It has neither clock nor goroutine.
//
//   - Namespaces take turns, so the share of a namespace does not depend on how many
//     Services another one has.
//   - Within a namespace, urgent Services come first. Services of equal urgency keep the
//     order in which they asked.
//   - Namespaces with urgent Services precede the others, which still get one turn in
//     patientShare.
//   - A Service that leaves and asks again is the last of its namespace. A namespace that
//     leaves and returns is the last namespace.
//
// Each operation takes constant time. The zero value is not ready to use.
type fairQueue struct {
	places     map[types.NamespacedName]place
	namespaces map[string]*queuedNamespace
	// urgent are the namespaces with urgent Services, and patient the others, both in the
	// order of their turns.
	urgent, patient *list.List
	// urgentTurns is how many turns urgent namespaces have had since the last turn of a
	// patient one.
	urgentTurns int
}

// place is where a Service waits.
type place struct {
	urgent  bool
	element *list.Element
}

// queuedNamespace is a namespace with waiting Services.
type queuedNamespace struct {
	name            string
	urgent, patient *list.List
	// ring is the list of namespaces that this one is in, and element its place in it.
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

// push adds a Service, and reports whether its place is new. Asking again changes nothing,
// unless the urgency has changed.
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

// remove takes a Service out, if it waits.
func (q *fairQueue) remove(key types.NamespacedName) {
	if q.take(key) {
		q.settle(q.namespaces[key.Namespace])
	}
}

// pop removes and returns the next Service, and moves its namespace to the end.
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

// next returns the list of namespaces whose turn it is.
func (q *fairQueue) next() *list.List {
	if q.urgent.Len() > 0 && (q.patient.Len() == 0 || q.urgentTurns < patientShare-1) {
		q.urgentTurns++
		return q.urgent
	}
	q.urgentTurns = 0
	return q.patient
}

// take removes a Service from the queue of its namespace.
func (q *fairQueue) take(key types.NamespacedName) bool {
	p, ok := q.places[key]
	if ok {
		q.namespaces[key.Namespace].line(p.urgent).Remove(p.element)
		delete(q.places, key)
	}
	return ok
}

// settle moves a namespace to the list it belongs to, after its Services have changed.
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
