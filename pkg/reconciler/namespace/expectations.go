// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/pkg/memory"
)

// expectationTimeout is how long the cache is expected to show a write.
const expectationTimeout = 5 * time.Second

// expectations are the writes of copies that the cache does not show yet, by Namespace.
// What would follow from the state before such a write has been done already: it would
// be done twice, or be rejected.
type expectations struct {
	memory.Table[string, *expectation]
}

// expectation is one write.
type expectation struct {
	since time.Time
	// met reports whether a copy is what the write makes of it.
	met func(*corev1.Secret) bool
	// stale is set once the Namespace was reconciled by the state before the write.
	stale bool
}

// byNamespace is the key of the Namespace of a copy or a ServiceAccount.
func byNamespace(namespace string) types.NamespacedName {
	return types.NamespacedName{Name: namespace}
}

func newExpectations(m *memory.Memory) expectations {
	return expectations{memory.NewTable[string, *expectation](m)}
}

// begin records a write that is about to be made, before the cache can show it.
func (x expectations) begin(name types.NamespacedName, met func(*corev1.Secret) bool) {
	x.Do(byNamespace(name.Namespace), func(writes map[string]*expectation) {
		writes[name.Name] = &expectation{since: time.Now(), met: met}
	})
}

// await marks the pending writes of a namespace that is about to be reconciled, so that
// the event of each requeues it: the cache may still show the state before them.
func (x expectations) await(namespace string) {
	x.Do(byNamespace(namespace), func(writes map[string]*expectation) {
		for _, write := range writes {
			write.stale = true
		}
	})
}

// end drops a write that failed.
func (x expectations) end(name types.NamespacedName) {
	x.Do(byNamespace(name.Namespace), func(writes map[string]*expectation) { delete(writes, name.Name) })
}

// seen takes an event of a copy. It reports whether the Namespace has to be reconciled
// for it: not where the copy is what was written and nobody has reconciled in between.
func (x expectations) seen(copied *corev1.Secret) (requeue bool) {
	name := nameOf(copied)
	x.Do(byNamespace(name.Namespace), func(writes map[string]*expectation) {
		write, found := writes[name.Name]
		delete(writes, name.Name)
		requeue = !found || write.stale || !write.met(copied)
	})
	return requeue
}

// left is how long a copy has to be left alone at most.
func (x expectations) left(name types.NamespacedName) (left time.Duration) {
	x.Do(byNamespace(name.Namespace), func(writes map[string]*expectation) {
		write, found := writes[name.Name]
		if !found {
			return
		}
		if left = time.Until(write.since.Add(expectationTimeout)); left <= 0 {
			left = 0
			delete(writes, name.Name)
		}
	})
	return left
}
