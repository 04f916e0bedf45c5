// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSetDefaults(t *testing.T) {
	tests := []struct {
		name     string
		in, want *ClusterPullSecret
	}{{
		name: "what is left out is filled in",
		in:   &ClusterPullSecret{ObjectMeta: metav1.ObjectMeta{Name: "ghcr"}},
		want: &ClusterPullSecret{
			ObjectMeta: metav1.ObjectMeta{Name: "ghcr"},
			Spec:       ClusterPullSecretSpec{SecretName: "ghcr", DeletionPolicy: DeletionPolicyDelete},
		},
	}, {
		name: "what is there stays",
		in: &ClusterPullSecret{
			ObjectMeta: metav1.ObjectMeta{Name: "ghcr"},
			Spec:       ClusterPullSecretSpec{SecretName: "registry", DeletionPolicy: DeletionPolicyRetain},
		},
		want: &ClusterPullSecret{
			ObjectMeta: metav1.ObjectMeta{Name: "ghcr"},
			Spec:       ClusterPullSecretSpec{SecretName: "registry", DeletionPolicy: DeletionPolicyRetain},
		},
	}, {
		name: "a name that is too long for a copy is left to validation",
		in:   &ClusterPullSecret{ObjectMeta: metav1.ObjectMeta{Name: strings.Repeat("x", 64)}},
		want: &ClusterPullSecret{
			ObjectMeta: metav1.ObjectMeta{Name: strings.Repeat("x", 64)},
			Spec:       ClusterPullSecretSpec{DeletionPolicy: DeletionPolicyDelete},
		},
	}, {
		name: "a name that the API server has not generated yet is not guessed",
		in:   &ClusterPullSecret{ObjectMeta: metav1.ObjectMeta{GenerateName: "ghcr-"}},
		want: &ClusterPullSecret{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "ghcr-"},
			Spec:       ClusterPullSecretSpec{DeletionPolicy: DeletionPolicyDelete},
		},
	}, {
		name: "neither a selector nor always gets a default, because they grant",
		in:   &ClusterPullSecret{ObjectMeta: metav1.ObjectMeta{Name: "ghcr"}, Spec: ClusterPullSecretSpec{Always: &Always{}}},
		want: &ClusterPullSecret{
			ObjectMeta: metav1.ObjectMeta{Name: "ghcr"},
			Spec:       ClusterPullSecretSpec{SecretName: "ghcr", Always: &Always{}, DeletionPolicy: DeletionPolicyDelete},
		},
	}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := test.in.DeepCopy()
			got.SetDefaults(t.Context())
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error("SetDefaults (-want, +got):", diff)
			}
			again := got.DeepCopy()
			again.SetDefaults(t.Context())
			if diff := cmp.Diff(got, again); diff != "" {
				t.Error("A second SetDefaults changed the result of the first one:", diff)
			}
		})
	}
}
