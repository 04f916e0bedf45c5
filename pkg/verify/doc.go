// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

/*
Package verify tries a credential out: it asks a registry for a manifest as Knative's tag
resolution does, with the library that Knative uses.

[Plan] decides what to ask and [Judge] what the answers mean. Both are functions of values.
[Checker] sends the requests. [PlanAs] decides what to ask as one of the two readers: the kubelet tries
more credentials for an image than tag resolution.

# What an answer means

Rejected is only an answer 401 or 403 to a request that had the credential: of the token server
or of the registry itself. Everything else, such as an error of the network or of TLS, a
timeout, 404, 429 or 5xx, is unknown, because it says nothing about the credential. A registry
often answers 401 or 403 for one repository that the account may not read. So if the images are
those of Services, a credential is rejected only if none of them is accepted.

# Who is asked

Tenants choose the images of their Services. So a host is only asked if it is written out in a
key of the source: a key with a wildcard in the host is never used, although it matches. No
request goes to a host that a tenant named.

The registry names its token server in WWW-Authenticate, usually on another host, and this
package follows it as go-containerregistry does: whoever controls a registry can have the
credential for that registry sent to any host. This is so for every pull. In addition to what
go-containerregistry does, it must be HTTPS if the registry is, and a registry with a public
address cannot name one with an internal address. Addresses are compared when the connection is
made. A proxy resolves the names, so behind one only addresses that are written out are
compared, and nothing is sent over plain HTTP.

A redirect to any other host is an error, and nothing is sent there. Proxies and certificate
authorities are those of the process, as Go's net/http reads them.

# Bounds

To one registry, with its token server, goes at most one request per second, counted over all
checks of a [Checker]. Checks of one registry come after each other, in the order in which they
were asked for. With a credential, a check asks once how to authenticate and once for a token, and
then sends one request for each image, unless one of them is denied. An answer also counts for
other checks that ask the same with the same credential within 30 seconds.

One question has [Timeout], in which the time until its turn does not count. A registry that
takes longer is not asked more in that check. A check takes at most [MaxTime] with all that it
waits for, and who has no turn by then takes none. Of an answer, 1 MiB is read.

# Confidentiality

Answers have no text of the registry, which could repeat the credential. A credential is read
out of the config for each question and is not kept. What is kept of it for 30 seconds, to find the
same question, is a digest with a secret of the process.
*/
package verify
