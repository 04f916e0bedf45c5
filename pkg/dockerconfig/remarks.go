// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"pullsecrets.dev/pkg/annotation"
)

// maxRemarks is the number of Remarks that are returned one by one.
const maxRemarks = 4

// Remarks returns likely mistakes in a config that is valid for at least some images: one
// line each, in the order of the registries, with the entry. None contains any part of a
// credential.
func (c Config) Remarks() []string {
	contents, copied := c.contents(), FactsOf(c.WithHub().contents().index)
	spellings := map[string]int{}
	for key := range contents.entries {
		registry, _ := registryOf(key)
		spellings[registry]++
	}
	var remarks []string
	for _, registry := range slices.Sorted(slices.Values(contents.index)) {
		remark := func(format string, args ...any) {
			remarks = append(remarks, fmt.Sprintf("entry %s: ", contents.nameOf(registry))+fmt.Sprintf(format, args...))
		}
		if text := contents.remarkOn(registry, useOf(registry, copied)); text != "" {
			remark("%s", text)
		} else if !contents.shows(registry) {
			remark("the key could be a credential, so it is neither shown nor in status.registries; use a host with a dot, or name it in spec.registries")
		}
		if spellings[registry] > 1 {
			remark("%d keys refer to this registry; keep one", spellings[registry])
		} else if contents.repeated[registry] {
			remark("the key is repeated; the last value is used")
		}
		if field := contents.credentials[registry].endsInNewline(); field != "" {
			remark("the %s ends with a line break, which is sent to the registry", field)
		}
	}
	if more := len(remarks) - maxRemarks; more > 0 {
		remarks = append(remarks[:maxRemarks], fmt.Sprintf("%d more", more))
	}
	return remarks
}

// remarkOn returns what is likely wrong with a registry, or an empty string.
func (c *contents) remarkOn(registry string, u use) string {
	suggestion := ""
	if better := intended(registry); better != registry && (better == hubKey || c.shows(registry) || isCut(registry, better) && c.shows(better)) {
		suggestion = "; use " + annotation.Quote(better)
	} else if better != registry && better == strings.ToLower(registry) {
		suggestion = "; use lower case"
	}
	switch {
	case !u.kubelet && !u.resolution:
		return "matches no image" + suggestion
	case !u.kubelet && !u.both:
		return "matches no image that a node pulls" + suggestion
	case !u.resolution && !u.both:
		return "matches no image whose tag Knative resolves" + suggestion
	case suggestion != "" && u.kubelet:
		return "matches only images with the same spelling" + suggestion
	}
	return ""
}

// isCut reports whether a key is the first part of a registry. Any other key that is derived of a
// registry that is not shown, such as its spelling in lower case, is not shown either.
func isCut(registry, key string) bool { return strings.HasPrefix(registry, key) }

// useless returns the first registry of a config of which no node can use any entry, and
// the reason. Such a config can never pull an image. One usable entry is sufficient,
// because clients write other keys beside it.
func (c Config) useless() (registry, reason string) {
	index := c.WithHub().contents().index
	copied := FactsOf(index)
	for _, registry := range index {
		if useOf(registry, copied).kubelet {
			return "", ""
		}
	}
	registry = slices.Min(c.contents().index)
	return registry, c.contents().remarkOn(registry, use{resolution: useOf(registry, copied).resolution})
}

// endsInNewline returns the field that ends with a line break, usually because it was read
// from a file that does. A key file in JSON may end with one.
func (c credential) endsInNewline() string {
	isFile := strings.HasPrefix(c.password, "{") && json.Valid([]byte(c.password))
	switch {
	case strings.HasSuffix(c.username, "\n"):
		return "username"
	case strings.HasSuffix(c.password, "\n") && !isFile:
		return "password"
	}
	return ""
}
