// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
)

func TestKeptBy(t *testing.T) {
	entry := func(operation metav1.ManagedFieldsOperationType, subresource, fields string) metav1.ObjectMeta {
		return metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{{
			Manager: "flux", Operation: operation, Subresource: subresource, FieldsV1: &metav1.FieldsV1{Raw: []byte(fields)},
		}}}
	}
	applied := func(text string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: text}}
	}
	const (
		data   = `{"f:data":{".":{},"f:.dockerconfigjson":{}}}`
		labels = `"f:metadata":{"f:labels":{"f:app.kubernetes.io/managed-by":{},"f:pullsecrets.dev/cluster-pull-secret":{}}}`
	)
	for _, test := range []struct {
		reason string
		object metav1.ObjectMeta
		want   string
	}{
		{"nobody", metav1.ObjectMeta{}, ""},
		{"applied", entry("Apply", "", data), "flux"},
		{"applied as stringData", entry("Apply", "", `{"f:stringData":{"f:.dockerconfigjson":{}}}`), "flux"},
		{"edited", entry("Update", "", data), ""},
		{"a subresource", entry("Apply", "status", data), ""},
		{"labels alone", entry("Apply", "", `{"f:metadata":{"f:labels":{"f:team":{}}},"f:type":{}}`), ""},
		{"no data in it", entry("Apply", "", `{"f:data":{".":{}}}`), ""},
		{"with both labels: to be adopted", entry("Apply", "", `{"f:data":{"f:.dockerconfigjson":{}},`+labels+`}`), ""},
		{"with one label", entry("Apply", "", `{"f:data":{"f:x":{}},"f:metadata":{"f:labels":{"f:app.kubernetes.io/managed-by":{}}}}`), "flux"},
		{"no JSON", entry("Apply", "", `{`), ""},
		{"last-applied", applied(`{"data":{".dockerconfigjson":"e30="}}`), "kubectl"},
		{"last-applied as stringData", applied(`{"stringData":{".dockerconfigjson":"{}"}}`), "kubectl"},
		{"last-applied without data", applied(`{"metadata":{"labels":{"team":"a"}},"data":{}}`), ""},
		{"last-applied with null", applied(`{"metadata":null,"data":null}`), ""},
		{"last-applied with both labels", applied(`{"data":{"x":"e30="},"metadata":{"labels":{"app.kubernetes.io/managed-by":"pullsecrets","pullsecrets.dev/cluster-pull-secret":"ghcr"}}}`), ""},
		{"last-applied that is none", applied(`[`), ""},
		{"Helm", metav1.ObjectMeta{Annotations: map[string]string{"meta.helm.sh/release-name": "shop"}}, "Helm"},
		{"what a cache keeps", metav1.ObjectMeta{ManagedFields: Keeper("flux")}, "flux"},
	} {
		if got := KeptBy(&test.object); got != test.want {
			t.Errorf("%s: kept by %q, want %q", test.reason, got, test.want)
		}
		if TakenOver(&test.object) {
			t.Errorf("%s: taken over, though it never was a copy", test.reason)
		}
		metav1.SetMetaDataAnnotation(&test.object, pullsecrets.SourceResourceVersionAnnotation, "7")
		if got := TakenOver(&test.object); got != (test.want != "") {
			t.Errorf("%s: taken over: %t", test.reason, got)
		}
		if Disown(&test.object); TakenOver(&test.object) {
			t.Errorf("%s: kept by %q after it was adopted", test.reason, KeptBy(&test.object))
		}
	}
	if Keeper("") != nil {
		t.Error("A cache keeps a keeper of what nobody keeps")
	}
}

// Keys of copyMetadata are added and removed, keys of others stay, and our own keys take
// precedence.
func TestSetCopyMetadata(t *testing.T) {
	cps := &v1alpha1.ClusterPullSecret{ObjectMeta: metav1.ObjectMeta{Name: "ghcr"}}
	copied := metav1.ObjectMeta{Labels: map[string]string{"team": "a"}, Annotations: map[string]string{"note": "x"}}
	set := func(metadata *v1alpha1.CopyMetadata, labels, annotations map[string]string) {
		t.Helper()
		cps.Spec.CopyMetadata = metadata
		before := *copied.DeepCopy()
		if HasCopyMetadata(&copied, cps, "7") {
			t.Error("It has what it has yet to get")
		}
		SetCopyMetadata(&copied, cps, "7")
		if !HasCopyMetadata(&copied, cps, "7") || HasCopyMetadata(&copied, cps, "8") || HasCopyMetadata(&before, cps, "7") {
			t.Error("HasCopyMetadata does not tell what was set")
		}
		maps.Copy(labels, CopyLabels("ghcr"))
		labels["team"], annotations["note"], annotations[pullsecrets.SourceResourceVersionAnnotation] = "a", "x", "7"
		if diff := cmp.Diff(labels, copied.Labels); diff != "" {
			t.Error("labels (-want, +got):", diff)
		}
		if diff := cmp.Diff(annotations, copied.Annotations); diff != "" {
			t.Error("annotations (-want, +got):", diff)
		}
	}
	type m = map[string]string
	set(nil, m{}, m{})
	set(&v1alpha1.CopyMetadata{Labels: m{"cost": "42", "b": "c"}, Annotations: m{"sync": "no"}},
		m{"cost": "42", "b": "c"}, m{"sync": "no", pullsecrets.CopyMetadataAnnotation: `{"annotations":["sync"],"labels":["b","cost"]}`})
	set(&v1alpha1.CopyMetadata{Labels: m{"cost": "43", pullsecrets.ClusterPullSecretLabel: "forged"}},
		m{"cost": "43"}, m{pullsecrets.CopyMetadataAnnotation: `{"labels":["cost","pullsecrets.dev/cluster-pull-secret"]}`})
	set(&v1alpha1.CopyMetadata{}, m{}, m{})
}
