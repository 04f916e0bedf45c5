// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// freeRepairs is how often a copy is written without delay, for one version
	// of its source.
	freeRepairs = 3
	// firstWait is how long the next one waits; each further one waits twice as
	// long as the one before, up to longestWait.
	firstWait, longestWait = 2 * time.Second, 10 * time.Minute
)

// propagation is how often within propagationWindow a labelled Secret that nothing
// grants is removed before its namespace is told that somebody keeps making it.
const (
	propagation       = 3
	propagationWindow = 10 * time.Minute
)

// repairs counts how often each copy was brought to the same state, so that somebody
// who keeps undoing that is met with a backoff and not with a loop. It may be lost with
// the process.
type repairs struct {
	mu      sync.Mutex
	history byNamespace[repaired]
}

type repaired struct {
	// state is what the copy was brought to.
	state string
	times int
	last  time.Time
}

// absent is the state of a copy that nothing grants.
const absent = "absent"

// wait is how long the next write of a copy has to wait. Another state is a new
// beginning, and so is a long time without a write.
func (r *repairs) wait(name types.NamespacedName, state string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, _ := r.history.get(name)
	if h.state != state || h.times < freeRepairs {
		return 0
	}
	if time.Since(h.last) > 2*longestWait {
		r.history.drop(name)
		return 0
	}
	wait := firstWait << min(h.times-freeRepairs, 10)
	return time.Until(h.last.Add(min(wait, longestWait)))
}

// wrote notes a write.
func (r *repairs) wrote(name types.NamespacedName, state string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, _ := r.history.get(name)
	if h.state != state {
		h = repaired{state: state}
	}
	h.times++
	h.last = time.Now()
	r.history.set(name, h)
}

// removed notes that a labelled Secret was removed which nothing grants. Such removals
// never wait.
func (r *repairs) removed(name types.NamespacedName) {
	r.mu.Lock()
	h, _ := r.history.get(name)
	if h.state == absent && time.Since(h.last) > propagationWindow {
		r.history.drop(name)
	}
	r.mu.Unlock()
	r.wrote(name, absent)
}

// propagated are the labelled Secrets of a namespace that somebody keeps making where
// nothing grants them, sorted.
func (r *repairs) propagated(namespace string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for name, h := range r.history.all[namespace] {
		if h.state == absent && h.times >= propagation && time.Since(h.last) <= propagationWindow {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// reset drops what is known of a copy that is removed because nobody needs it: that it
// comes back later is no repair.
func (r *repairs) reset(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.drop(name)
}

// forget drops what is known of a namespace that is gone.
func (r *repairs) forget(namespace string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.dropNamespace(namespace)
}

// forgetThose drops what is known of certain namespaces, for a process that no longer
// leads for them.
func (r *repairs) forgetThose(are func(namespace string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.dropNamespaces(are)
}
