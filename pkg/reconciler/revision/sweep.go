// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
)

// review takes that a Revision or a ServiceAccount of a namespace changed, so that it may no
// longer use a Secret. No watch reports that: one that is missing is never deleted.
func (n *named) review(namespace string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.size[namespace] > 0 {
		n.unsure.Insert(namespace)
	}
}

// sweepUnsure removes the unused Secrets of the namespaces that changed since the last time.
func (n *named) sweepUnsure() {
	n.mu.Lock()
	unsure := n.unsure
	n.unsure = sets.New[string]()
	n.mu.Unlock()
	if unsure.Len() > 0 {
		n.dropUnused(func(key types.NamespacedName) bool { return unsure.Has(key.Namespace) })
	}
}

// sweep removes the unused Secrets of a full namespace, and reports whether it was time for it.
func (n *named) sweep(namespace string) bool {
	n.mu.Lock()
	now := time.Now()
	due := now.Sub(n.swept[namespace]) >= sweepEvery
	if due {
		n.swept[namespace] = now
	}
	n.mu.Unlock()
	if due {
		n.dropUnused(func(key types.NamespacedName) bool { return key.Namespace == namespace })
	}
	return due
}

// dropUnused removes those Secrets that nothing uses. A tenant decides how much must be
// compared for that, so it is done without the lock, which all namespaces share. A Secret that is
// asked for meanwhile stays until the next time: who asked relies on hearing of its changes.
func (n *named) dropUnused(are func(types.NamespacedName) bool) {
	var all []candidate
	n.mu.Lock()
	for key, s := range n.known {
		if are(key) {
			all = append(all, candidate{key, s, s.asked})
		}
	}
	n.mu.Unlock()
	all = slices.DeleteFunc(all, func(c candidate) bool { return n.used(c.key) })
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range all {
		if !n.dropUnasked(c) {
			n.unsure.Insert(c.key.Namespace)
		}
	}
}

// candidate is an entry that may be dropped, with how often it had been asked for before it was
// found out whether anything uses it.
type candidate struct {
	key types.NamespacedName
	*secret
	asked int
}

// dropUnasked drops an entry unless it was asked for since, and reports whether it is gone. It
// requires the lock.
func (n *named) dropUnasked(c candidate) bool {
	if n.known[c.key] != c.secret {
		return true
	}
	if c.secret.asked != c.asked {
		return false
	}
	n.drop(c.key)
	return true
}

// Forget implements [memory.Keeper]. What only a Service used that is gone is dropped after its
// Revisions are gone.
func (n *named) Forget(types.NamespacedName) {}

// ForgetThose implements [memory.Keeper] for Services that another process leads for now. A
// Secret is dropped unless a Service uses it that this process still leads for.
func (n *named) ForgetThose(func(service types.NamespacedName) bool) {
	n.dropUnused(func(types.NamespacedName) bool { return true })
}

// drop requires the lock.
func (n *named) drop(key types.NamespacedName) {
	if s := n.known[key]; s != nil {
		delete(n.known, key)
		if n.size[key.Namespace] -= costOf(key, &s.facts); n.size[key.Namespace] <= 0 {
			delete(n.size, key.Namespace)
			delete(n.swept, key.Namespace)
			n.unsure.Delete(key.Namespace)
		}
	}
}
