// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// unseen is for how long a write is waited for that the cache does not show.
const unseen = 5 * time.Second

// pending are the writes of copies that the cache does not show yet. What follows
// from the state before such a write has been done already: it would be done twice,
// or be refused.
type pending struct {
	mu     sync.Mutex
	writes byNamespace[*pendingWrite]
}

type pendingWrite struct {
	since time.Time
	// makes tells whether a copy is what the write makes of it.
	makes func(*corev1.Secret) bool
	// awaited is true once somebody has looked at the state before the write.
	awaited bool
}

// begin notes a write that is about to be made, before the cache can show it.
func (p *pending) begin(name types.NamespacedName, makes func(*corev1.Secret) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes.set(name, &pendingWrite{since: time.Now(), makes: makes})
}

// await has all be news that is seen of the writes in a namespace, for who is about to
// look at its state: that may be the one before them.
func (p *pending) await(namespace string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, write := range p.writes.all[namespace] {
		write.awaited = true
	}
}

// end notes that a write failed.
func (p *pending) end(name types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes.drop(name)
}

// seen notes that the cache shows something new of a copy. It returns whether that is
// news: it is none where the copy is what was written, and nobody has looked in between.
func (p *pending) seen(copied *corev1.Secret) (news bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	name := nameOf(copied)
	write, found := p.writes.get(name)
	p.writes.drop(name)
	return !found || write.awaited || !write.makes(copied)
}

// left is for how long a copy has to be left alone at most.
func (p *pending) left(name types.NamespacedName) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	write, found := p.writes.get(name)
	if !found {
		return 0
	}
	if left := time.Until(write.since.Add(unseen)); left > 0 {
		return left
	}
	p.writes.drop(name)
	return 0
}

// forget drops the writes in a namespace that is gone.
func (p *pending) forget(namespace string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes.dropNamespace(namespace)
}

// forgetThose drops the writes in certain namespaces, for a process that no longer
// leads for them.
func (p *pending) forgetThose(are func(namespace string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes.dropNamespaces(are)
}
