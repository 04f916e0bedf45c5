// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package annotation

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

const (
	// MaxBytes is the length of a value that is read, in bytes.
	MaxBytes = 4 << 10

	// maxProblems is the number of problems of one annotation that are reported one by
	// one.
	maxProblems = 8

	// maxQuoted is the number of characters of an item that a Problem quotes.
	maxQuoted = 64
)

// Inject is how the Services of a Namespace, or one Service, get their pull secrets.
type Inject string

const (
	// Unset means that there is no annotation; the default applies.
	Unset Inject = ""
	// Declared adds what the secrets annotations declare and the ClusterPullSecrets with
	// always.services.
	Declared Inject = "declared"
	// Auto also adds every granted ClusterPullSecret that holds a credential for one of
	// the template's images.
	Auto Inject = "auto"
	// Disabled adds nothing, as if nothing were declared.
	Disabled Inject = "disabled"
	// invalid is how any other value is read. Users do not write it.
	invalid Inject = "invalid"
)

// Problem is one item of an annotation that is ignored, and the reason.
type Problem struct {
	// Annotation is the key of the annotation, or of the label where Label is set.
	Annotation string
	// Label is set if the key is that of a label.
	Label bool
	// Item is the item as written, truncated to 64 characters and quoted. It is empty if
	// the problem is with the annotation as a whole.
	Item string
	// Reason says what is wrong and what is expected.
	Reason string
}

// Error returns one line that names the annotation, quotes the item and gives the reason.
func (p Problem) Error() string {
	if p.Item == "" {
		return fmt.Sprintf("%s %s: %s", noun(p.Label), p.Annotation, p.Reason)
	}
	return fmt.Sprintf("%s %s: %s %s", noun(p.Label), p.Annotation, p.Item, p.Reason)
}

// Accounts are the ServiceAccounts of a Namespace that are bound.
type Accounts struct {
	// All is true for "*".
	All bool
	// Names are the ServiceAccounts in the order written. It is empty if All is set.
	Names []string
}

// Service is what the annotations of a Knative Service declare.
type Service struct {
	Secrets  []string
	Inject   Inject
	Problems []Problem
}

// Namespace is what the annotations of a Namespace declare.
type Namespace struct {
	Secrets         []string
	Inject          Inject
	ServiceAccounts Accounts
	Problems        []Problem
}

// OptsIn reports whether the annotations declare anything.
func (n Namespace) OptsIn() bool {
	return len(n.Secrets) > 0 || n.Inject != Unset && n.Inject != Disabled || n.ServiceAccounts.All || len(n.ServiceAccounts.Names) > 0
}

// SecretsFor returns the pull secrets that the annotations declare for a ServiceAccount.
func (n Namespace) SecretsFor(account string) []string {
	if n.ServiceAccounts.All || slices.Contains(n.ServiceAccounts.Names, account) {
		return n.Secrets
	}
	return nil
}

// ForService parses the annotations of a Knative Service. It never fails: what is ignored
// is in Problems.
func ForService(annotations map[string]string) Service {
	var s Service
	var problems []Problem
	s.Secrets, problems = secrets(annotations)
	s.Problems = append(s.Problems, problems...)
	s.Inject, problems = inject(annotations)
	s.Problems = append(s.Problems, problems...)
	return s
}

// ForNamespace parses the annotations of a Namespace. It never fails: what is ignored is
// in Problems.
func ForNamespace(annotations map[string]string) Namespace {
	var n Namespace
	var problems []Problem
	n.Secrets, problems = secrets(annotations)
	n.Problems = append(n.Problems, problems...)
	n.Inject, problems = inject(annotations)
	n.Problems = append(n.Problems, problems...)
	n.ServiceAccounts, problems = serviceAccounts(annotations)
	n.Problems = append(n.Problems, problems...)
	return n
}

func secrets(annotations map[string]string) ([]string, []Problem) {
	names, problems := items(pullsecrets.SecretsAnnotation, annotations[pullsecrets.SecretsAnnotation], false)
	if extra := len(names) - pullsecrets.MaxSecrets; extra > 0 {
		names = names[:pullsecrets.MaxSecrets:pullsecrets.MaxSecrets]
		problems = append(problems, Problem{
			Annotation: pullsecrets.SecretsAnnotation,
			Reason:     fmt.Sprintf("at most %d names are used; the last %d are ignored", pullsecrets.MaxSecrets, extra),
		})
	}
	return names, problems
}

func serviceAccounts(annotations map[string]string) (Accounts, []Problem) {
	names, problems := items(pullsecrets.ServiceAccountsAnnotation, annotations[pullsecrets.ServiceAccountsAnnotation], true)
	if slices.Contains(names, "*") {
		return Accounts{All: true}, problems
	}
	return Accounts{Names: names}, problems
}

func inject(annotations map[string]string) (Inject, []Problem) {
	value, ok := annotations[pullsecrets.InjectAnnotation]
	if !ok {
		return Unset, nil
	}
	if len(value) > MaxBytes {
		return invalid, []Problem{tooLong(pullsecrets.InjectAnnotation, "nothing is injected until corrected")}
	}
	switch i := Inject(strings.TrimSpace(value)); i {
	case Declared, Auto, Disabled:
		return i, nil
	}
	return invalid, []Problem{{
		Annotation: pullsecrets.InjectAnnotation,
		Item:       Quote(value),
		Reason:     "is not one of declared, auto and disabled; nothing is injected until corrected",
	}}
}

// items splits a comma-separated list into the valid names and the problems with the other
// items.
func items(key, value string, wildcard bool) ([]string, []Problem) {
	if value == "" {
		return nil, nil
	}
	value, cut := bounded(value)
	var (
		names    []string
		problems []Problem
		more     int
		seen     = sets.New[string]()
	)
	for item := range strings.SplitSeq(value, ",") {
		name := strings.TrimSpace(item)
		if name == "" || seen.Has(name) {
			continue
		}
		seen.Insert(name)
		if wildcard && name == "*" {
			names = append(names, name)
			continue
		}
		if len(validation.IsDNS1123Subdomain(name)) > 0 {
			if len(problems) == maxProblems {
				more++
				continue
			}
			problems = append(problems, Problem{
				Annotation: key,
				Item:       Quote(name),
				Reason:     "is not a DNS-1123 subdomain",
			})
			continue
		}
		names = append(names, name)
	}
	if more > 0 {
		problems = append(problems, Problem{
			Annotation: key,
			Reason:     fmt.Sprintf("%d more items are not DNS-1123 subdomains", more),
		})
	}
	if cut {
		problems = append(problems, tooLong(key, "the rest is ignored"))
	}
	return names, problems
}

func tooLong(key, consequence string) Problem {
	return Problem{Annotation: key, Reason: fmt.Sprintf("the value is longer than %d bytes; %s", MaxBytes, consequence)}
}

// bounded returns the part of a list that is read, and reports whether there is more. An
// item that crosses the limit is dropped, because its first half may be another name.
func bounded(value string) (string, bool) {
	if len(value) <= MaxBytes {
		return value, false
	}
	if value[MaxBytes] == ',' {
		return value[:MaxBytes], true
	}
	return value[:strings.LastIndexByte(value[:MaxBytes], ',')+1], true
}

// Cut returns the part of a value that caches have to keep: the bytes that are read, and
// one more that shows that the value is too long. The result parses like the value.
func Cut(value string) string {
	if len(value) <= MaxBytes+1 {
		return value
	}
	return strings.Clone(value[:MaxBytes+1])
}

// Same reports whether two objects have the same annotations of ours. It parses nothing,
// so it is cheap enough for every event.
func Same(was, is map[string]string) bool {
	for _, key := range []string{pullsecrets.SecretsAnnotation, pullsecrets.InjectAnnotation, pullsecrets.ServiceAccountsAnnotation} {
		before, had := was[key]
		if after, has := is[key]; had != has || Cut(before) != Cut(after) {
			return false
		}
	}
	return true
}

// Quote returns text as one quoted line of at most 64 characters, with control characters
// escaped, so that users cannot flood or forge a message.
func Quote(text string) string {
	if utf8.RuneCountInString(text) <= maxQuoted {
		return strconv.Quote(text)
	}
	cut := 0
	for i := range text {
		if cut == maxQuoted {
			return strconv.Quote(text[:i]) + "…"
		}
		cut++
	}
	return strconv.Quote(text)
}
