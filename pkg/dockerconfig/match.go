// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"net/url"
	"path"
	"slices"
	"strings"
)

// Covers reports whether credentials for these registries cover an image for both readers:
// the kubelet and Knative's tag resolution. An image by digest is not resolved, but must
// be covered for both too, so that the result does not change when a Service switches
// between tag and digest.
//
// An image that the readers look up in different places, such as localhost/app, is not
// covered.
//
// The registries are those of [Config.Registries]. They are sufficient to decide, so that
// no credential has to be kept for it.
func Covers(registries []string, image string) bool { return FactsOf(registries).cover(image) }

// cover is [Covers].
func (f Facts) cover(image string) bool {
	resolved, parsed := TagResolution.Target(image)
	if !parsed {
		return false
	}
	pulled, parsed := Kubelet.Target(image)
	if !parsed {
		return false
	}
	return pulled.Same(resolved) && len(TagResolution.Matches(resolved, f)) > 0 && len(Kubelet.Matches(pulled, f)) > 0
}

// CoversForKubelet reports whether credentials for these registries cover an image that
// only the kubelet looks up, because Knative does not resolve its tag. The Docker Hub key,
// which the kubelet also offers to hosts without dot or port, does not count for those.
func CoversForKubelet(registries []string, image string) bool {
	pulled, parsed := Kubelet.Target(image)
	return parsed && Kubelet.finds(pulled, registries...)
}

// finds reports whether the reader finds a credential that is meant for an image among
// those for these registries.
func (r Reader) finds(t Target, registries ...string) bool {
	found := r.Matches(t, FactsOf(registries))
	return len(found) > 0 && !found[0].Foreign
}

// Preceding returns the registry whose entry readers try first for images below a registry: the
// same one if there is an entry for it, or else one for the host or a shorter path. It reports
// whether there is one.
func (f *Facts) Preceding(registry string) (first string, found bool) {
	at, ok := locate(registry)
	if !ok {
		return "", false
	}
	for i := range f.Entries {
		switch e := &f.Entries[i]; {
		case e.registry == registry:
			return registry, true
		case !found && e.at.has(at):
			first, found = e.registry, true
		}
	}
	return first, found
}

// inOrder returns registries in the order in which both readers try them (keyring.go:182,
// keychain.go:219).
func inOrder(registries []string) []string {
	ordered := slices.Sorted(slices.Values(registries))
	slices.Reverse(ordered)
	return slices.Compact(ordered)
}

// location is a registry or an image, split for matching. The zero location, of an address
// that the readers cannot parse, matches nothing and is matched by nothing.
type location struct {
	labels     []string
	port, path string
}

// locate splits an address as both readers do, and fails if they would not match it
// (ParseSchemelessURL and SplitURL in keyring.go:220-238, parseSchemelessURL and splitURL
// in keychain.go:264-282).
func locate(address string) (location, bool) {
	parsed, err := url.Parse("https://" + address)
	if err != nil {
		return location{}, false
	}
	host, port := splitPort(parsed.Host)
	return location{strings.Split(host, "."), port, parsed.Path}, true
}

// has reports whether a registry matches an image, by the readers' rule (URLsMatch in
// keyring.go:262-290, urlsMatch in keychain.go:293-321).
func (registry location) has(image location) bool {
	if registry.port != image.port || len(registry.labels) != len(image.labels) || !strings.HasPrefix(image.path, registry.path) {
		return false
	}
	for i, glob := range registry.labels {
		if ok, err := path.Match(glob, image.labels[i]); !ok || err != nil {
			return false
		}
	}
	return len(registry.labels) > 0
}

// splitPort does what both readers do with net.SplitHostPort, for a host that
// url.Parse has let through: without a port, an IPv6 address keeps its
// brackets, which then count as a glob and match nothing.
func splitPort(host string) (name, port string) {
	colon := strings.LastIndexByte(host, ':')
	if colon < 0 || strings.HasSuffix(host, "]") {
		return host, ""
	}
	name, port = host[:colon], host[colon+1:]
	if strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]") {
		return name[1 : len(name)-1], port
	}
	if strings.Contains(name, ":") {
		return host, ""
	}
	return name, port
}
