// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	_ "crypto/sha512" // The kubelet takes images by such digests: parsers.go:24.
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
)

// Covers tells whether credentials for these registries serve an image, for
// both readers: the kubelet, and Knative's tag resolution. An image by digest is
// not resolved, and still must be covered for both: a Service changes from tag
// to digest and back, and what it gets shall not depend on it.
//
// An image that the readers look for in different places, such as
// localhost/app, is not covered, whatever they would find there.
//
// The registries are those that [Config.Registries] returns. They are enough to
// decide, so nobody has to keep credentials for it.
func Covers(registries []string, image string) bool {
	pulled, resolved := pulledFrom(image), resolvedAt(image)
	if path, hub := strings.CutPrefix(pulled, hubHost+"/"); pulled != resolved && (!hub || indexHost+"/"+path != resolved) {
		return false
	}
	return len(kubelet(registries, pulled)) > 0 && tagResolution(registries, resolved) != ""
}

// CoversForKubelet reports whether credentials for these registries serve an image
// that the kubelet alone looks credentials up for, because Knative resolves no tag of
// it. The Hub's key, which the kubelet also offers to hosts without dot or
// port, does not count as a credential for those.
func CoversForKubelet(registries []string, image string) bool {
	pulled := pulledFrom(image)
	found := kubelet(registries, pulled)
	return len(found) > 0 && (found[0] != indexHost || strings.HasPrefix(pulled, hubHost+"/"))
}

// pulledFrom returns the host and path that the kubelet looks credentials up
// for, or nothing where it cannot read the image's name (parsers.go:32-38,
// image_manager.go:286).
func pulledFrom(image string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return ""
	}
	return named.Name()
}

// resolvedAt returns the host and path that tag resolution looks a credential
// up for, or nothing where it cannot read the image's name (resolve.go:91-99
// of Knative).
func resolvedAt(image string) string {
	if repository, ok := repositoryOf(image); ok {
		return repository.String()
	}
	return ""
}

// RegistryOf returns the registry of an image as Knative names it, which for Docker Hub
// is index.docker.io, or nothing where Knative cannot read the image's name (resolve.go:99
// of Knative).
func RegistryOf(image string) string {
	if repository, ok := repositoryOf(image); ok {
		return repository.RegistryStr()
	}
	return ""
}

// repositoryOf reads the name of an image as Knative does.
func repositoryOf(image string) (name.Repository, bool) {
	if digest, err := name.NewDigest(image, name.WeakValidation); err == nil {
		return digest.Repository, true
	}
	tag, err := name.NewTag(image, name.WeakValidation)
	return tag.Repository, err == nil
}

// kubelet returns the registries whose credentials the kubelet tries for what
// is pulled from there, in its order, where registries are in the order of
// [inOrder].
func kubelet(registries []string, pulled string) []string {
	image, ok := locate(pulled)
	if !ok || pulled == "" {
		return nil
	}
	var found []string
	for _, registry := range registries {
		if l, ok := locate(registry); ok && l.has(image) {
			found = append(found, registry)
		}
	}
	// keyring.go:310-315.
	if len(found) == 0 && isDefaultRegistry(pulled) && slices.Contains(registries, indexHost) {
		return []string{indexHost}
	}
	return found
}

// isDefaultRegistry is the kubelet's isDefaultRegistryMatch (keyring.go:193-215)
// for an image with its host, as parsing leaves it. A host without dot or port,
// which is localhost or has a capital, counts as the Hub, too.
func isDefaultRegistry(pulled string) bool {
	host, _, _ := strings.Cut(pulled, "/")
	return host == hubHost || host == indexHost || !strings.ContainsAny(host, ".:")
}

// tagResolution returns the registry whose credential tag resolution takes for
// what is resolved there, where registries are in the order of [inOrder], or
// nothing where it stays anonymous (keychain.go:229-246 and 323-331).
func tagResolution(registries []string, resolved string) string {
	image, ok := locate(resolved)
	if !ok || resolved == "" {
		return ""
	}
	for _, registry := range registries {
		if l, ok := locate(registry); ok && l.has(image) {
			return registry
		}
	}
	return ""
}

// inOrder puts registries into the order in which both readers try them
// (keyring.go:182, keychain.go:219).
func inOrder(registries []string) []string {
	ordered := slices.Sorted(slices.Values(registries))
	slices.Reverse(ordered)
	return slices.Compact(ordered)
}

// location is a registry or an image, taken apart for matching.
type location struct {
	labels     []string
	port, path string
}

// locate takes apart as both readers do, and fails where they would not match
// (ParseSchemelessURL and SplitURL in keyring.go:220-238, parseSchemelessURL and
// splitURL in keychain.go:264-282).
func locate(address string) (location, bool) {
	parsed, err := url.Parse("https://" + address)
	if err != nil {
		return location{}, false
	}
	host, port := splitPort(parsed.Host)
	return location{strings.Split(host, "."), port, parsed.Path}, true
}

// has is the readers' rule whether a registry has an image (URLsMatch in
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
	return true
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
