// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	corev1 "k8s.io/api/core/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// Copies is the label selector of all copies.
const Copies = pullsecrets.ManagedByLabel + "=" + pullsecrets.ManagedByValue + "," + pullsecrets.ClusterPullSecretLabel

// CopyLabels returns the labels of every copy of a ClusterPullSecret.
func CopyLabels(clusterPullSecret string) map[string]string {
	return map[string]string{
		pullsecrets.ManagedByLabel:         pullsecrets.ManagedByValue,
		pullsecrets.ClusterPullSecretLabel: clusterPullSecret,
	}
}

// Owner returns the ClusterPullSecret in the labels of a copy, or an empty string for any
// other Secret.
func Owner(secret *corev1.Secret) string {
	if secret.Labels[pullsecrets.ManagedByLabel] != pullsecrets.ManagedByValue {
		return ""
	}
	return secret.Labels[pullsecrets.ClusterPullSecretLabel]
}
