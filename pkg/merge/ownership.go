// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// anonymous are field managers that the API server uses for writers that it does not know:
// before the first server-side apply, and beyond ten writers (apimachinery,
// pkg/util/managedfields/internal). Their fields may belong to anyone, so they prove
// nothing and the ledger decides.
var anonymous = sets.New("before-first-apply", "ancient-changes")

// CurrentOf returns the list of a Service with what managedFields and
// last-applied-configuration prove about its entries. The API server computes
// managedFields before it calls webhooks. So entries that admission adds have no owner,
// and a request that leaves an entry unchanged does not own it.
//
// Input that does not parse proves nothing.
func CurrentOf(list []string, ledger Ledger, managed []metav1.ManagedFieldsEntry, annotations map[string]string) Current {
	c := Current{List: list, Ledger: ledger, Claimed: applied(annotations), Managed: sets.New[string](), Free: sets.New[string]()}
	ours, unknown := sets.New[string](), sets.New[string]()
	traced := len(managed) > 0
	for _, entry := range managed {
		if entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		names, whole := ownedItems(entry.FieldsV1.Raw)
		switch {
		case entry.Manager == pullsecrets.FieldManager:
			ours = ours.Union(names)
		case anonymous.Has(entry.Manager):
			unknown = unknown.Union(names)
		default:
			c.Claimed = c.Claimed.Union(names)
		}
		traced = traced && !whole
	}
	if !traced {
		return c
	}
	for _, name := range list {
		if !c.Claimed.Has(name) && !unknown.Has(name) {
			c.Free.Insert(name)
		}
	}
	c.Managed = c.Free.Intersection(ours)
	return c
}

// applied returns the names that kubectl's last-applied-configuration of a Service lists.
func applied(annotations map[string]string) sets.Set[string] {
	var config struct {
		Spec struct {
			Template struct {
				Spec struct {
					ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets"`
				} `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	if !unmarshalHint(annotations[corev1.LastAppliedConfigAnnotation], &config) {
		return sets.New[string]()
	}
	return sets.New(NamesOf(config.Spec.Template.Spec.ImagePullSecrets)...)
}

func unmarshalHint(text string, into any) bool {
	return strings.Contains(text, `"imagePullSecrets"`) && json.Unmarshal([]byte(text), into) == nil
}

// ownedItems returns the names whose list items are owned. The list is a map by name, so
// the path element of an item is `k:{"name":"NAME"}`. whole reports that the list is owned
// without items: the manager wrote it when Knative's list was atomic.
func ownedItems(fields []byte) (names sets.Set[string], whole bool) {
	if !strings.Contains(string(fields), `"f:imagePullSecrets"`) {
		return nil, false
	}
	var owned struct {
		Spec struct {
			Template struct {
				Spec struct {
					Items map[string]json.RawMessage `json:"f:imagePullSecrets"`
				} `json:"f:spec"`
			} `json:"f:template"`
		} `json:"f:spec"`
	}
	if json.Unmarshal(fields, &owned) != nil {
		return nil, true
	}
	items := owned.Spec.Template.Spec.Items
	names = sets.New[string]()
	for element := range items {
		var ref corev1.LocalObjectReference
		if key, ok := strings.CutPrefix(element, "k:"); ok && json.Unmarshal([]byte(key), &ref) == nil {
			names.Insert(ref.Name)
		}
	}
	return names, items != nil && len(items) == 0
}

// CurrentOfServiceAccount returns the list of a ServiceAccount as it is stored. The list
// is atomic: a writer owns all of it, including entries that others added. So
// managedFields prove which names were applied only if the list is still the applied one:
//
//   - It is owned by an apply of another manager and by us. An apply of anything but
//     our list would have ended our ownership. (Our write may be recorded under
//     before-first-apply: a ServiceAccount created without fields, like each default
//     one, is not tracked until it is applied.) A co-owner other than us proves
//     nothing, because admission adds to a list without owning it. So admission adds
//     nothing to a list that we own too, see [AdmitServiceAccount].
//   - It is owned by an apply of another manager and lacks a name of the ledger. The
//     webhook was not called, because it would have restored the name.
//
// Otherwise the webhook has decided about the apply by [AppliedBy], and the ledger records
// its decision.
func CurrentOfServiceAccount(list []string, ledger Ledger, managed []metav1.ManagedFieldsEntry, annotations map[string]string) Current {
	c := Current{List: list, Ledger: ledger, Claimed: sets.New[string]()}
	var config struct {
		ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets"`
	}
	if unmarshalHint(annotations[corev1.LastAppliedConfigAnnotation], &config) {
		c.Claimed.Insert(NamesOf(config.ImagePullSecrets)...)
	}
	lacking := false
	for name := range ledger {
		lacking = lacking || !slices.Contains(list, name)
	}
	maybeOurs := func(e metav1.ManagedFieldsEntry) bool {
		return OwnsAccountList(e) && (isOurList(e) || anonymous.Has(e.Manager))
	}
	if slices.ContainsFunc(managed, appliesList) {
		c.Shared = slices.ContainsFunc(managed, maybeOurs)
		if c.Shared || lacking {
			c.Claimed.Insert(list...)
		}
	}
	return c
}

// AppliedBy reports whether a request for a ServiceAccount is a server-side apply of its
// list by this field manager. All names in it then belong to the manager. Webhooks do not
// learn the type of a patch, but managedFields record when a manager last made a change
// other than by apply.
func AppliedBy(manager string, old, requested []metav1.ManagedFieldsEntry) bool {
	by := func(e metav1.ManagedFieldsEntry) bool { return e.Manager == manager && appliesList(e) }
	before, after := slices.IndexFunc(old, by), slices.IndexFunc(requested, by)
	if after < 0 {
		return false
	}
	// An apply that changes anything updates the time of its own entry.
	if before >= 0 && old[before].Time.Equal(requested[after].Time) && !equality.Semantic.DeepEqual(old, requested) {
		return false
	}
	return lastUpdate(manager, old).Equal(lastUpdate(manager, requested))
}

// CurrentOfApply returns the list of a ServiceAccount that a request applies, see
// [AppliedBy]. stored and requested are the two ledgers as text. Admission sees the apply,
// so an item without an entry proves nothing here, unlike in [CurrentOfServiceAccount].
func CurrentOfApply(c Current, managed []metav1.ManagedFieldsEntry, annotations map[string]string, stored, requested string) Current {
	ledger := maps.Clone(c.Ledger)
	maps.DeleteFunc(ledger, func(name string, _ Origin) bool { return !slices.Contains(c.List, name) })
	c = CurrentOfServiceAccount(c.List, ledger, managed, annotations)
	c.Claimed.Insert(Applied(c.List, stored, requested)...)
	return c
}

// Applied returns the names of a list that its applier wrote, see [AppliedBy]. The policy
// for ServiceAccounts in config/outage restores entries of ours before admission sees the
// request. It then records exactly these in the ledger, as another text than the stored
// one. So a name is not the applier's if both ledgers have it and their texts differ. An
// apply that does not write the ledger leaves its text as it is.
func Applied(names []string, stored, requested string) []string {
	if requested == stored {
		return names
	}
	before, _ := ParseLedger(stored)
	restored, _ := ParseLedger(requested)
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		_, was := before[name]
		_, is := restored[name]
		return was && is
	})
}

// WithdrawnBy reports whether the last manager that applied the list of a ServiceAccount
// withdraws it in this request, and the list stays because we own it too.
func WithdrawnBy(old, requested []metav1.ManagedFieldsEntry) bool {
	others := func(e metav1.ManagedFieldsEntry) bool { return OwnsAccountList(e) && !isOurList(e) }
	return slices.ContainsFunc(old, appliesList) && !slices.ContainsFunc(requested, others) && slices.ContainsFunc(requested, isOurList)
}

func appliesList(e metav1.ManagedFieldsEntry) bool {
	return e.Operation == metav1.ManagedFieldsOperationApply && e.Manager != pullsecrets.FieldManager && OwnsAccountList(e)
}

func isOurList(e metav1.ManagedFieldsEntry) bool {
	return e.Manager == pullsecrets.FieldManager && OwnsAccountList(e)
}

// OwnsAccountList reports whether an entry of managedFields owns the list of a
// ServiceAccount.
func OwnsAccountList(e metav1.ManagedFieldsEntry) bool {
	if e.Subresource != "" || e.FieldsV1 == nil || !strings.Contains(string(e.FieldsV1.Raw), `"f:imagePullSecrets"`) {
		return false
	}
	var owned struct {
		List json.RawMessage `json:"f:imagePullSecrets"`
	}
	return json.Unmarshal(e.FieldsV1.Raw, &owned) == nil && owned.List != nil
}

func lastUpdate(manager string, managed []metav1.ManagedFieldsEntry) *metav1.Time {
	for _, e := range managed {
		if e.Manager == manager && e.Operation == metav1.ManagedFieldsOperationUpdate && e.Subresource == "" {
			return e.Time
		}
	}
	return nil
}
