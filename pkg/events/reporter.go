// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"pullsecrets.dev/pkg/fair"
	"pullsecrets.dev/pkg/memory"
)

// Object is an object that Events are recorded on.
type Object interface {
	runtime.Object
	GetNamespace() string
	GetName() string
	GetUID() types.UID
}

// Reporter records a lasting condition once, when it appears. An object is reconciled many
// times, and a Warning must not be written each time. After a restart, conditions that
// last are recorded once more.
type Reporter struct {
	// reported is what was recorded, by the key that is reconciled.
	reported memory.Table[topicKey, topicState]
	owner    func(types.NamespacedName) types.NamespacedName
	budget   *fair.Budget
}

// forAll and forEach limit how fast Events are recorded, in total and per namespace.
// client-go drops Events that exceed its queue of a thousand, and a dropped Event would
// count as recorded. A namespace whose objects flap uses up only its own share.
var (
	forAll  = fair.Rate{PerSecond: 20, Burst: 500}
	forEach = fair.Rate{PerSecond: 1, Burst: 100}
)

// RetryAfter is the delay before [Reporter.Report] is called again if the limit was
// reached.
const RetryAfter = 30 * time.Second

// NewReporter returns a Reporter that is part of a memory. owner maps the key of an object
// that Events are recorded on to the key that is reconciled, with which it is forgotten.
// It is nil if both are the same.
func NewReporter(m *memory.Memory, owner func(types.NamespacedName) types.NamespacedName) *Reporter {
	if owner == nil {
		owner = func(key types.NamespacedName) types.NamespacedName { return key }
	}
	return &Reporter{
		reported: memory.NewTable[topicKey, topicState](m), owner: owner,
		budget: fair.NewBudget(forAll, forEach, time.Now),
	}
}

type topicKey struct {
	types.NamespacedName
	topic string
}

type topicState struct {
	uid    types.UID
	events []Event
}

// Report takes all Events that apply to a topic of an object now, and records those that
// did not apply at the last call. It returns the recorded ones. If the limit was reached,
// all is false and the caller should call again after RetryAfter.
func (r *Reporter) Report(recorder record.EventRecorder, object Object, topic string, events []Event) (recorded []Event, all bool) {
	key := topicKey{types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}, topic}
	recorded, all = r.take(key, object.GetUID(), events)
	for _, e := range recorded {
		recorder.Event(object, e.Type, e.Reason, e.Message)
	}
	return recorded, all
}

// take returns the Events that did not apply at the last call, as far as the budget
// allows, and stores them as recorded.
func (r *Reporter) take(key topicKey, uid types.UID, events []Event) (recorded []Event, all bool) {
	all = true
	r.reported.Do(r.owner(key.NamespacedName), func(known map[topicKey]topicState) {
		before := known[key]
		if before.uid != uid {
			before.events = nil
		}
		now := topicState{uid: uid}
		for _, e := range events {
			switch {
			case slices.Contains(before.events, e):
			case r.budget.Take(key.Namespace):
				recorded = append(recorded, e)
			default:
				all = false
				continue
			}
			now.events = append(now.events, e)
		}
		if len(now.events) == 0 {
			delete(known, key)
		} else {
			known[key] = now
		}
	})
	return recorded, all
}

// ForgetObject forgets topics of an object that is gone and that is not the one that is
// reconciled.
func (r *Reporter) ForgetObject(object types.NamespacedName, topics ...string) {
	r.reported.Do(r.owner(object), func(known map[topicKey]topicState) {
		for _, topic := range topics {
			delete(known, topicKey{object, topic})
		}
	})
}
