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
func Covers(registries []string, image string) bool {
	pulled, resolved := pulledFrom(image), resolvedAt(image)
	if path, hub := strings.CutPrefix(pulled, hubHost+"/"); pulled != resolved && (!hub || indexHost+"/"+path != resolved) {
		return false
	}
	return len(kubelet(registries, pulled)) > 0 && tagResolution(registries, resolved) != ""
}

// CoversForKubelet reports whether credentials for these registries cover an image that
// only the kubelet looks up, because Knative does not resolve its tag. The Docker Hub key,
// which the kubelet also offers to hosts without dot or port, does not count for those.
func CoversForKubelet(registries []string, image string) bool {
	pulled := pulledFrom(image)
	found := kubelet(registries, pulled)
	return len(found) > 0 && (found[0] != indexHost || strings.HasPrefix(pulled, hubHost+"/"))
}

// pulledFrom returns the host and path that the kubelet looks up for an image, or an empty
// string if it cannot parse the name (parsers.go:32-38, image_manager.go:286).
func pulledFrom(image string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return ""
	}
	return named.Name()
}

// resolvedAt returns the host and path that tag resolution looks up for an image, or an
// empty string if it cannot parse the name (resolve.go:91-99 of Knative).
func resolvedAt(image string) string {
	if repository, ok := repositoryOf(image); ok {
		return repository.String()
	}
	return ""
}

// RegistryOf returns the registry of an image as Knative names it, which for Docker Hub is
// index.docker.io, or an empty string if Knative cannot parse the name (resolve.go:99 of
// Knative).
func RegistryOf(image string) string {
	if repository, ok := repositoryOf(image); ok {
		return repository.RegistryStr()
	}
	return ""
}

// repositoryOf parses the name of an image as Knative does.
func repositoryOf(image string) (name.Repository, bool) {
	if digest, err := name.NewDigest(image, name.WeakValidation); err == nil {
		return digest.Repository, true
	}
	tag, err := name.NewTag(image, name.WeakValidation)
	return tag.Repository, err == nil
}

// kubelet returns the registries whose credentials the kubelet tries for an image, in its
// order. registries are in the order of [inOrder].
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

// isDefaultRegistry is the kubelet's isDefaultRegistryMatch (keyring.go:193-215) for a
// parsed image with its host. A host without dot or port, which is localhost or has a
// capital letter, counts as Docker Hub too.
func isDefaultRegistry(pulled string) bool {
	host, _, _ := strings.Cut(pulled, "/")
	return host == hubHost || host == indexHost || !strings.ContainsAny(host, ".:")
}

// tagResolution returns the registry whose credential tag resolution uses for an image, or
// an empty string if it stays anonymous (keychain.go:229-246 and 323-331). registries are
// in the order of [inOrder].
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

// inOrder returns registries in the order in which both readers try them (keyring.go:182,
// keychain.go:219).
func inOrder(registries []string) []string {
	ordered := slices.Sorted(slices.Values(registries))
	slices.Reverse(ordered)
	return slices.Compact(ordered)
}

// location is a registry or an image, split for matching.
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
