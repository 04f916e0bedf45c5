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

// expectations holds, by Namespace, the writes of copies that the cache does not show
// yet. A decision by the state before such a write would repeat it, or would be rejected
// by its resourceVersion.
type expectations struct {
	memory.Table[string, *expectation]
}

// expectation is one pending write.
type expectation struct {
	since time.Time
	// met reports whether a copy is the result of the write.
	met func(*corev1.Secret) bool
	// stale is set if the Namespace was reconciled while the cache showed the state
	// before the write.
	stale bool
}

// byNamespace returns the key of the Namespace of a copy or a ServiceAccount.
func byNamespace(namespace string) types.NamespacedName {
	return types.NamespacedName{Name: namespace}
}

func newExpectations(m *memory.Memory) expectations {
	return expectations{memory.NewTable[string, *expectation](m)}
}

// begin records a write before it is made, so that its event finds the expectation.
func (x expectations) begin(name types.NamespacedName, met func(*corev1.Secret) bool) {
	x.Do(byNamespace(name.Namespace), func(writes map[string]*expectation) {
		writes[name.Name] = &expectation{since: time.Now(), met: met}
	})
}

// expectEvent marks the pending writes of a namespace that is about to be reconciled, so that
// the next event of each requeues the namespace.
func (x expectations) expectEvent(namespace string) {
	x.Do(byNamespace(namespace), func(writes map[string]*expectation) {
		for _, write := range writes {
			write.stale = true
		}
	})
}

// end drops the expectation of a write that failed.
func (x expectations) end(name types.NamespacedName) {
	x.Do(byNamespace(name.Namespace), func(writes map[string]*expectation) { delete(writes, name.Name) })
}

// observe handles an event of a copy. It reports whether the Namespace must be
// reconciled, which is not the case if the copy is the result of a write and the
// Namespace was not reconciled since.
func (x expectations) observe(copied *corev1.Secret) (requeue bool) {
	name := nameOf(copied)
	x.Do(byNamespace(name.Namespace), func(writes map[string]*expectation) {
		write, found := writes[name.Name]
		delete(writes, name.Name)
		requeue = !found || write.stale || !write.met(copied)
	})
	return requeue
}

// left returns how long to wait for the cache to show the pending write of a copy, or
// zero.
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
