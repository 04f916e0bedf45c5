// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
)

// Answer is what the selectors say about Namespaces of one kind, with offers by their
// positions.
type Answer struct {
	serving []int
	beaten  map[string]string
}

// Memory returns the answer under a key that it has kept, or what judge says, which it may
// keep. All that it keeps is for one set of selectors.
type Memory func(key string, judge func() Answer) Answer

// answers are kept by those labels of a Namespace that selectors ask for, so that
// Namespaces which do not differ in these share one. The selectors are asked once for
// each kind of Namespace, and not at each look at one.
type answers struct {
	asked  sets.Set[string]
	memory Memory
}

func newAnswers(offers []offer, memory Memory) *answers {
	a := &answers{asked: sets.New[string](), memory: memory}
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
