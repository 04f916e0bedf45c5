// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/pkg/contest"
	"pullsecrets.dev/pkg/memory"
)

// backoff counts, by Namespace, how often each copy was restored to the same state, so
// that a write that is undone again and again is delayed longer each time.
type backoff struct {
	memory.Table[string, contest.Backoff]
}

func newBackoff(m *memory.Memory) backoff {
	return backoff{memory.NewTable[string, contest.Backoff](m)}
}

// wait returns the delay before the next write of a copy.
func (b backoff) wait(name types.NamespacedName, state string) (wait time.Duration) {
	b.Do(byNamespace(name.Namespace), func(copies map[string]contest.Backoff) {
		if c, found := copies[name.Name]; found {
			wait = c.Wait(state, time.Now())
			copies[name.Name] = c
		}
	})
	return wait
}

// wrote records a write.
func (b backoff) wrote(name types.NamespacedName, state string) {
	b.Do(byNamespace(name.Namespace), func(copies map[string]contest.Backoff) {
		c := copies[name.Name]
		c.Wrote(state, time.Now())
		copies[name.Name] = c
	})
}

// reset drops the history of a copy that is removed because it is no longer needed.
// Creating it later is not a restore.
func (b backoff) reset(name types.NamespacedName) {
	b.Do(byNamespace(name.Namespace), func(copies map[string]contest.Backoff) { delete(copies, name.Name) })
}
