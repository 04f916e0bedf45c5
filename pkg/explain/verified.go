// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
)

// The results of [Verified].
const (
	accepted = "accepted"
	rejected = "rejected"
	// NoKey means that the reader finds no credential to ask with.
	NoKey = "no key"
)

// Verified is the answer of a registry about a credential, for one reader.
type Verified struct {
	Image  string `json:"image"`
	Reader string `json:"reader"`
	// Key is that of the credential.
	Key string `json:"key,omitempty"`
	// Result is accepted, rejected, unknown or "no key".
	Result string `json:"result"`
	Why    string `json:"why,omitempty"`
}

// Compare orders by image, and tag resolution before the kubelet.
func (v Verified) Compare(other Verified) int {
	return cmp.Or(cmp.Compare(v.Image, other.Image), cmp.Compare(v.Reader, other.Reader))
}

// Verification returns findings about a Secret or a ClusterPullSecret, by the answers of
// registries, or by the error of its docker config.
func Verification(object string, answers []Verified, invalid error) (findings []Finding, unread []Unread) {
	if invalid != nil {
		return []Finding{found(InvalidConfig, Error, object, "the docker config is invalid: "+invalid.Error(), "correct the docker config")}, nil
	}
	for _, v := range answers {
		where := fmt.Sprintf("image %s, for %s", quoted(v.Image), v.Reader)
		switch v.Result {
		case accepted:
		case rejected:
			findings = append(findings, found(Rejected, Error, object, fmt.Sprintf("the registry rejects the credential of key %s: %s (%s)", quoted(v.Key), v.Why, where),
				"replace the credential, or give its account the right to pull"))
		case NoKey:
			findings = append(findings, found(NoMatch, Warning, object, fmt.Sprintf("%s (%s)", v.Why, where), "add a key for its registry"))
		default:
			unread = append(unread, Unread{where, Line(v.Why)})
		}
	}
	return sorted(findings), unread
}
