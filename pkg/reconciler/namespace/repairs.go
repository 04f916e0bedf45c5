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
	history map[types.NamespacedName]repaired
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
	h := r.history[name]
	if h.version != version || h.times < freeRepairs {
		return 0
	}
	if time.Since(h.last) > 2*longestWait {
		delete(r.history, name)
		return 0
	}
	wait := firstWait << min(h.times-freeRepairs, 10)
	return time.Until(h.last.Add(min(wait, longestWait)))
}

// wrote notes a write.
func (r *repairs) wrote(name types.NamespacedName, version string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.history == nil {
		r.history = make(map[types.NamespacedName]repaired)
	}
	h := r.history[name]
	if h.version != version {
		h = repaired{version: version}
	}
	h.times++
	h.last = time.Now()
	r.history[name] = h
}

// reset drops what is known of a copy that is taken away: that it comes back later is
// no repair.
func (r *repairs) reset(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.history, name)
}

// forget drops what is known of a namespace that is gone.
func (r *repairs) forget(namespace string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.history {
		if name.Namespace == namespace {
			delete(r.history, name)
		}
	}
}

// unseen is for how long a write is waited for that the cache does not show.
const unseen = 5 * time.Second

// pending are the writes of copies that the cache does not show yet. What follows
// from the state before such a write has been done already: it would be done twice,
// or be refused.
type pending struct {
	mu    sync.Mutex
	since map[types.NamespacedName]time.Time
}

// begin notes a write that is about to be made, before the cache can show it.
func (p *pending) begin(name types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since == nil {
		p.since = make(map[types.NamespacedName]time.Time)
	}
	p.since[name] = time.Now()
}

// end notes that the cache shows something new of a copy, or that its write failed.
func (p *pending) end(name types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.since, name)
}

// left is for how long a copy has to be left alone at most.
func (p *pending) left(name types.NamespacedName) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	since, found := p.since[name]
	if !found {
		return 0
	}
	if left := time.Until(since.Add(unseen)); left > 0 {
		return left
	}
	delete(p.since, name)
	return 0
}
