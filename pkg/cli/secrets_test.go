// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A report knows when a Secret was written, by its managed fields.
func TestFactsOfSecretSayWhenItWasWritten(t *testing.T) {
	secret := pullSecret("team-a", "ghcr", "ghcr.io")
	secret.ManagedFields = []metav1.ManagedFieldsEntry{{Time: &now, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:data":{}}`)}}}
	known := factsOf(secret)
	if fields := known.Written.ManagedFields; len(fields) != 1 || !fields[0].Time.Equal(&now) {
		t.Errorf("managed fields are %v", fields)
	}
}
