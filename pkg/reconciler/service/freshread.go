// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"pullsecrets.dev/pkg/freshread"
)

// fromAPIServer reads from the API server. After an opt-in, hundreds of Services need the
// same Namespace and ServiceAccount, which would be most of the requests of a backfill.
// So concurrent callers share a read.
func fromAPIServer(client kubernetes.Interface) sources {
	namespaces := freshread.Shared[string, *corev1.Namespace]{Read: func(ctx context.Context, name string) (*corev1.Namespace, error) {
		return client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	}}
	accounts := freshread.Shared[types.NamespacedName, *corev1.ServiceAccount]{Read: func(ctx context.Context, key types.NamespacedName) (*corev1.ServiceAccount, error) {
		return client.CoreV1().ServiceAccounts(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	}}
	return sources{
		namespace: namespaces.Get,
		account: func(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
			return accounts.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name})
		},
	}
}
