// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
)

// Answer is the result of all selectors for Namespaces with the same relevant labels. It
// refers to offers by position.
type Answer struct {
	serving []int
	beaten  map[string]string
}

// Memory returns the answer that is cached under a key, or the result of judge, which it
// may cache. All cached answers are for one set of selectors.
type Memory func(key string, judge func() Answer) Answer

// answers are cached by those labels of a Namespace that selectors use, so that Namespaces
// with equal relevant labels share one. Selectors are evaluated once for each combination
// of labels.
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

// key returns the labels that selectors use.
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
