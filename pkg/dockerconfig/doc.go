// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

/*
Package dockerconfig knows what is in a pull Secret: which registries it has
credentials for, whether they cover an image, and what a copy of it holds. It is
pure, and the only place of the project where a credential is looked at.

# Two readers

A pull Secret of a Knative Service is read twice. First Knative's controller
asks the registry which digest a tag has, through the keychain of
go-containerregistry; then the kubelet pulls the image on the node. Both began
as the same code, and differ in what matters here:

	                     tag resolution           kubelet
	docker.io/acme/app   index.docker.io/acme/app docker.io/acme/app
	localhost/acme/app   index.docker.io/localhost/acme/app
	                                              localhost/acme/app
	several keys match   the first alone          each in turn
	no key matches       anonymous                for the Hub's images, and those
	                                              of a host without dot or port,
	                                              the key index.docker.io
	identitytoken        preferred                ignored
	email                ignored                  must be a string

A Service runs only if both find their credential, so [Covers] is true only
where both do, and [Parse] refuses what they take for different credentials.

What is said here about them was read in these versions, and the tests compare
it with both:

	tag resolution   github.com/google/go-containerregistry/pkg/authn/kubernetes
	                 c4dd792fa06c, keychain.go; and pkg/name and pkg/authn v0.20.3;
	                 knative.dev/serving v0.50.0, pkg/reconciler/revision/resolve.go
	kubelet          k8s.io/kubernetes v1.36.3, pkg/credentialprovider/config.go,
	                 keyring.go and secrets/secrets.go; pkg/util/parsers/parsers.go

# Registries

A key of the config is host[:port][/path], after https://, http:// or nothing.
Both readers cut off the scheme and a leading /v1/ or /v2/ (keyring.go:136-168,
keychain.go:182-207); what is left is what this package calls a registry.

A registry matches an image if the ports are equal, the hosts have equally many
labels and each matches as a glob, and the path is a prefix of the image's,
letter by letter: ghcr.io/ac matches ghcr.io/acme/app (keyring.go:262-290,
keychain.go:293-321). Registries are tried from the last to the first in the
order of bytes, so the longer path comes first.

# Docker Hub

A registry docker.io matches the Hub's images for the kubelet, and none for tag
resolution. So [Config.WithHub] puts https://index.docker.io/v1/ beside it with
the same credential, unless that would take the place of a credential that tag
resolution finds already. A wildcard that happens to match docker.io gets none:
whoever wrote it has not named the Hub.

Any Secret with a Hub key has one effect more, which Covers leaves out: to the
kubelet, a host without dot or port is the Hub's, too, so it offers the key to
localhost/app as well, where nothing else matches.

# What is never told

No credential, and no part of the text that one may be in, is in an error, in
what a [Config] prints, or in [Config.Registries]. Errors name an entry by its
registry, or, where the key does not look like one, by its number.
*/
package dockerconfig
