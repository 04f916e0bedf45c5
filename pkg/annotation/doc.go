// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

/*
Package annotation parses the annotations by which a Namespace or a Knative Service
requests image pull secrets. It is pure: it takes text and returns settings and problems.
All programs parse annotations with it, so that they cannot disagree.

# Grammar

	secrets          = item *( "," item )          on a Namespace or a Service
	service-accounts = "*" | item *( "," item )    on a Namespace
	inject           = "declared" | "auto" | "disabled"
	item             = *space [ name ] *space
	name             = a DNS-1123 subdomain, at most 253 characters

White space around an item is ignored, including line breaks, so that a long list may be
folded in YAML. Empty items and repeats are ignored. The order of the names is kept,
because it decides which credential Knative's tag resolution tries.

At most the first [MaxBytes] bytes of a value are read, and a longer value is reported. An
item that crosses the limit is dropped. An inject value that is longer is invalid. So the
cost does not depend on the size of an annotation. [Cut] returns the part of a value that
caches need to keep.

At most [pullsecrets.MaxSecrets] secrets are used; the rest is reported and ignored. A "*"
among service-accounts selects all of them and makes the other items redundant.

# Problems

A bad item does not affect the others: the good ones are used, and each bad one becomes a
[Problem] that quotes it, truncated to 64 characters, with unprintable characters escaped.
At most 8 are kept of one annotation, and one more says how many others there are, so that
a long annotation makes a readable report.

With an inject value other than these three, including the empty one, nothing is added and
nothing is removed until it is corrected.
*/
package annotation
