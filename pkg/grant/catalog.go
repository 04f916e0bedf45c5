// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
)

// Catalog is all ClusterPullSecrets, prepared for lookups by Namespace.
type Catalog struct {
	// offers are ordered by age, because the older one serves if two have the same
	// secretName.
	offers []offer
	// bySecret are the positions of offers by secretName.
	bySecret map[string][]int
	// known are cached answers, valid until an offer changes. It is nil if none are
	// cached.
	known *answers
	// unknown is set if ClusterPullSecrets cannot be read; see [Unknown].
	unknown bool
}

type offer struct {
	*v1alpha1.ClusterPullSecret
	secret   string
	selector labels.Selector
}

// NewCatalog returns a catalog. The ClusterPullSecrets are retained and must not be
// changed. One that is being deleted or whose selector does not parse grants nothing.
func NewCatalog(all []*v1alpha1.ClusterPullSecret) Catalog { return Catalog{}.Renewed(all, nil) }

// Unknown returns the catalog of a program that cannot read ClusterPullSecrets, although there
// may be some. Nothing is added for them, and what was added for them stays: an entry whose
// declaration is unknown must not be taken for one that is no longer declared.
func Unknown() Catalog { return Catalog{unknown: true} }

// Renewed returns the catalog of other ClusterPullSecrets. It keeps cached answers if
// nothing changed that they depend on, which a status is not. Otherwise remember provides
// a new Memory; it may be nil.
func (c Catalog) Renewed(all []*v1alpha1.ClusterPullSecret, remember func() Memory) Catalog {
	n := Catalog{bySecret: make(map[string][]int)}
	for _, cps := range all {
		if !cps.DeletionTimestamp.IsZero() || cps.Spec.NamespaceSelector == nil {
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(cps.Spec.NamespaceSelector)
		if err != nil {
			continue
		}
		n.offers = append(n.offers, offer{ClusterPullSecret: cps, secret: SecretName(cps), selector: selector})
	}
	slices.SortFunc(n.offers, func(a, b offer) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	for i, o := range n.offers {
		n.bySecret[o.secret] = append(n.bySecret[o.secret], i)
	}
	if n.known = c.known; remember != nil && (n.known == nil || !slices.EqualFunc(c.offers, n.offers, sameGrant)) {
		n.known = newAnswers(n.offers, remember())
	}
	return n
}

// sameGrant reports whether two offers grant the same. The caller compares their order.
func sameGrant(a, b offer) bool {
	return a.ClusterPullSecret == b.ClusterPullSecret ||
		a.Name == b.Name && a.secret == b.secret && equality.Semantic.DeepEqual(a.Spec.NamespaceSelector, b.Spec.NamespaceSelector)
}

// SecretName returns the name of the copies of a ClusterPullSecret.
func SecretName(cps *v1alpha1.ClusterPullSecret) string {
	return cmp.Or(cps.Spec.SecretName, cps.Name)
}

// Grants is what a Namespace is granted.
type Grants struct {
	// Serving are the granted ClusterPullSecrets by name. No two have the same secretName.
	Serving []*v1alpha1.ClusterPullSecret
	// Beaten maps each other ClusterPullSecret that selects the Namespace to the older one
	// with the same secretName. It is only read.
	Beaten map[string]string
	// Unknown is set if ClusterPullSecrets cannot be read. Nothing is Serving then.
	Unknown bool
}

// For returns what a Namespace with these labels is granted. The caller checks before
// whether the Namespace is excluded.
func (c Catalog) For(namespaceLabels map[string]string) Grants {
	judge := func() Answer { return c.judge(namespaceLabels) }
	var known Answer
	if c.known == nil {
		known = judge()
	} else {
		known = c.known.memory(c.known.key(namespaceLabels), judge)
	}
	g := Grants{Beaten: known.beaten, Unknown: c.unknown}
	for _, i := range known.serving {
		g.Serving = append(g.Serving, c.offers[i].ClusterPullSecret)
	}
	return g
}

// judge evaluates all selectors.
func (c Catalog) judge(namespaceLabels map[string]string) Answer {
	var a Answer
	serving := make(map[string]string)
	for i, o := range c.offers {
		if !o.selector.Matches(labels.Set(namespaceLabels)) {
			continue
		}
		if older, taken := serving[o.secret]; taken {
			if a.beaten == nil {
				a.beaten = make(map[string]string)
			}
			a.beaten[o.Name] = older
			continue
		}
		serving[o.secret] = o.Name
		a.serving = append(a.serving, i)
	}
	slices.SortFunc(a.serving, func(i, j int) int { return strings.Compare(c.offers[i].Name, c.offers[j].Name) })
	return a
}

// Named returns the ClusterPullSecret that serves the Namespace with this secretName, or
// nil.
func (g Grants) Named(secret string) *v1alpha1.ClusterPullSecret {
	for _, cps := range g.Serving {
		if SecretName(cps) == secret {
			return cps
		}
	}
	return nil
}

// Withheld returns the oldest ClusterPullSecret with this secretName if none of that name
// serves a Namespace with these labels, or nil.
func (c Catalog) Withheld(secret string, namespaceLabels map[string]string) *v1alpha1.ClusterPullSecret {
	var withheld *v1alpha1.ClusterPullSecret
	for _, i := range c.bySecret[secret] {
		o := c.offers[i]
		switch {
		case o.selector.Matches(labels.Set(namespaceLabels)):
			return nil
		case withheld == nil:
			withheld = o.ClusterPullSecret
		}
	}
	return withheld
}

// IsSource reports whether a Secret is the source of a ClusterPullSecret. In its own
// namespace under its own name the source is used, and no copy is created.
func IsSource(cps *v1alpha1.ClusterPullSecret, namespace, secret string) bool {
	return cps.Spec.SecretRef == v1alpha1.SecretReference{Namespace: namespace, Name: secret}
}
