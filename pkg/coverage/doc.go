// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

/*
Package coverage decides whether each image of a Service's template, or of a Revision, is
covered by a credential, for each of its two readers, and why not. It is pure, so the
controller, the webhook and the command line never disagree.

It knows what pull Secrets hold and not whether a registry accepts it. An image that is not
covered may be public, or the node may have a credential of its own: see [Reason.Anonymous].

# What each reader reads

Tag resolution is Knative's controller. For a container or an init container it

 1. reads the Secrets of the template's list in their order, and then those of the
    ServiceAccount, whatever the Pod sees of them later (revision.go:90-102 of Knative,
    keychain.go:83-132). It ignores a Secret or a ServiceAccount that does not exist. It fails
    if a name is empty or no name at all, since the client sends no such request
    (client-go/rest/request.go:331-346);
 2. fails if any of these Secrets does not decode (keychain.go:158-188). This concerns images
    by digest too, because the Secrets are read first (resolve.go:80-90);
 3. asks nothing for an image by digest, or of a registry in registries-skipping-tag-resolving
    (resolve.go:91-101);
 4. uses the first entry that matches, and no other even if the registry rejects it
    (keychain.go:229-246 and 323-331).

It asks nothing for image volumes and the queue-proxy (background.go:210), and nothing once
all digests are in the status of the Revision (revision.go:84-88).

The kubelet pulls each image of the Pod. It

 1. reads the Secrets of the Pod's list. That is the template's list, or if it is empty, the
    ServiceAccount's (admission.go:167-172 of the plugin ServiceAccount). It ignores a Secret
    that does not exist (kubelet_pods.go:1075-1094);
 2. fails for every image if any of these Secrets does not decode (secrets.go:44-66,
    image_manager.go:288-291);
 3. tries each entry that matches, in order, until a pull succeeds
    (kuberuntime_image.go:50-70). For images of Docker Hub, it tries the key index.docker.io
    only if no other matches (keyring.go:306-315), so another Secret can hide it.

A container is pulled from where Knative resolved its tag (deploy.go:253-262). For
localhost/app, that is index.docker.io/localhost/app. Init containers are resolved too, and are
pulled as they are written.

Which entries match, and in which order, is decided by pkg/dockerconfig alone. The order is
that of the keys, over all Secrets of a list. So an entry with a longer key precedes another
one that matches, also if its Secret is later in the list.

The files of Knative are those of knative.dev/serving v0.50.0; those of tag resolution and the
kubelet are those in the documentation of pkg/dockerconfig.

# Reasons

Each reader's [Verdict] has one [Reason], which is the first of this list that applies:

	InvalidImage   the reader cannot parse the name of the image
	Malformed      the reader fails on a Secret, so nothing else matters
	InvalidName    the same for a name in the list, for tag resolution
	NotResolved    tag resolution asks nothing: covered
	Covered        there is a credential: covered
	NotChecked     not all that the reader reads is known, and the rest does not cover
	Shadowed       another entry is used in place of this one, and cannot work
	Expired        the credential has expired
	NoCredential   the entry has none that this reader sends
	NotListed      a Secret that the reader does not read has a credential
	WrongKey       a key works for the other reader alone, or is misspelled
	NotGranted     the Secret does not exist, and no copy of it is granted
	Missing        the Secret does not exist
	WrongType      the Secret is no pull secret
	NoMatch        no key of the pull secrets matches
	NoPullSecrets  the reader reads no Secret

A Secret that is not known could hold anything, so it never makes an image covered, and it
makes NotChecked of each reason below that. If an image is Covered by what is known, it stays
that, although an unknown entry could precede it.

# Bounds

Tenants write images, lists and Secrets, and each image is compared with each key. So at most
[grant.MaxImages] images are checked, 128 names of each list, [dockerconfig.MaxEntries] registries
of each Secret, and 1024 registries and [dockerconfig.MaxSize] bytes of them in all Secrets
together. What exceeds that is NotChecked. What depends on a key alone is computed once for all
images, and images in one repository share a verdict. The name of an image that is longer than
any that can be pulled is invalid.
*/
package coverage
