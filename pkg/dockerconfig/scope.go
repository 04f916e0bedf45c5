// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"pullsecrets.dev/pkg/annotation"
)

// UncoveredError reports registries for which a config has no credential.
type UncoveredError struct {
	// Registries in the order in which they were asked for.
	Registries []string
}

// Error names the registries.
func (e *UncoveredError) Error() string {
	quoted := make([]string, 0, len(e.Registries))
	for _, registry := range e.Registries {
		quoted = append(quoted, annotation.Quote(registry))
	}
	return "no credential for " + strings.Join(quoted, ", ")
}

// Scoped returns the part of a config for these registries, with the registries as its keys:
// the credential for a host becomes one for a path. Of several Secrets with credentials for one
// host, a reader then finds each by the path of the image.
//
// For each image below one of the registries, each reader uses the credential that it would
// use of c.WithHub(), and for no other image it finds any. So an entry of c with a longer path
// stays beside the one that is asked for. Both names of Docker Hub are the same registry, and
// the result has the keys for both readers.
//
// The error is an [UncoveredError] if c does not cover all images below a registry for both
// readers, or an [InvalidError].
func (c Config) Scoped(registries []string) (Config, error) {
	all := c.WithHub().contents()
	entries := map[string]credential{}
	var uncovered []string
	for _, wanted := range registries {
		if !all.scopeTo(wanted, entries) {
			uncovered = append(uncovered, wanted)
		}
	}
	if len(uncovered) > 0 {
		return Config{}, &UncoveredError{uncovered}
	}
	// All keys of a registry have the credential of the entry that is tried first for it,
	// so there is no ambiguity.
	scoped, _ := newConfig(entries)
	contents := scoped.contents()
	contents.repeated, contents.declared = all.repeated, make(map[string]bool, len(registries))
	for _, wanted := range registries {
		registry, _ := registryOf(wanted)
		contents.declared[registry] = true
	}
	if registry, reason := scoped.useless(); reason != "" {
		return Config{}, &InvalidError{Key: scopeKey, Entry: contents.nameOf(registry), Reason: reason}
	}
	if reason := scoped.tooLarge(); reason != "" {
		return Config{}, &InvalidError{Key: scopeKey, Reason: reason}
	}
	return scoped, nil
}

// scopeKey is where the registries of Scoped come from, as errors name it.
const scopeKey = "spec.registries"

// tooLarge returns why a copy of the config would be too large, or an empty string.
func (c Config) tooLarge() string {
	// Base64 and a second key for Docker Hub make it larger than what was read.
	if size := len(c.Copy()); size > corev1.MaxSecretSize {
		return fmt.Sprintf("too many credentials: a copy would have %d bytes, and a Secret may have %d", size, corev1.MaxSecretSize)
	}
	return ""
}

// scopeTo adds the entries for a registry, and reports whether they cover all images below it
// for both readers.
func (c *contents) scopeTo(wanted string, entries map[string]credential) bool {
	registry, reason := registryOf(wanted)
	if reason != "" || registry == "" {
		return false
	}
	host, path, hasPath := strings.Cut(registry, "/")
	if hasPath {
		path = "/" + path
	}
	if host != hubHost && host != indexHost {
		return c.scopeHost(host, path, entries)
	}
	pulled, resolved := c.scopeHost(hubHost, path, entries), c.scopeHost(indexHost, path, entries)
	if index, found := c.credentials[indexHost]; found && !pulled {
		// The kubelet tries it if nothing else matches.
		entries[keyFor(hubHost, path)], pulled = index, true
	}
	return pulled && resolved
}

// scopeHost adds the entries that are the first to be tried for some image with this host and
// a path that begins with path. It reports whether there is one for each such image.
func (c *contents) scopeHost(host, path string, entries map[string]credential) bool {
	at, ok := locate(host)
	if !ok {
		return false
	}
	var paths []string
	for _, registry := range c.index {
		l, ok := locate(registry)
		if entryPath := l.path; !ok || !(location{labels: l.labels, port: l.port}).has(at) {
			continue
		} else if strings.HasPrefix(path, entryPath) {
			l.path = path
		} else if !strings.HasPrefix(entryPath, path) {
			continue
		}
		if slices.ContainsFunc(paths, func(earlier string) bool { return strings.HasPrefix(l.path, earlier) }) {
			continue // An earlier entry is used for all of its images.
		}
		if host == indexHost && l.path == "" && registry != indexHost {
			// As a key of its own, the kubelet would also offer it to hosts without
			// dot or port.
			return false
		}
		paths = append(paths, l.path)
		entries[keyFor(host, l.path)] = c.credentials[registry]
		if l.path == path {
			return true
		}
	}
	return false
}

// keyFor returns a key from which the readers read this host and path.
func keyFor(host, path string) string {
	switch {
	case host == indexHost:
		return indexKey(path)
	case hasVersion(path):
		return host + "/v1" + path
	}
	return host + path
}
