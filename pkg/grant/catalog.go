// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"cmp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
)

// Catalog is all ClusterPullSecrets, ready to be asked for many Namespaces.
type Catalog struct {
	// offers are ordered by age, because the older serves where two have the
	// same name for their copies.
	offers []offer
}

type offer struct {
	*v1alpha1.ClusterPullSecret
	secret   string
	selector labels.Selector
}

// NewCatalog makes a catalogue. The ClusterPullSecrets are kept and must not be
// changed. One that is being deleted or whose selector does not parse grants
// nothing.
func NewCatalog(all []*v1alpha1.ClusterPullSecret) Catalog {
	var c Catalog
	for _, cps := range all {
		if !cps.DeletionTimestamp.IsZero() || cps.Spec.NamespaceSelector == nil {
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(cps.Spec.NamespaceSelector)
		if err != nil {
			continue
		}
		c.offers = append(c.offers, offer{ClusterPullSecret: cps, secret: SecretName(cps), selector: selector})
	}
	slices.SortFunc(c.offers, func(a, b offer) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	return c
}

// SecretName is the name of the copies of a ClusterPullSecret.
func SecretName(cps *v1alpha1.ClusterPullSecret) string {
	return cmp.Or(cps.Spec.SecretName, cps.Name)
}

// Grants is what a Namespace may have.
type Grants struct {
	// Serving are the ClusterPullSecrets that the Namespace may have, by name;
	// no two have the same name for their copies.
	Serving []*v1alpha1.ClusterPullSecret
	// Beaten maps each ClusterPullSecret that selects the Namespace as well to
	// the older one that serves under its secretName.
	Beaten map[string]string
}

// For returns what a Namespace with these labels may have. Whether the Namespace
// is excluded altogether is for the caller to ask first.
func (c Catalog) For(namespaceLabels map[string]string) Grants {
	var g Grants
	serving := make(map[string]string)
	for _, o := range c.offers {
		if !o.selector.Matches(labels.Set(namespaceLabels)) {
			continue
		}
		if older, taken := serving[o.secret]; taken {
			if g.Beaten == nil {
				g.Beaten = make(map[string]string)
			}
			g.Beaten[o.Name] = older
			continue
		}
		serving[o.secret] = o.Name
		g.Serving = append(g.Serving, o.ClusterPullSecret)
	}
	slices.SortFunc(g.Serving, byName)
	return g
}

// Named returns the ClusterPullSecret that serves the Namespace under this name
// of a Secret, or nil.
func (g Grants) Named(secret string) *v1alpha1.ClusterPullSecret {
	for _, cps := range g.Serving {
		if SecretName(cps) == secret {
			return cps
		}
	}
	return nil
}

// Withheld returns the ClusterPullSecret that has this name for its copies and does
// not serve a Namespace with these labels, or nil where another one serves it under
// the name, or where none has the name. Of several it is the oldest.
func (c Catalog) Withheld(secret string, namespaceLabels map[string]string) *v1alpha1.ClusterPullSecret {
	var withheld *v1alpha1.ClusterPullSecret
	for _, o := range c.offers {
		switch {
		case o.secret != secret:
		case o.selector.Matches(labels.Set(namespaceLabels)):
			return nil
		case withheld == nil:
			withheld = o.ClusterPullSecret
		}
	}
	return withheld
}

// IsSource tells whether a Secret is the very source of a ClusterPullSecret. In
// its own namespace under its own name the source serves, and no copy is made.
func IsSource(cps *v1alpha1.ClusterPullSecret, namespace, secret string) bool {
	return cps.Spec.SecretRef == v1alpha1.SecretReference{Namespace: namespace, Name: secret}
}

func byName(a, b *v1alpha1.ClusterPullSecret) int { return strings.Compare(a.Name, b.Name) }
