// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/merge"
)

// Bind computes the list of a ServiceAccount. secrets are those of the Namespace, if it
// binds the ServiceAccount, and grants is what the Namespace may have. The error describes
// a damaged ledger, whose valid items still count.
func Bind(account *corev1.ServiceAccount, secrets []string, grants grant.Grants) (merge.Result, error) {
	ledger, err := merge.ParseLedger(account.Annotations[pullsecrets.AddedAnnotation])
	current := merge.CurrentOfServiceAccount(merge.NamesOf(account.ImagePullSecrets), ledger, account.ManagedFields, account.Annotations)
	return merge.ForServiceAccount(current, secrets, grants.Bound(account.Name, current)), err
}

// MakeAccountPatch returns the patch of list and ledger. The API server rejects it if the
// ServiceAccount's resourceVersion has changed. The list is replaced as a whole, so a
// late patch would drop entries that another writer added.
func MakeAccountPatch(account *corev1.ServiceAccount, result merge.Result) ([]byte, error) {
	metadata := map[string]any{"resourceVersion": account.ResourceVersion}
	if result.LedgerChanged {
		var ledger any
		if text := result.Ledger.String(); text != "" {
			ledger = text
		}
		metadata["annotations"] = map[string]any{pullsecrets.AddedAnnotation: ledger}
	}
	patch := map[string]any{"metadata": metadata}
	if result.ListChanged {
		list := make([]corev1.LocalObjectReference, 0, len(result.List))
		for _, name := range result.List {
			list = append(list, corev1.LocalObjectReference{Name: name})
		}
		patch["imagePullSecrets"] = list
	}
	return json.Marshal(patch)
}
