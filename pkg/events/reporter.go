// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"pullsecrets.dev/pkg/fair"
)

// Object is what Events are recorded on.
type Object interface {
	runtime.Object
	GetNamespace() string
	GetName() string
	GetUID() types.UID
}

// Reporter tells what is the case once, when it becomes the case. Reconcilers
// look at an object again and again; a Warning that lasts must not become an
// Event, and so a write, each time. The memory is the process's own: after a
// restart, what still lasts is told once more.
type Reporter struct {
	mu     sync.Mutex
	told   map[subject]account
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

// NewReporter returns a Reporter that has told nothing yet.
func NewReporter() *Reporter {
	return &Reporter{told: make(map[subject]account), budget: fair.NewBudget(forAll, forEach, time.Now)}
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

func (r *Reporter) news(key subject, uid types.UID, events []Event) (told []Event, all bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.told[key]
	if before.uid != uid {
		before.events = nil
	}
	all = true
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
		delete(r.told, key)
	} else {
		r.told[key] = now
	}
	return told, all
}

// ForgetThose drops what was told about certain objects, for a process that no
// longer leads for them.
func (r *Reporter) ForgetThose(are func(types.NamespacedName) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.told, func(key subject, _ account) bool { return are(key.NamespacedName) })
}

// Forget drops what was told about an object that is gone.
func (r *Reporter) Forget(object types.NamespacedName, topics ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, topic := range topics {
		delete(r.told, subject{object, topic})
	}
}
