// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"maps"
	"strings"
)

const (
	// hubHost is the host that the kubelet looks up for images of Docker Hub.
	hubHost = "docker.io"
	// indexHost is the host that tag resolution looks up for them
	// (pkg/name/registry.go:127-131), and the kubelet if it finds no other.
	indexHost = "index.docker.io"
	// hubKey is the key that the docker client writes for indexHost.
	hubKey = "https://" + indexHost + "/v1/"
	// hubSite is the web site of Docker Hub, which is not a registry.
	hubSite = "hub.docker.com"
)

// WithHub returns the config of a copy: the same, and for each registry docker.io, in any
// spelling, one that tag resolution matches too, with the same credential and path. The
// kubelet finds the same credentials as before, and tag resolution keeps each credential
// that it found before.
func (c Config) WithHub() Config {
	old := c.contents()
	missing := missingHub(old.index)
	if len(missing) == 0 {
		return c
	}
	entries := maps.Clone(old.entries)
	for key, registry := range missing {
		entries[key] = old.credentials[registry]
	}
	// Only missing registries are added, so there is no ambiguity.
	config, _ := newConfig(entries)
	contents := config.contents()
	contents.repeated, contents.numbers, contents.declared = old.repeated, old.numbers, old.declared
	return config
}

// missingHub returns the keys to add, each with the registry whose credential it gets.
func missingHub(registries []string) map[string]string {
	missing := map[string]string{}
	for _, registry := range registries {
		host, path, _ := strings.Cut(registry, "/")
		if host != hubHost {
			continue
		}
		if path != "" {
			path = "/" + path
		}
		if !takesPlace(path, registries) {
			missing[indexKey(path)] = registry
		}
	}
	return missing
}

// indexKey returns the key that tag resolution matches with a path of Docker Hub.
func indexKey(path string) string {
	switch {
	case path == "":
		return hubKey
	case hasVersion(path):
		// The readers remove one version; this one is part of the path.
		return indexHost + "/v1" + path
	}
	return indexHost + path
}

// takesPlace reports whether a registry indexHost+path would be tried before one that tag
// resolution already finds for some of the same images.
func takesPlace(path string, registries []string) bool {
	for _, registry := range registries {
		l, ok := locate(registry)
		overlap := strings.HasPrefix(path, l.path) || strings.HasPrefix(l.path, path)
		index := location{labels: strings.Split(indexHost, "."), path: l.path}
		if ok && overlap && registry <= indexHost+path && l.has(index) {
			return true
		}
	}
	return false
}
