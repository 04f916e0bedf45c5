// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"maps"
	"strings"
)

const (
	// hubHost is the host that the kubelet looks up for Docker Hub's images.
	hubHost = "docker.io"
	// indexHost is the host that tag resolution looks up for them
	// (pkg/name/registry.go:127-131), and the kubelet if it found no other.
	indexHost = "index.docker.io"
	// hubKey is how the docker client writes indexHost.
	hubKey = "https://" + indexHost + "/v1/"
	// hubSite is the web site of Docker Hub, which is no registry.
	hubSite = "hub.docker.com"
)

// WithHub returns what a copy of the config holds: the same, and for each
// registry docker.io, in whatever spelling, one that tag resolution matches,
// too, with the same credential and the same path. For the kubelet nothing
// changes, and whatever credential tag resolution found before it finds again.
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
	// No two can disagree, because no registry is added that is there.
	config, _ := newConfig(entries)
	config.contents().repeated = old.repeated
	return config
}

// missingHub returns the keys to add, each with the registry whose credential
// it gets.
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
		if takesPlace(path, registries) {
			continue
		}
		switch {
		case path == "":
			missing[hubKey] = registry
		case hasVersion(path):
			// The readers cut off one version; this one belongs to the path.
			missing[indexHost+"/v1"+path] = registry
		default:
			missing[indexHost+path] = registry
		}
	}
	return missing
}

// takesPlace tells whether a registry indexHost+path would be tried before one
// that tag resolution finds already for some of the same images.
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
