// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package coverage

import "slices"

// Reason is the code of a verdict, or of one entry. Codes are stable: they are labels of
// metrics and part of the output of programs.
type Reason string

// All reasons. See the package comment.
const (
	InvalidImage  Reason = "InvalidImage"
	Malformed     Reason = "Malformed"
	InvalidName   Reason = "InvalidName"
	NotResolved   Reason = "NotResolved"
	Covered       Reason = "Covered"
	NotChecked    Reason = "NotChecked"
	Shadowed      Reason = "Shadowed"
	Expired       Reason = "Expired"
	NoCredential  Reason = "NoCredential"
	NotListed     Reason = "NotListed"
	WrongKey      Reason = "WrongKey"
	NotGranted    Reason = "NotGranted"
	Missing       Reason = "Missing"
	WrongType     Reason = "WrongType"
	NoMatch       Reason = "NoMatch"
	NoPullSecrets Reason = "NoPullSecrets"
)

// ranked are the reasons of entries, the one that decides first.
var ranked = []Reason{
	Covered, NotChecked, Shadowed, Expired, NoCredential, NotListed, WrongKey, NotGranted, Missing, InvalidName, WrongType, NoMatch,
}

// OK reports whether the reader has what it needs.
func (r Reason) OK() bool { return r == Covered || r == NotResolved }

// Anonymous reports whether the reader asks the registry without a credential of the pull
// secrets. So it succeeds for a public image, and where the node or Knative's controller has
// a credential of its own.
func (r Reason) Anonymous() bool {
	return slices.Contains([]Reason{NoCredential, NotListed, WrongKey, NotGranted, Missing, WrongType, NoMatch, NoPullSecrets}, r)
}
