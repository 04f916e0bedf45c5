// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"sync"

	"pullsecrets.dev/pkg/grant"
)

// maxAnswers is for how many kinds of Namespaces the answers of selectors are kept.
const maxAnswers = 8192

// remember returns a memory of bounded size. Where it is full, any one makes way.
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
