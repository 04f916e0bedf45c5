// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
)

func TestRegister(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"ClusterPullSecret", "ClusterPullSecretList"} {
		if !scheme.Recognizes(SchemeGroupVersion.WithKind(kind)) {
			t.Errorf("The scheme does not know %s", kind)
		}
	}
	if got, want := Kind("ClusterPullSecret").String(), "ClusterPullSecret.pullsecrets.dev"; got != want {
		t.Errorf("Kind = %s, want %s", got, want)
	}
	if got, want := Resource("clusterpullsecrets").String(), "clusterpullsecrets.pullsecrets.dev"; got != want {
		t.Errorf("Resource = %s, want %s", got, want)
	}
}
