// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package model is what the contract promises, small enough to be checked against
// random histories. A [Script] is a history of operations of people, GitOps engines
// and processes. A [World] is the state that they ask for: who wrote which entry,
// and what is granted and asked for. [World.Check] compares it with what a cluster
// shows.
//
// The package is pure. The package oracles beside it runs scripts on a cluster. The
// model does not compute what a list becomes: it says which entries must be there,
// which may be there, and in which order the user's own are.
package model

import (
	"fmt"
	"slices"
	"strings"
)

// An Op is one operation: a verb and its arguments, words without spaces.
type Op struct {
	Verb string
	Args []string
}

// String is the op as a script has it.
func (o Op) String() string { return strings.Join(append([]string{o.Verb}, o.Args...), " ") }

// Global reports whether the op concerns processes, and with them every namespace.
func (o Op) Global() bool { return o.Verb == "process" }

// A Script is a history of operations.
type Script []Op

// String is the script as -model.ops takes it.
func (s Script) String() string {
	parts := make([]string, len(s))
	for i, op := range s {
		parts[i] = op.String()
	}
	return strings.Join(parts, "; ")
}

// arity is how many arguments each verb has.
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
	"process": 2, // controller|webhook restart|kill|stop|start, or watches hold|release|drop
}

// Parse reads a script.
func Parse(text string) (Script, error) {
	var s Script
	for part := range strings.SplitSeq(text, ";") {
		words := strings.Fields(part)
		if len(words) == 0 {
			continue
		}
		op := Op{words[0], words[1:]}
		if want, known := arity[op.Verb]; !known || len(op.Args) != want {
			return nil, fmt.Errorf("%q is no operation: want a verb with its %d arguments", strings.TrimSpace(part), want)
		}
		s = append(s, op)
	}
	return s, nil
}

// list reads the names of an argument; "-" is none.
func list(arg string) []string {
	if arg == "-" {
		return nil
	}
	return strings.Split(arg, ",")
}

// Shrink returns the smallest part of a script, found by dropping operations, that
// fails still. It ends early when fails reports false because time is over: then
// the result is merely small.
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
