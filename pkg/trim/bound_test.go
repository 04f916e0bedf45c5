// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package trim_test

import (
	"maps"
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

// However much a tenant writes, caches keep what is read of it and no more.
func TestAnnotationsAreBounded(t *testing.T) {
	long := strings.Repeat("a,", 120<<10)
	annotations := map[string]string{
		pullsecrets.SecretsAnnotation: long, pullsecrets.InjectAnnotation: long,
		pullsecrets.ServiceAccountsAnnotation: long, pullsecrets.AddedAnnotation: long,
	}
	for _, object := range []metav1.Object{
		&servingv1.Service{ObjectMeta: metav1.ObjectMeta{Annotations: maps.Clone(annotations)}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Annotations: maps.Clone(annotations)}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Annotations: maps.Clone(annotations)}},
	} {
		trimmed, err := trim.Object(object)
		if err != nil {
			t.Fatal(err)
		}
		kept := trimmed.(metav1.Object).GetAnnotations()
		for key := range annotations {
			if value := kept[key]; value == "" || len(value) > annotation.MaxBytes+1 {
				t.Errorf("%T: %d bytes of %s are kept", object, len(value), key)
			}
		}
		if len(annotation.ForService(kept).Problems) == 0 {
			t.Errorf("%T: nothing says that the annotation was too long", object)
		}
		if _, err := merge.ParseLedger(kept[pullsecrets.AddedAnnotation]); err == nil {
			t.Errorf("%T: nothing says that the ledger was too long", object)
		}
	}
}
