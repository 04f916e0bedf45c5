// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation"

	"pullsecrets.dev/pkg/coverage"
)

// placeholder stands in a command for the name of a Secret that the user chooses.
const placeholder = "SECRET"

// unprintable reports whether a character could change how a terminal shows others: a control
// character, one that sets the direction of text, or a separator of lines.
func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// Plain returns a text of others with a space for each character that is not printable.
func Plain(text string) string {
	return strings.Map(func(r rune) rune {
		if unprintable(r) {
			return ' '
		}
		return r
	}, text)
}

// IsName reports whether an object can have a name. The API server checks names of objects, and
// nobody checks those that a list of pull secrets refers to.
func IsName(name string) bool { return len(validation.IsDNS1123Subdomain(name)) == 0 }

// command returns a command for a shell, with each of the words quoted where it could be more
// than a word. It returns an empty string if a word has characters that are not printable.
func command(format string, words ...string) string {
	args := make([]any, 0, len(words))
	for _, word := range words {
		if !utf8.ValidString(word) || strings.ContainsFunc(word, unprintable) {
			return ""
		}
		args = append(args, shell(word))
	}
	return fmt.Sprintf(format, args...)
}

// describe returns the command that shows a ClusterPullSecret.
func describe(clusterPullSecret string) string {
	if !IsName(clusterPullSecret) {
		return "" // A label of a Secret names it.
	}
	return command("kubectl describe clusterpullsecrets.pullsecrets.dev %s", clusterPullSecret)
}

// removeName is what to do about an entry of a list that no Secret can have as its name.
const removeName = "remove it from the imagePullSecrets of the template or the ServiceAccount"

// noName is the message about such an entry.
func noName(secret string) string {
	return "the list of pull secrets contains " + quoted(secret) + ", which is not a name"
}

// refineMissing says how to create a Secret, if one can exist under the name.
func (s *subject) refineMissing(a *about) {
	switch secret := a.entry.Secret; {
	case !IsName(secret):
		a.code, a.fact, a.remedy = InvalidName, noName(secret), removeName
	case copied(s.declaration.Granted, s.Service.Namespace, secret) != nil:
		a.code = "" // See copies.
	default:
		a.command = s.create(secret, a.host())
		if s.mayBeCopy(secret) {
			a.remedy = s.askForCopy()
		}
	}
}

// like returns the code by which a verdict is as bad as it is. Readers skip a Secret that cannot
// exist like one that does not, unless its name makes tag resolution fail.
func (a *about) like() Code {
	if a.code == InvalidName && a.Reason == coverage.Missing {
		return Missing
	}
	return a.code
}

// invalidName finds such an entry, unless it is the cause of another finding.
func (s *subject) invalidName(secret string) {
	said := func(f Finding) bool { return f.Code == InvalidName && strings.Contains(f.Message, quoted(secret)) }
	if !slices.ContainsFunc(s.findings, said) {
		s.find(InvalidName, Warning, noName(secret), removeName, "")
	}
}
