// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"slices"
	"strings"
)

// Severity is how bad a finding is.
type Severity string

// The severities, the worst first.
const (
	// Error is for what can never work.
	Error Severity = "error"
	// Warning is for what is probably a mistake.
	Warning Severity = "warning"
	// Info is for what is as intended, and explains something.
	Info Severity = "info"
)

// Severities are all severities, the worst first.
var Severities = []Severity{Error, Warning, Info}

// AtLeast reports whether a severity is as bad as another one, or worse.
func (s Severity) AtLeast(other Severity) bool {
	return slices.Index(Severities, s) <= slices.Index(Severities, other)
}

// Page is the page of the documentation with a section for each code.
const Page = "docs/findings.md"

// Finding is one thing that is wrong or worth to know, on one line each.
type Finding struct {
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	// Object that it is about, such as "Service team-a/shop".
	Object string `json:"object"`
	// Message says what is wrong.
	Message string `json:"message"`
	// Remedy says what to do. It is empty if nothing is to be done.
	Remedy string `json:"remedy,omitempty"`
	// Command does it, where one command can. Words in capitals are placeholders.
	Command string `json:"command,omitempty"`
	// Docs is the section of the documentation.
	Docs string `json:"docs"`
}

// found returns a finding without a command.
func found(code Code, severity Severity, object, message, remedy string) Finding {
	return Finding{Code: code, Severity: severity, Object: Plain(object), Message: upperFirst(Plain(message)), Remedy: upperFirst(Plain(remedy)), Docs: code.Docs()}
}

// with returns the finding with a command.
func (f Finding) with(command string) Finding {
	f.Command = command
	return f
}

// Docs returns the section of the documentation about a code.
func (c Code) Docs() string { return Page + "#" + strings.ToLower(string(c)) }

// Unread is something that the caller may not read, so that it was not checked.
type Unread struct {
	// What was not checked, such as "Secrets in namespace team-a".
	What string `json:"what"`
	// Why, such as "cannot get secrets".
	Why string `json:"why"`
}

// String returns the text that a report shows.
func (u Unread) String() string { return u.What + ": not checked (" + u.Why + ")" }

// Worst returns the worst severity of findings, or an empty string if there are none.
func Worst(findings []Finding) (worst Severity) {
	for _, f := range findings {
		if worst == "" || f.Severity.AtLeast(worst) {
			worst = f.Severity
		}
	}
	return worst
}

// sorted returns findings without repeats: the worst first, and causes before their effects. What is
// found twice, for two Services for example, is one finding with the worse severity.
func sorted(findings []Finding) []Finding {
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(slices.Index(Severities, a.Severity), slices.Index(Severities, b.Severity)),
			cmp.Compare(slices.Index(Codes, a.Code), slices.Index(Codes, b.Code)),
		)
	})
	var distinct []Finding
	for _, f := range findings {
		said := func(earlier Finding) bool {
			earlier.Severity = f.Severity
			return earlier == f
		}
		if !slices.ContainsFunc(distinct, said) {
			distinct = append(distinct, f)
		}
	}
	return distinct
}

// upperFirst returns a text that starts a line.
func upperFirst(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
