// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package dockerconfig

import (
	"cmp"
	_ "crypto/sha512" // The kubelet takes images by such digests: parsers.go:24.
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
)

// Reader is a reader of pull Secrets. It indexes arrays with one value for each reader.
type Reader int

// The readers, in the order in which they read.
const (
	// TagResolution is Knative's controller, which asks the registry for the digest of a
	// tag.
	TagResolution Reader = iota
	// Kubelet pulls the image.
	Kubelet
	// Readers is the number of readers.
	Readers
)

// String names the reader in messages.
func (r Reader) String() string {
	if r == TagResolution {
		return "tag resolution"
	}
	return "the kubelet"
}

// Target is where a reader looks for an image.
type Target struct {
	// Repository is the host and the path.
	Repository string
	at         location
}

// Host returns the host, with the port. For tag resolution it is [RegistryOf] the image.
func (t Target) Host() string {
	host, _, _ := strings.Cut(t.Repository, "/")
	return host
}

// Same reports whether another reader that looks there looks in the same repository. Docker Hub has a
// host for each reader.
func (t Target) Same(other Target) bool {
	return t.onHub() == other.onHub()
}

// onHub returns the repository with the host that tag resolution has for Docker Hub.
func (t Target) onHub() string {
	if path, hub := strings.CutPrefix(t.Repository, hubHost+"/"); hub {
		return indexHost + "/" + path
	}
	return t.Repository
}

// Target returns where the reader looks for an image. It fails if the reader cannot parse
// the name (parsers.go:32-38 and image_manager.go:286; resolve.go:91-99 of Knative).
func (r Reader) Target(image string) (Target, bool) {
	var address string
	if r == TagResolution {
		repository, ok := repositoryOf(image)
		if !ok {
			return Target{}, false
		}
		address = repository.String()
	} else {
		named, err := reference.ParseNormalizedNamed(image)
		if err != nil {
			return Target{}, false
		}
		address = named.Name()
	}
	at, _ := locate(address) // Every address that is parsed here is one of a URL.
	return Target{address, at}, true
}

// repositoryOf parses the name of an image as Knative does.
func repositoryOf(image string) (name.Repository, bool) {
	if digest, err := name.NewDigest(image, name.WeakValidation); err == nil {
		return digest.Repository, true
	}
	tag, err := name.NewTag(image, name.WeakValidation)
	return tag.Repository, err == nil
}

// ByDigest reports whether an image is given by digest, so that Knative resolves no tag
// (resolve.go:91-94 of Knative).
func ByDigest(image string) bool {
	_, err := name.NewDigest(image, name.WeakValidation)
	return err == nil
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

// Match is an entry that a reader finds for an image.
type Match struct {
	// Secret and Entry are the positions of the Secret and of its entry.
	Secret, Entry int
	// Foreign means that the kubelet offers a credential for Docker Hub to another
	// registry: to a host without dot or port, if nothing else matches.
	Foreign bool
}

// Matches returns the entries that the reader finds for an image in the pull Secrets of a
// list, in the order in which it tries them. Tag resolution uses the first alone, and the
// kubelet tries each until a pull succeeds (keychain.go:229-246 and 323-331;
// keyring.go:295-318, kuberuntime_image.go:50-70).
//
// The order is that of the registries, from the last to the first in the order of bytes,
// over all Secrets. The order of the list only decides between entries with the same
// registry (keychain.go:209-219, keyring.go:168-182).
//
// A Secret that a reader rejects makes it fail altogether, which is not considered here.
func (r Reader) Matches(t Target, secrets ...Facts) []Match {
	found := find(secrets, func(e *Entry) bool { return e.at.has(t.at) })
	if len(found) == 0 && r == Kubelet && isDefaultRegistry(t.Repository) {
		// keyring.go:310-315.
		found = find(secrets, func(e *Entry) bool { return e.registry == indexHost })
		for i := range found {
			found[i].Foreign = !strings.HasPrefix(t.Repository, hubHost+"/")
		}
	}
	slices.SortStableFunc(found, func(a, b Match) int {
		return cmp.Compare(secrets[b.Secret].Entries[b.Entry].registry, secrets[a.Secret].Entries[a.Entry].registry)
	})
	return found
}

// find returns the entries that match, in the order of the Secrets.
func find(secrets []Facts, matches func(*Entry) bool) (found []Match) {
	for i := range secrets {
		for j := range secrets[i].Entries {
			if matches(&secrets[i].Entries[j]) {
				found = append(found, Match{Secret: i, Entry: j})
			}
		}
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
