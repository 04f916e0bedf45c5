// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

/*
Package annotation reads what users write: the annotations by which a Namespace
or a Knative Service asks for image pull secrets. It is pure: text goes in,
settings and problems come out, and every program of the project reads
annotations through it, so that none of them can disagree with another.

# Grammar

	secrets          = item *( "," item )          on a Namespace or a Service
	service-accounts = "*" | item *( "," item )    on a Namespace
	inject           = "declared" | "auto" | "disabled"
	item             = *space [ name ] *space
	name             = a DNS-1123 subdomain, at most 253 characters

White space around an item is ignored, line breaks included, so that a long list
may be folded in YAML. Empty items are ignored and repeats collapse into the
first. The order of the names is kept, because it decides which credential
Knative's tag resolution tries.

At most the first [MaxBytes] bytes of a value are read, and a longer one is reported.
An item that the bound cuts is left out. An inject value that is longer is invalid. So
no cost grows with what somebody writes into an annotation. [Cut] is the part of a value
that caches need to keep.

At most [pullsecrets.MaxSecrets] secrets count; the rest is reported and left
out. A "*" among service-accounts stands for all of them and makes the other
items redundant.

# Problems

One bad item never spoils the others: the good ones count, and each bad one
becomes a [Problem] that quotes it, cut at 64 characters, with everything that
is not printable escaped. At most [MaxProblems] are kept of one annotation, and
one more says how many others there are, so that a long annotation makes a report
that a person can read.

An inject value that is not one of the three, the empty one included, is
[Invalid]: nothing is added, and nothing that is there is taken away, until
somebody corrects it.
*/
package annotation
