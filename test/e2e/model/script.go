// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package model is the contract as a model that is small enough to be checked against
// random histories. A [Script] is a history of operations of people, GitOps tools and
// processes. A [World] is the state that they request: who wrote which entry, and what is
// granted and requested. [World.Check] compares it with the observed state of a cluster.
//
// The package is pure. Package oracles runs scripts on a cluster. The model does not
// compute lists: it says which entries must and may be present, and the order of the
// user's own.
package model

import (
	"fmt"
	"slices"
	"strings"
)

// Op is one operation: a verb and its arguments, words without spaces.
type Op struct {
	Verb string
	Args []string
}

// String returns the op in the syntax of a script.
func (o Op) String() string { return strings.Join(append([]string{o.Verb}, o.Args...), " ") }

// Global reports whether the op concerns processes, and with them every namespace.
func (o Op) Global() bool { return o.Verb == "process" }

// Script is a history of operations.
type Script []Op

// String returns the script in the syntax of -model.ops.
func (s Script) String() string {
	parts := make([]string, len(s))
	for i, op := range s {
		parts[i] = op.String()
	}
	return strings.Join(parts, "; ")
}

// arity is the number of arguments of each verb.
var arity = map[string]int{
	"ns":      3, // NAMESPACE secrets|inject|service-accounts VALUE: kubectl annotate
	"grant":   3, // NAMESPACE CREDENTIAL on|off: the label that a selector asks for
	"exclude": 2, // NAMESPACE VALUE: the label
	"cps":     2, // CREDENTIAL create|always|plain|delete
	"source":  2, // CREDENTIAL rotate|break|restore|delete
	"copy":    3, // NAMESPACE CREDENTIAL delete|tamper
	"secret":  3, // NAMESPACE CREDENTIAL csa|ssa|create|helm|delete: the user's own of that name
	"create":  4, // NAMESPACE SERVICE WRITER OWN
	"change":  2, // NAMESPACE SERVICE: another template
	"own":     3, // NAMESPACE SERVICE OWN: another list
	"reapply": 2, // NAMESPACE SERVICE: the same by a second user
	"touch":   2, // NAMESPACE SERVICE: a label alone
	"null":    2, // NAMESPACE SERVICE: a merge patch that nulls the list
	"strip":   2, // NAMESPACE SERVICE: replace by an export without the ledger
	"svc":     4, // NAMESPACE SERVICE secrets|inject VALUE: kubectl annotate
	"delete":  2, // NAMESPACE SERVICE
	"account": 3, // NAMESPACE SERVICEACCOUNT OWN
	"settle":  0, // wait until all holds
	"process": 2, // controller|webhook restart|kill|stop|start, controller failover|return, or watches hold|release|drop
}

// Parse parses a script.
func Parse(text string) (Script, error) {
	var s Script
	for part := range strings.SplitSeq(text, ";") {
		words := strings.Fields(part)
		if len(words) == 0 {
			continue
		}
		op := Op{words[0], words[1:]}
		if want, known := arity[op.Verb]; !known || len(op.Args) != want {
			return nil, fmt.Errorf("%q is not an operation: want a verb with %d arguments", strings.TrimSpace(part), want)
		}
		s = append(s, op)
	}
	return s, nil
}

// list returns the names in an argument; "-" means none.
func list(arg string) []string {
	if arg == "-" {
		return nil
	}
	return strings.Split(arg, ",")
}

// Shrink drops operations from a script as long as it still fails, and returns the
// smallest such script. It ends early if fails reports false because time is up; then the
// result may not be the smallest.
func Shrink(s Script, fails func(Script) bool) Script {
	for size := max(len(s)/2, 1); ; size /= 2 {
		for i := 0; i < len(s); {
			rest := slices.Concat(s[:i], s[min(i+size, len(s)):])
			if len(rest) < len(s) && fails(rest) {
				s = rest
			} else {
				i += size
			}
		}
		if size <= 1 {
			return s
		}
	}
}
