// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"slices"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/util/sets"
)

// maxAnswers is for how many kinds of Namespaces the answers are kept.
const maxAnswers = 8192

// answer is what the selectors say about Namespaces of one kind, with offers by their
// positions.
type answer struct {
	serving []int
	beaten  map[string]string
}

// answers are kept by those labels of a Namespace that selectors ask for, so that
// Namespaces which do not differ in these share one. The selectors are asked once for
// each kind of Namespace, and not at each look at one.
type answers struct {
	asked sets.Set[string]

	mu    sync.Mutex
	byKey map[string]answer
}

func newAnswers(offers []offer) *answers {
	a := &answers{asked: sets.New[string](), byKey: make(map[string]answer)}
	for _, o := range offers {
		requirements, _ := o.selector.Requirements()
		for i := range requirements {
			a.asked.Insert(requirements[i].Key())
		}
	}
	return a
}

// key is the part of the labels that selectors ask for.
func (a *answers) key(namespaceLabels map[string]string) string {
	var pairs []string
	for key, value := range namespaceLabels {
		if a.asked.Has(key) {
			pairs = append(pairs, strconv.Quote(key)+strconv.Quote(value))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}

func (a *answers) of(namespaceLabels map[string]string, judge func(map[string]string) answer) answer {
	key := a.key(namespaceLabels)
	a.mu.Lock()
	defer a.mu.Unlock()
	known, ok := a.byKey[key]
	if ok {
		return known
	}
	for other := range a.byKey {
		if len(a.byKey) < maxAnswers {
			break
		}
		delete(a.byKey, other)
	}
	known = judge(namespaceLabels)
	a.byKey[key] = known
	return known
}
