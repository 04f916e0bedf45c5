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

// text is the fact and the remedy of a reason, with placeholders for what the verdict is about.
// ofCopy is the remedy if the Secret to be corrected is a copy: the controller reverts a change of
// a copy, and a Secret that somebody creates in its place keeps it away.
type text struct{ fact, remedy, ofCopy string }

var texts = map[Reason]text{
	InvalidImage: {fact: "the name of the image is invalid", remedy: "correct the image"},
	Malformed: {
		fact:   "Secret SECRET is invalid, so no image with this list can be pulled: PROBLEM",
		remedy: "correct Secret SECRET, or remove it from the list",
		ofCopy: "Secret SECRET is a copy: correct the source of ClusterPullSecret OWNER, and the copy follows",
	},
	InvalidName: {fact: "the list of pull secrets contains NAME, which is not a name", remedy: "remove it from the list"},
	NotResolved: {fact: "no tag is resolved"},
	Covered:     {fact: "key KEY of Secret SECRET matches"},
	NotChecked:  {fact: "UNKNOWN"},
	Shadowed: {
		fact:   "key KEY of Secret SECRET is not used, because key FIRST_KEY of Secret FIRST precedes it, whose FIRST_FAILURE",
		remedy: "replace the credential in Secret FIRST",
		ofCopy: "Secret FIRST is a copy: replace the credential in the source of ClusterPullSecret FIRST_OWNER, and the copy follows",
	},
	Expired: {
		fact:   "key KEY of Secret SECRET matches, but its FAILURE",
		remedy: "replace the credential in Secret SECRET",
		ofCopy: "Secret SECRET is a copy: replace the credential in the source of ClusterPullSecret OWNER, and the copy follows",
	},
	NoCredential: {
		fact:   "key KEY of Secret SECRET matches, but its FAILURE",
		remedy: "use auth, or username and password, in Secret SECRET",
		ofCopy: "Secret SECRET is a copy: use auth, or username and password, in the source of ClusterPullSecret OWNER, and the copy follows",
	},
	NotListed: {
		fact:   "Secret SECRET has a credential for REPOSITORY, but is not in the list that is read",
		remedy: "add SECRET to the imagePullSecrets of the template",
	},
	WrongKey: {
		fact:   "key KEY of Secret SECRET does not match REPOSITORY",
		remedy: "use the key BETTER",
		ofCopy: "Secret SECRET is a copy: use the key BETTER in the source of ClusterPullSecret OWNER, or in its spec.registries, and the copy follows",
	},
	NotGranted: {fact: "Secret SECRET does not exist, and no ClusterPullSecret grants it", remedy: "have the namespace selected, create the Secret, or remove it from the list"},
	Missing: {
		fact:   "Secret SECRET does not exist",
		remedy: "create it, or remove it from the list",
		ofCopy: "do not create it: the copy is created when the source of ClusterPullSecret OWNER is ready",
	},
	WrongType:     {fact: "Secret SECRET is not a pull secret: PROBLEM", remedy: "create it again with one of these types"},
	NoMatch:       {fact: "no key of the pull secrets matches REPOSITORY", remedy: "add a pull secret for REPOSITORY"},
	NoPullSecrets: {fact: "no pull secret is listed", remedy: "add a pull secret for REPOSITORY"},
}

// Message returns the fact in one line. It names the Secret and the key, and contains no
// credential.
func (v Verdict) Message() string { return v.fill(texts[v.Reason].fact) }

// Remedy returns what to do about it, or an empty string if nothing is to be done.
func (v Verdict) Remedy() string {
	t := texts[v.Reason]
	corrected, _ := v.Decisive()
	if v.Reason == Shadowed {
		corrected = v.First()
	}
	if corrected.CopyOf != "" && t.ofCopy != "" {
		return v.fill(t.ofCopy)
	}
	return v.fill(t.remedy)
}

// First returns the entry that the reader tries first, or an empty one if it tries none.
func (v Verdict) First() (first Entry) {
	for _, entry := range v.Entries {
		if entry.Turn > 0 && (first.Turn == 0 || entry.Turn < first.Turn) {
			first = entry
		}
	}
	return first
}

// fill replaces the placeholders of a text.
func (v Verdict) fill(text string) string {
	e, _ := v.Decisive()
	first := v.First()
	return strings.NewReplacer(
		"FIRST_KEY", annotation.Quote(first.Key), "FIRST_FAILURE", first.failure(), "FIRST_OWNER", nameOf(first.CopyOf), "FIRST", nameOf(first.Secret),
		"SECRET", nameOf(e.Secret), "OWNER", nameOf(e.CopyOf), "NAME", annotation.Quote(e.Secret), "KEY", annotation.Quote(e.Key), "BETTER", annotation.Quote(e.Better),
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
