// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"sync"

	"pullsecrets.dev/pkg/grant"
)

// maxAnswers is the number of selector results that are kept, one for each combination of
// labels that selectors use.
const maxAnswers = 8192

// remember returns a memory of bounded size. When it is full, it evicts any entry.
func remember() grant.Memory {
	var mu sync.Mutex
	kept := make(map[string]grant.Answer)
	return func(key string, judge func() grant.Answer) grant.Answer {
		mu.Lock()
		defer mu.Unlock()
		known, ok := kept[key]
		if ok {
			return known
		}
		for other := range kept {
			if len(kept) < maxAnswers {
				break
			}
			delete(kept, other)
		}
		known = judge()
		kept[key] = known
		return known
	}
}
