// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package trim_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/trim"
)

// However much a tenant writes, caches keep only what is read of it.
func TestAnnotationsAreBounded(t *testing.T) {
	long := strings.Repeat("a,", 120<<10)
	annotations := map[string]string{
		pullsecrets.SecretsAnnotation: long, pullsecrets.InjectAnnotation: long,
		pullsecrets.ServiceAccountsAnnotation: long, pullsecrets.AddedAnnotation: long,
	}
	for _, tt := range []struct {
		object metav1.Object
		// read are the keys that count on the object. Of others the key alone is kept.
		read []string
	}{
		{&servingv1.Service{}, []string{pullsecrets.SecretsAnnotation, pullsecrets.InjectAnnotation, pullsecrets.AddedAnnotation}},
		{&corev1.Namespace{}, []string{pullsecrets.SecretsAnnotation, pullsecrets.InjectAnnotation, pullsecrets.ServiceAccountsAnnotation}},
		{&corev1.ServiceAccount{}, []string{pullsecrets.AddedAnnotation}},
	} {
		tt.object.SetAnnotations(maps.Clone(annotations))
		trimmed, err := trim.Object(tt.object)
		if err != nil {
			t.Fatal(err)
		}
		kept := trimmed.(metav1.Object).GetAnnotations()
		for key, value := range kept {
			if read := slices.Contains(tt.read, key); read == (value == "") || len(value) > annotation.MaxBytes+1 {
				t.Errorf("%T: %d bytes of %s are kept", tt.object, len(value), key)
			}
		}
		if slices.Contains(tt.read, pullsecrets.SecretsAnnotation) && len(annotation.ForService(kept).Problems) == 0 {
			t.Errorf("%T: nothing says that the annotation was too long", tt.object)
		}
		if _, err := merge.ParseLedger(kept[pullsecrets.AddedAnnotation]); err == nil && slices.Contains(tt.read, pullsecrets.AddedAnnotation) {
			t.Errorf("%T: nothing says that the ledger was too long", tt.object)
		}
	}
}

// Of very many applied names, those in the ledger are kept, and a bounded number of
// others.
func TestAppliedIsBounded(t *testing.T) {
	var names []string
	for i := range 9000 {
		names = append(names, fmt.Sprintf(`{"name": "user-%04d"}`, i))
	}
	for _, list := range []string{`"spec": {"template": {"spec": {%s}}}`, "%s"} {
		applied := fmt.Sprintf("{"+list+"}", `"imagePullSecrets": [`+strings.Join(names, ",")+"]")
		trimmed, err := trim.Object(&servingv1.Service{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
			pullsecrets.AddedAnnotation: `{"user-8999": "namespace"}`, corev1.LastAppliedConfigAnnotation: applied,
		}}})
		if err != nil {
			t.Fatal(err)
		}
		kept := trimmed.(metav1.Object).GetAnnotations()[corev1.LastAppliedConfigAnnotation]
		if len(kept) > merge.MaxLedger+100 || !strings.Contains(kept, "user-0000") || !strings.Contains(kept, "user-8999") {
			t.Errorf("%d of %d bytes are kept, from %.100s", len(kept), len(applied), kept)
		}
	}
}
