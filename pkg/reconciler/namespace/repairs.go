// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
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

// repairs counts how often each copy was written, so that somebody who keeps
// undoing that is met with patience and not with a loop. It may be lost with the
// process.
type repairs struct {
	mu      sync.Mutex
	history byNamespace[repaired]
}

type repaired struct {
	version string
	times   int
	last    time.Time
}

// wait is how long the next write of a copy has to wait. A new version of the
// source is a new beginning, and so is a long peace.
func (r *repairs) wait(name types.NamespacedName, version string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, _ := r.history.get(name)
	if h.version != version || h.times < freeRepairs {
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
func (r *repairs) wrote(name types.NamespacedName, version string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, _ := r.history.get(name)
	if h.version != version {
		h = repaired{version: version}
	}
	h.times++
	h.last = time.Now()
	r.history.set(name, h)
}

// reset drops what is known of a copy that is taken away: that it comes back later is
// no repair.
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
