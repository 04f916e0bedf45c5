// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"cmp"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// Grant is a ClusterPullSecret that is granted to a namespace.
type Grant struct {
	// ClusterPullSecret is its name. Grants are ordered by it.
	ClusterPullSecret string
	// Secret is the name of its copy in the namespace.
	Secret string
}

// Account is the ServiceAccount that the Pods of a Service run as.
type Account struct {
	Name string
	// Secrets is its imagePullSecrets, in order.
	Secrets []string
	// Enforced is the annotation kubernetes.io/enforce-mountable-secrets: Pods may only
	// reference what the ServiceAccount lists.
	Enforced bool
}

// Declared is what is declared for a Service, layer by layer. A nil layer declares
// nothing.
type Declared struct {
	// Hold means that nothing is added and nothing is removed (see annotation.Policy).
	Hold bool
	// Service and Namespace are the names in the two secrets annotations.
	Service, Namespace []string
	// Always and Auto are the granted ClusterPullSecrets of layers 4 and 5.
	Always, Auto []Grant
	// Account is the ServiceAccount of layer 6.
	Account Account
}

// EnforceMountableSecrets is the annotation by which a ServiceAccount restricts its Pods
// to the pull secrets that it lists (kubernetes/plugin/pkg/admission/serviceaccount).
const EnforceMountableSecrets = "kubernetes.io/enforce-mountable-secrets"

// AccountName returns the name of the ServiceAccount of Pods whose template has this
// serviceAccountName, which may be empty.
func AccountName(serviceAccountName string) string {
	return cmp.Or(serviceAccountName, "default")
}

// AccountOf returns what matters of a ServiceAccount. It may be nil if the ServiceAccount
// does not exist.
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

// NamesOf returns the names of references in order.
func NamesOf(refs []corev1.LocalObjectReference) []string {
	names := make([]string, 0, len(refs))
	for _, ref := range refs {
		names = append(names, ref.Name)
	}
	return names
}

// Names returns the names that layers 2 to 5 declare, each once.
func (d Declared) Names() []string {
	d.Account = Account{}
	entries, _ := d.layers(nil, true)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	return names
}

// Without returns the declaration without some names.
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

// entries returns everything that is declared, including the ServiceAccount's entries.
// Each name has the origin of its first layer, and none is withheld.
func (d Declared) entries() []Entry {
	d.Account.Enforced = false
	entries, _ := d.layers(nil, true)
	return d.carry(nil, entries)
}

// layers returns the entries of layers 2 to 4, or to 5 with auto, without the user's own.
// Entries that the ServiceAccount does not let Pods reference are returned as withheld.
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

// carry appends layer 6, the ServiceAccount's own entries, where the user has no entries
// and we add some.
func (d Declared) carry(own []string, entries []Entry) []Entry {
	if len(own) > 0 || !slices.ContainsFunc(entries, notCarried) {
		return entries
	}
	for _, name := range d.Account.Secrets {
		if name != "" && !contains(entries, name) {
			entries = append(entries, Entry{name, fromServiceAccount(d.Account.Name)})
		}
	}
	return entries
}

func notCarried(e Entry) bool { return !e.Origin.isServiceAccount() }

// byName returns the grants ordered by the name of the ClusterPullSecret.
func byName(grants []Grant) []Grant {
	sorted := slices.Clone(grants)
	slices.SortStableFunc(sorted, func(a, b Grant) int {
		return cmp.Compare(a.ClusterPullSecret, b.ClusterPullSecret)
	})
	return sorted
}
