// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
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
	mu   sync.Mutex
	told map[subject]account
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
// goes, and records what was not the case at the last call.
func (r *Reporter) Report(recorder record.EventRecorder, object Object, topic string, events []Event) {
	key := subject{types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}, topic}
	for _, e := range r.news(key, object.GetUID(), events) {
		recorder.Event(object, e.Type, e.Reason, e.Message)
	}
}

func (r *Reporter) news(key subject, uid types.UID, events []Event) []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.told[key]
	if before.uid != uid {
		before.events = nil
	}
	if len(events) == 0 {
		delete(r.told, key)
		return nil
	}
	if r.told == nil {
		r.told = make(map[subject]account)
	}
	r.told[key] = account{uid, slices.Clone(events)}
	return slices.DeleteFunc(slices.Clone(events), func(e Event) bool { return slices.Contains(before.events, e) })
}

// Forget drops what was told about an object that is gone.
func (r *Reporter) Forget(object types.NamespacedName, topics ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, topic := range topics {
		delete(r.told, subject{object, topic})
	}
}
