// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package coverage

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"pullsecrets.dev/pkg/annotation"
)

// texts are the fact and the remedy of each reason, with placeholders for what the verdict is
// about.
var texts = map[Reason]struct{ fact, remedy string }{
	InvalidImage: {"the name of the image is invalid", "correct the image"},
	Malformed: {
		"Secret SECRET is invalid, so no image with this list can be pulled: PROBLEM",
		"correct Secret SECRET, or remove it from the list",
	},
	InvalidName: {"the list of pull secrets contains NAME, which is not a name", "remove it from the list"},
	NotResolved: {"no tag is resolved", ""},
	Covered:     {"key KEY of Secret SECRET matches", ""},
	NotChecked:  {"UNKNOWN", ""},
	Shadowed: {
		"key KEY of Secret SECRET is not used, because key FIRST_KEY of Secret FIRST precedes it, whose FIRST_FAILURE",
		"replace the credential in Secret FIRST",
	},
	Expired:      {"key KEY of Secret SECRET matches, but its FAILURE", "replace the credential in Secret SECRET"},
	NoCredential: {"key KEY of Secret SECRET matches, but its FAILURE", "use auth, or username and password, in Secret SECRET"},
	NotListed: {
		"Secret SECRET has a credential for REPOSITORY, but is not in the list that is read",
		"add SECRET to the imagePullSecrets of the template",
	},
	WrongKey:      {"key KEY of Secret SECRET does not match REPOSITORY", "use the key BETTER"},
	NotGranted:    {"Secret SECRET does not exist, and no ClusterPullSecret grants it", "have the namespace selected, create the Secret, or remove it from the list"},
	Missing:       {"Secret SECRET does not exist", "create it, or remove it from the list"},
	WrongType:     {"Secret SECRET is not a pull secret: PROBLEM", "create it again with one of these types"},
	NoMatch:       {"no key of the pull secrets matches REPOSITORY", "add a pull secret for REPOSITORY"},
	NoPullSecrets: {"no pull secret is listed", "add a pull secret for REPOSITORY"},
}

// Message returns the fact in one line. It names the Secret and the key, and contains no
// credential.
func (v Verdict) Message() string { return v.fill(texts[v.Reason].fact) }

// Remedy returns what to do about it, or an empty string if nothing is to be done.
func (v Verdict) Remedy() string { return v.fill(texts[v.Reason].remedy) }

// fill replaces the placeholders of a text.
func (v Verdict) fill(text string) string {
	e, _ := v.Decisive()
	var first Entry
	for _, entry := range v.Entries {
		if entry.Turn > 0 && (first.Turn == 0 || entry.Turn < first.Turn) {
			first = entry
		}
	}
	return strings.NewReplacer(
		"FIRST_KEY", annotation.Quote(first.Key), "FIRST_FAILURE", first.failure(), "FIRST", nameOf(first.Secret),
		"SECRET", nameOf(e.Secret), "NAME", annotation.Quote(e.Secret), "KEY", annotation.Quote(e.Key), "BETTER", annotation.Quote(e.Better),
		"REPOSITORY", annotation.Quote(v.Repository), "PROBLEM", fmt.Sprint(e.Problem), "FAILURE", e.failure(), "UNKNOWN", e.unknown(),
	).Replace(text)
}

// failure returns what is wrong with the credential of an entry.
func (e Entry) failure() string {
	if e.Reason == NoCredential {
		return "credential is missing or not supported"
	}
	return "credential expired at " + utc(e.Expires)
}

// unknown returns what was not checked.
func (e Entry) unknown() string {
	switch {
	case e.Secret != "":
		return "Secret " + nameOf(e.Secret) + " was not checked"
	case e.ServiceAccount:
		return "the pull secrets of the ServiceAccount were not checked"
	}
	return "it was not checked"
}

// nameOf returns the name of a Secret, quoted if it could forge a message.
func nameOf(secret string) string {
	if len(validation.IsDNS1123Subdomain(secret)) > 0 {
		return annotation.Quote(secret)
	}
	return secret
}

// utc returns a time by RFC 3339.
func utc(t metav1.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
