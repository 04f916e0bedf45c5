// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/pkg/contest"
	"pullsecrets.dev/pkg/memory"
)

// maxRecreations limits the names that are remembered per namespace, because a tenant
// chooses them.
const maxRecreations = 100

// recreations counts, by Namespace, how often labelled Secrets were removed that nothing
// grants. If one is created again and again, an Event reports it. Such removals are never
// delayed.
type recreations struct {
	memory.Table[string, contest.Rounds]
}

func newRecreations(m *memory.Memory) recreations {
	return recreations{memory.NewTable[string, contest.Rounds](m)}
}

// removed records a removal.
func (r recreations) removed(name types.NamespacedName) {
	r.Do(byNamespace(name.Namespace), func(secrets map[string]contest.Rounds) {
		rounds, known := secrets[name.Name]
		if known || len(secrets) < maxRecreations {
			rounds.Note(time.Now())
			secrets[name.Name] = rounds
		}
	})
}

// contested returns the names of the labelled Secrets of a namespace that are created
// again and again although nothing grants them, sorted.
func (r recreations) contested(namespace string) (names []string) {
	r.Do(byNamespace(namespace), func(secrets map[string]contest.Rounds) {
		now := time.Now()
		for name, rounds := range secrets {
			switch {
			case rounds.Recent(now) == 0:
				delete(secrets, name)
			case rounds.Contested(now):
				names = append(names, name)
			}
		}
	})
	slices.Sort(names)
	return names
}
