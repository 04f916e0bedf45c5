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

// Object is what Events are recorded on.
type Object interface {
	runtime.Object
	GetNamespace() string
	GetName() string
	GetUID() types.UID
}

// Reporter records what is the case once, when it becomes the case. Reconcilers
// look at an object again and again; a Warning that lasts must not become an
// Event, and so a write, each time. After a restart, what still lasts is recorded
// once more.
type Reporter struct {
	// told is what was recorded, by the key that is reconciled.
	told   memory.Table[subject, account]
	owner  func(types.NamespacedName) types.NamespacedName
	budget *fair.Budget
}

// forAll and forEach bound how fast Events are recorded, by all namespaces and by each:
// client-go drops what does not fit into its queue of a thousand, and what was dropped
// would count as told. A namespace whose objects flap uses up its own share alone.
var (
	forAll  = fair.Rate{PerSecond: 20, Burst: 500}
	forEach = fair.Rate{PerSecond: 1, Burst: 100}
)

// RetryAfter is when to call [Reporter.Report] again after there was too much to tell.
const RetryAfter = 30 * time.Second

// NewReporter returns a Reporter that has recorded nothing yet, as part of a memory.
// Owner maps the key of an object that Events are recorded on to the key that is
// reconciled, with which the object is forgotten; nil where they are the same.
func NewReporter(m *memory.Memory, owner func(types.NamespacedName) types.NamespacedName) *Reporter {
	if owner == nil {
		owner = func(key types.NamespacedName) types.NamespacedName { return key }
	}
	return &Reporter{
		told: memory.NewTable[subject, account](m), owner: owner,
		budget: fair.NewBudget(forAll, forEach, time.Now),
	}
}

type subject struct {
	types.NamespacedName
	topic string
}

type account struct {
	uid    types.UID
	events []Event
}

// Report takes all that is the case with an object now, as far as the topic
// goes, and records what was not the case at the last call. It returns what it
// recorded. Where there is too much to tell at once, all is false, and the call
// should be repeated after RetryAfter.
func (r *Reporter) Report(recorder record.EventRecorder, object Object, topic string, events []Event) (told []Event, all bool) {
	key := subject{types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}, topic}
	told, all = r.news(key, object.GetUID(), events)
	for _, e := range told {
		recorder.Event(object, e.Type, e.Reason, e.Message)
	}
	return told, all
}

// news returns what was not the case at the last call, as far as the budget allows, and
// notes it as recorded.
func (r *Reporter) news(key subject, uid types.UID, events []Event) (told []Event, all bool) {
	all = true
	r.told.Do(r.owner(key.NamespacedName), func(known map[subject]account) {
		before := known[key]
		if before.uid != uid {
			before.events = nil
		}
		now := account{uid: uid}
		for _, e := range events {
			switch {
			case slices.Contains(before.events, e):
			case r.budget.Take(key.Namespace):
				told = append(told, e)
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
	return told, all
}

// ForgetObject drops what was recorded of topics of an object that is gone, where the
// object is not the one that is reconciled.
func (r *Reporter) ForgetObject(object types.NamespacedName, topics ...string) {
	r.told.Do(r.owner(object), func(known map[subject]account) {
		for _, topic := range topics {
			delete(known, subject{object, topic})
		}
	})
}
