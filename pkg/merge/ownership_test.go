// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

func TestClaimed(t *testing.T) {
	fields := func(manager, subresource, raw string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Subresource: subresource, FieldsV1: &metav1.FieldsV1{Raw: []byte(raw)}}
	}
	owned := func(name string) string {
		return `{"f:spec":{".":{},"f:template":{"f:spec":{"f:imagePullSecrets":{".":{},"k:{\"name\":\"` + name + `\"}":{".":{},"f:name":{}}}}}}}`
	}
	managed := []metav1.ManagedFieldsEntry{
		fields("kubectl", "", owned("theirs")),
		fields("pullsecrets", "", owned("ours")),
		fields("controller", "status", owned("status")),
		fields("broken", "", `{"f:imagePullSecrets"`),
		fields("elsewhere", "", `{"f:metadata":{"f:annotations":{"f:imagePullSecrets":{}}}}`),
		{Manager: "empty"},
	}
	annotations := map[string]string{corev1.LastAppliedConfigAnnotation: `{"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"applied"}]}}}}`}
	list := []string{"theirs", "ours", "applied", "nobody", "both", "old"}
	managed = append(managed, fields("ancient-changes", "", owned("old")), fields("pullsecrets", "", owned("both")), fields("argo", "", owned("both")),
		fields("pullsecrets", "", owned("applied")), fields("pullsecrets", "", owned("gone")))
	got := CurrentOf(list, nil, slices.DeleteFunc(slices.Clone(managed), func(e metav1.ManagedFieldsEntry) bool { return e.Manager == "broken" || e.Manager == "elsewhere" }), annotations)
	for what, pair := range map[string][2]sets.Set[string]{
		"claimed": {sets.New("theirs", "applied", "both"), got.Claimed},
		"free":    {sets.New("ours", "nobody"), got.Free},
		"managed": {sets.New("ours"), got.Managed},
	} {
		if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
			t.Errorf("%s (-want, +got):\n%s", what, diff)
		}
	}
	// Where managedFields do not say who owns what, they prove nothing of ours.
	for reason, managed := range map[string][]metav1.ManagedFieldsEntry{
		"broken": managed, "none": nil,
		"owned as a whole": {fields("kubectl", "", `{"f:spec":{"f:template":{"f:spec":{"f:imagePullSecrets":{}}}}}`), fields("pullsecrets", "", owned("ours"))},
	} {
		if got := CurrentOf(list, nil, managed, nil); got.Free.Len()+got.Managed.Len() > 0 {
			t.Errorf("%s: %v are free, %v managed", reason, got.Free, got.Managed)
		}
	}
	for _, text := range []string{"", "{", `{"spec":"imagePullSecrets"}`, `"imagePullSecrets"`} {
		if got := CurrentOf(list, nil, nil, map[string]string{corev1.LastAppliedConfigAnnotation: text}); got.Claimed.Len() > 0 {
			t.Errorf("last-applied-configuration %q claims %v", text, got.Claimed)
		}
	}
}

func ownsAccount(manager string, operation metav1.ManagedFieldsOperationType, second int64) metav1.ManagedFieldsEntry {
	at := metav1.Unix(second, 0)
	return metav1.ManagedFieldsEntry{Manager: manager, Operation: operation, Time: &at, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:imagePullSecrets":{}}`)}}
}

const applies, updates = metav1.ManagedFieldsOperationApply, metav1.ManagedFieldsOperationUpdate

// The owners of a ServiceAccount's list decide which of its names are claimed.
func TestClaimedOfServiceAccount(t *testing.T) {
	argo, us, edit := ownsAccount("argo", applies, 1), ownsAccount("pullsecrets", updates, 1), ownsAccount("edit", updates, 1)
	elsewhere := metav1.ManagedFieldsEntry{Manager: "argo", Operation: applies, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:secrets":{},"f:metadata":{"f:imagePullSecrets":{}}}`)}}
	for _, test := range []struct {
		reason, current, applied string
		managed                  []metav1.ManagedFieldsEntry
		want                     string
	}{
		{reason: "nothing known", current: "own x=namespace"},
		{reason: "last-applied", current: "own x=namespace", applied: "x", want: "x"},
		{reason: "the apply of what we had written", current: "own x=namespace", managed: []metav1.ManagedFieldsEntry{us, argo}, want: "own x"},
		{reason: "the apply of what we had written before anything was tracked", current: "own x=namespace", managed: []metav1.ManagedFieldsEntry{argo, ownsAccount("before-first-apply", updates, 1)}, want: "own x"},
		{reason: "an apply beside which admission has added", current: "own x=namespace", managed: []metav1.ManagedFieldsEntry{argo}},
		{reason: "our own write after the apply", current: "own x=namespace", managed: []metav1.ManagedFieldsEntry{us, elsewhere}},
		{reason: "an update, OpenShift's for instance, which leaves what it finds", current: "own x=namespace", managed: []metav1.ManagedFieldsEntry{edit}},
	} {
		c := current(test.current, "")
		text := `{"imagePullSecrets":[{"name":"` + test.applied + `"}]}`
		got := CurrentOfServiceAccount(c.List, c.Ledger, test.managed, map[string]string{corev1.LastAppliedConfigAnnotation: text})
		if want := sets.New(append(list(test.want), test.applied)...); !got.Claimed.Equal(want) {
			t.Errorf("%s: %v are claimed, want %v", test.reason, got.Claimed, want)
		}
	}
	// An apply that admission was not asked about.
	got := CurrentOfServiceAccount(list("own x"), Ledger{"x": FromNamespace, "n": FromNamespace}, []metav1.ManagedFieldsEntry{argo}, nil)
	if !got.Claimed.Equal(sets.New("own", "x")) {
		t.Errorf("%v are claimed although admission would have restored what the list lacks", got.Claimed)
	}
}

func TestAppliedBy(t *testing.T) {
	argo, us := ownsAccount("argo", applies, 1), ownsAccount("pullsecrets", updates, 1)
	before, after := ownsAccount("argo", updates, 1), ownsAccount("argo", updates, 2)
	all := func(entries ...metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry { return entries }
	for _, test := range []struct {
		reason             string
		manager            string
		old, requested     []metav1.ManagedFieldsEntry
		applied, withdrawn bool
	}{
		{reason: "the first apply", manager: "argo", old: all(us), requested: all(us, argo), applied: true},
		{reason: "an apply by force", manager: "argo", old: all(us), requested: all(argo), applied: true},
		{reason: "an apply that changes nothing", manager: "argo", old: all(argo), requested: all(argo), applied: true},
		{reason: "an apply after updates", manager: "argo", old: all(before), requested: all(before, argo), applied: true},
		{reason: "an update under the same name", manager: "argo", old: all(argo, before), requested: all(argo, after)},
		{reason: "another manager's request", manager: "kubectl-label", old: all(argo), requested: all(argo)},
		{reason: "our own apply", manager: "pullsecrets", requested: all(ownsAccount("pullsecrets", applies, 1))},
		{reason: "a request without a manager", requested: all(argo)},
		{reason: "an apply without the list", manager: "argo", old: all(us, argo), requested: all(us), withdrawn: true},
		{reason: "one of two applies", manager: "argo", old: all(us, argo, ownsAccount("flux", applies, 1)), requested: all(us, ownsAccount("flux", applies, 1))},
		{reason: "an update by which the list changes", manager: "edit", old: all(us, argo), requested: all(ownsAccount("edit", updates, 1))},
	} {
		if applied, withdrawn := AppliedBy(test.manager, test.old, test.requested), WithdrawnBy(test.old, test.requested); applied != test.applied || withdrawn != test.withdrawn {
			t.Errorf("%s: applied %t, withdrawn %t, want %t, %t", test.reason, applied, withdrawn, test.applied, test.withdrawn)
		}
	}
}
