// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import (
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
	if diff := cmp.Diff(sets.New("theirs", "applied"), Claimed(managed, annotations)); diff != "" {
		t.Errorf("(-want, +got):\n%s", diff)
	}
	for _, text := range []string{"", "{", `{"spec":"imagePullSecrets"}`, `"imagePullSecrets"`} {
		if got := Claimed(nil, map[string]string{corev1.LastAppliedConfigAnnotation: text}); got.Len() > 0 {
			t.Errorf("last-applied-configuration %q claims %v", text, got)
		}
	}
	annotations = map[string]string{corev1.LastAppliedConfigAnnotation: `{"imagePullSecrets":[{"name":"applied"}]}`}
	if diff := cmp.Diff(sets.New("applied"), ClaimedOfServiceAccount(annotations)); diff != "" {
		t.Errorf("ServiceAccount (-want, +got):\n%s", diff)
	}
}
