// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
)

// Current is a list as it is stored, or as a request wants to write it.
type Current struct {
	// List holds the names in order. Users may write repeats and empty names.
	List []string
	// Ledger names the entries that the controller or the webhook added.
	Ledger Ledger
	// Claimed are names that count as the user's although the ledger has them; see
	// [CurrentOf].
	Claimed sets.Set[string]
	// Free are names of the list that no other manager owns. For these, the ledger of a
	// request is trusted.
	Free sets.Set[string]
	// Managed are the Free names that field manager pullsecrets owns. They are ours even
	// if no ledger has them.
	Managed sets.Set[string]
	// Shared reports whether the list of a ServiceAccount is one that we wrote and that
	// another manager applied; see [CurrentOfServiceAccount].
	Shared bool
}

// own returns the user's own entries in order, without repeats and empty names.
func (c Current) own() []string {
	return slices.DeleteFunc(clean(c.List), c.ours)
}

// ours reports whether the ledger has the entry and no other manager claims it.
func (c Current) ours(name string) bool {
	_, added := c.Ledger[name]
	return added && !c.Claimed.Has(name)
}

// added returns our entries that are in the list, with their origins, in the order of the
// list.
func (c Current) added() []Entry {
	var added []Entry
	for _, name := range clean(c.List) {
		if c.ours(name) {
			added = append(added, Entry{name, c.Ledger[name]})
		}
	}
	return added
}

// Granted returns the ClusterPullSecrets that our entries of the list were added for. A
// program that cannot read ClusterPullSecrets takes them for what is granted still.
func (c Current) Granted() []Grant {
	var granted []Grant
	for _, e := range c.added() {
		if name, ok := strings.CutPrefix(string(e.Origin), clusterPullSecretPrefix); ok {
			granted = append(granted, Grant{ClusterPullSecret: name, Secret: e.Name})
		}
	}
	return granted
}

// claims returns the names of entries that are claimed.
func (c Current) claims(entries []Entry) []string {
	var names []string
	for _, e := range entries {
		if c.Claimed.Has(e.Name) {
			names = append(names, e.Name)
		}
	}
	return names
}

// trimmed returns the ledger without items for names that are not in the list or are
// claimed.
func (c Current) trimmed() Ledger {
	var ledger Ledger
	for _, e := range c.added() {
		if ledger == nil {
			ledger = Ledger{}
		}
		ledger[e.Name] = e.Origin
	}
	return ledger
}

// clean returns the list without repeats and empty names. Cleaning up alone is never a
// reason to write, but every list that is written is clean.
func clean(list []string) []string {
	seen := sets.New("")
	var names []string
	for _, name := range list {
		if !seen.Has(name) {
			seen.Insert(name)
			names = append(names, name)
		}
	}
	return names
}
