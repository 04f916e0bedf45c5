// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// Grant is a ClusterPullSecret that a namespace may have.
type Grant struct {
	// ClusterPullSecret is its name, by which grants are ordered.
	ClusterPullSecret string
	// Secret is the name of its copy in the namespace.
	Secret string
}

// Account is the ServiceAccount that the Pods of a Service run as.
type Account struct {
	Name string
	// Secrets is its imagePullSecrets, in order.
	Secrets []string
	// Enforced is the annotation kubernetes.io/enforce-mountable-secrets:
	// Pods may name only what the ServiceAccount lists.
	Enforced bool
}

// Declared is what a Service should have, layer by layer. A nil layer declares
// nothing.
type Declared struct {
	// Hold: add nothing and take nothing away (see annotation.Policy).
	Hold bool
	// Service and Namespace are the names in the two secrets annotations.
	Service, Namespace []string
	// Always and Auto are the granted ClusterPullSecrets of layers 4 and 5.
	Always, Auto []Grant
	// Account is the ServiceAccount of layer 6.
	Account Account
}

// EnforceMountableSecrets is the annotation by which a ServiceAccount forbids
// its Pods to name pull secrets that it does not list itself
// (kubernetes/plugin/pkg/admission/serviceaccount).
const EnforceMountableSecrets = "kubernetes.io/enforce-mountable-secrets"

// AccountName is the ServiceAccount of a Pod whose template has this
// serviceAccountName, which may be empty.
func AccountName(serviceAccountName string) string {
	return cmp.Or(serviceAccountName, "default")
}

// AccountOf is a ServiceAccount as far as pull secrets are concerned. It may be
// nil, where it does not exist (yet).
func AccountOf(name string, account *corev1.ServiceAccount) Account {
	a := Account{Name: name}
	if account == nil {
		return a
	}
	a.Secrets = NamesOf(account.ImagePullSecrets)
	// As the admission of Pods reads it (plugin/pkg/admission/serviceaccount/admission.go:275).
	a.Enforced, _ = strconv.ParseBool(account.Annotations[EnforceMountableSecrets])
	return a
}

// NamesOf are the names of references, in order.
func NamesOf(refs []corev1.LocalObjectReference) []string {
	names := make([]string, 0, len(refs))
	for _, ref := range refs {
		names = append(names, ref.Name)
	}
	return names
}

// Names lists what layers 2 to 5 declare, each name once.
func (d Declared) Names() []string {
	d.Account = Account{}
	entries, _ := d.layers(nil, true)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	return names
}

// Without is what is declared apart from some names, in every layer.
func (d Declared) Without(names []string) Declared {
	other := func(all []string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(name string) bool { return slices.Contains(names, name) })
	}
	others := func(all []Grant) []Grant {
		return slices.DeleteFunc(slices.Clone(all), func(g Grant) bool { return slices.Contains(names, g.Secret) })
	}
	d.Service, d.Namespace, d.Always, d.Auto = other(d.Service), other(d.Namespace), others(d.Always), others(d.Auto)
	d.Account.Secrets = other(d.Account.Secrets)
	return d
}

// entries lists all that is declared, the ServiceAccount's entries included,
// each name with the origin of its first layer and nothing withheld.
func (d Declared) entries() []Entry {
	d.Account.Enforced = false
	entries, _ := d.layers(nil, true)
	return d.carry(nil, entries)
}

// layers returns layers 2 to 4, or to 5 with auto, without the own entries and
// without what the ServiceAccount does not let Pods name, which is returned
// apart.
func (d Declared) layers(own []string, auto bool) (entries, withheld []Entry) {
	add := func(name string, origin Origin) {
		if name == "" || slices.Contains(own, name) || contains(entries, name) || contains(withheld, name) {
			return
		}
		if d.Account.Enforced && !slices.Contains(d.Account.Secrets, name) {
			withheld = append(withheld, Entry{name, origin})
			return
		}
		entries = append(entries, Entry{name, origin})
	}
	for _, name := range d.Service {
		add(name, FromService)
	}
	for _, name := range d.Namespace {
		add(name, FromNamespace)
	}
	for _, g := range byName(d.Always) {
		add(g.Secret, FromClusterPullSecret(g.ClusterPullSecret))
	}
	if auto {
		for _, g := range byName(d.Auto) {
			add(g.Secret, FromClusterPullSecret(g.ClusterPullSecret))
		}
	}
	return entries, withheld
}

// carry appends layer 6: where the user names nothing and the product names
// something, the ServiceAccount's own entries.
func (d Declared) carry(own []string, entries []Entry) []Entry {
	if len(own) > 0 || !slices.ContainsFunc(entries, notCarried) {
		return entries
	}
	for _, name := range d.Account.Secrets {
		if name != "" && !contains(entries, name) {
			entries = append(entries, Entry{name, FromServiceAccount(d.Account.Name)})
		}
	}
	return entries
}

func notCarried(e Entry) bool { return !e.Origin.IsServiceAccount() }

// proven is the part of a ledger that anybody may bring along: what is declared
// now with that very origin.
func (d Declared) proven(brought Ledger) Ledger {
	proven := make(Ledger, len(brought))
	for _, e := range d.entries() {
		if brought[e.Name] == e.Origin {
			proven[e.Name] = e.Origin
		}
	}
	return proven
}

// judged returns both sides of a request with a ledger that says what is ours. Of
// the old side that is its own, rebuilt. Of the requested side it is the old one's,
// and of the ledger that comes with it what is proven and what names an entry that is
// Free: nobody can forge that for an entry which they write themselves. kept are the
// entries of the last kind that are news to this call: another call of the same
// request has added them, and knew what declares them.
func (d Declared) judged(old, requested Current) (_, _ Current, kept []Entry) {
	old = d.rebuilt(old)
	brought := requested.Ledger
	declared, withheld := d.layers(nil, true)
	requested.Ledger = d.proven(brought)
	for _, name := range clean(requested.List) {
		origin, named := brought[name]
		_, before := old.Ledger[name]
		if !named || before || !requested.Free.Has(name) {
			continue
		}
		requested.Ledger[name] = origin
		if !contains(declared, name) && !contains(withheld, name) {
			kept = append(kept, Entry{name, origin})
		}
	}
	maps.Copy(requested.Ledger, old.Ledger)
	return old, d.rebuilt(requested), kept
}

// rebuilt returns a list with the items that its ledger lacks: of what is Managed,
// with the origin of what declares it now. What nothing declares counts as the
// Namespace's, of which an entry goes with the next change.
func (d Declared) rebuilt(c Current) Current {
	lacks := func(name string) bool {
		_, named := c.Ledger[name]
		return c.Managed.Has(name) && !named
	}
	if !slices.ContainsFunc(c.List, lacks) {
		return c
	}
	ledger, declared := maps.Clone(c.Ledger), d.entries()
	if ledger == nil {
		ledger = Ledger{}
	}
	for _, name := range slices.DeleteFunc(clean(c.List), func(name string) bool { return !lacks(name) }) {
		ledger[name] = FromNamespace
		if i := slices.IndexFunc(declared, func(e Entry) bool { return e.Name == name }); i >= 0 {
			ledger[name] = declared[i].Origin
		}
	}
	c.Ledger = ledger
	return c
}

// byName returns the grants ordered by the ClusterPullSecret's name.
func byName(grants []Grant) []Grant {
	sorted := slices.Clone(grants)
	slices.SortStableFunc(sorted, func(a, b Grant) int {
		return cmp.Compare(a.ClusterPullSecret, b.ClusterPullSecret)
	})
	return sorted
}
