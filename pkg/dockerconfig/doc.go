// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

/*
Package dockerconfig parses pull Secrets: which registries they have credentials for,
whether they cover an image, when they expire, and what a copy of them holds. It is pure,
the only package that handles credentials, and the only one that knows what their readers
match.

# Two readers

A pull Secret of a Knative Service has two readers. Knative's controller asks the registry
for the digest of a tag, through the keychain of go-containerregistry. Then the kubelet
pulls the image on the node. Both are derived from the same code, and differ:

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

A Service runs only if both find their credential. So [Covers] is true only if both do,
and [Parse] rejects what they read as different credentials.

Parse is for sources of copies. For any other Secret, [Inspect] returns what each reader
makes of it: whether it fails on the Secret, and which entry has a credential that it sends.
[Reader.Matches] finds the entries for an image in several Secrets.

The rules were read in these versions, and the tests compare with both:

	tag resolution   github.com/google/go-containerregistry/pkg/authn/kubernetes
	                 c4dd792fa06c, keychain.go; and pkg/name and pkg/authn v0.20.3;
	                 knative.dev/serving v0.50.0, pkg/reconciler/revision/resolve.go
	kubelet          k8s.io/kubernetes v1.36.3, pkg/credentialprovider/config.go,
	                 keyring.go and secrets/secrets.go; pkg/util/parsers/parsers.go

# Registries

A key of the config is host[:port][/path], optionally after https:// or http://. Both
readers remove the scheme and a leading /v1/ or /v2/ (keyring.go:136-168,
keychain.go:182-207). This package calls the rest a registry.

A registry matches an image if the ports are equal, the hosts have the same number of
labels and each label matches as a glob, and the path is a prefix of the image's path,
character by character: ghcr.io/ac matches ghcr.io/acme/app (keyring.go:262-290,
keychain.go:293-321). Registries are tried from the last to the first in the order of
bytes, so the longer path is tried first.

Of several Secrets, each reader collects the registries first and sorts all of them. So the
order of the Secrets only matters for equal registries, and a longer path precedes a shorter
one whichever Secret it is in.

# Docker Hub

A registry docker.io matches Docker Hub's images for the kubelet, and none for tag
resolution. So [Config.WithHub] adds https://index.docker.io/v1/ with the same credential,
unless that would replace a credential that tag resolution already finds. A wildcard that
happens to match docker.io gets none, because it does not name Docker Hub.

A Secret with a Docker Hub key has another effect, which Covers ignores: the kubelet treats
a host without dot or port as Docker Hub too, so it also offers the key to localhost/app if
nothing else matches.

# Expiry

Some credentials say when they expire: an authorization token of Amazon ECR, which is base64
of a JSON object with the time in expiration, and a JSON Web Token with the claims exp and iat,
which may be a password or a token. Nothing else in them is used, and no signature is checked. Times
that are not those of a plausible calendar (before 1970, after the year 9999) count as unknown.

# Confidentiality

No credential, and no part of a text that may contain one, is in an error, in what a
[Config] prints, in [Config.Registries] or in [Facts]. Errors name an entry by its registry,
or by its number if the key could be a misplaced credential. A key is shown if its host is
localhost, an address or has a dot, and if it has no capital letter, a port from 1 to 65535 if
any, at most 253 characters and at most 63 in each label. So neither user:12345 nor a JSON Web
Token in place of a key is shown. A [Config] also shows a host with a port and no dot, because its
entry has a credential, which is another one. The path has no colon, which a password could follow, and no
part of the key is a password of the same Secret. A key that is derived from one that is not
shown is shown only if it is a first part of it that can be. What [Config.Scoped] is asked for
is always shown. Which images a key matches does not depend on that.

# Bounds

[Inspect] keeps at most [MaxEntries] registries of a Secret, and [MaxSize] bytes of them. What a
Secret with more covers is not known.
*/
package dockerconfig
