// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"slices"
	"strings"
)

// use describes which readers can use a registry of a config.
type use struct {
	// kubelet and resolution report whether there is an image for which that reader uses
	// this registry.
	kubelet, resolution bool
	// both reports whether there is such an image that the whole config covers for both
	// readers.
	both bool
}

// useOf decides by trial: it generates images for the registry and applies the readers'
// rules to them. An image that matches proves the use. Fuzzing shows that no image matches
// if none of these does.
func useOf(registry string, all Facts) use {
	var u use
	one := FactsOf([]string{registry})
	for _, image := range witnesses(registry) {
		k, r := Kubelet.matches(one, image), TagResolution.matches(one, image)
		u.kubelet, u.resolution = u.kubelet || k, u.resolution || r
		u.both = u.both || (k || r) && all.cover(image)
	}
	if host, _, _ := strings.Cut(registry, "/"); host == hubSite {
		return use{} // Names under it parse and match, but no registry answers there.
	}
	return u
}

// matches reports whether the reader finds a credential for an image.
func (r Reader) matches(f Facts, image string) bool {
	t, parsed := r.Target(image)
	return parsed && len(r.Matches(t, f)) > 0
}

// witnesses returns images that a registry matches, if it matches any: each wildcard is
// replaced by something short, and the path is a prefix of the image's.
func witnesses(registry string) []string {
	host, path, _ := strings.Cut(registry, "/")
	if path != "" || strings.HasSuffix(registry, "/") {
		path = "/" + path
	}
	hosts := []string{"localhost"}
	for _, label := range []string{"", "a", "A", "[::1]"} {
		hosts = append(hosts, strings.ReplaceAll(host, "*", label))
	}
	var images []string
	for _, host := range slices.Compact(hosts) {
		for _, end := range []string{"", "a", "aa", "/aa", "aa/aa", "/aa/aa"} {
			images = append(images, host+path+end)
		}
	}
	return images
}

// intended returns the key that the user most likely intended. It is the registry itself
// if nothing looks wrong.
func intended(registry string) string {
	host, path, hasPath := strings.Cut(strings.ToLower(registry), "/")
	host, _, list := strings.Cut(host, ",")
	path, _, _ = strings.Cut(path, ":")
	if hasPath = hasPath && !list; hasPath {
		path = "/" + path
	}
	if !hasPath || path == "/v1" || path == "/v2" {
		path = ""
	}
	switch {
	case host == hubSite, host == "registry-1."+hubHost, host == "registry."+hubSite:
		return hubKey
	case host == indexHost && path == "" && registry != indexHost:
		return hubKey
	case host == indexHost && path != "":
		return hubHost + path
	}
	return host + path
}
