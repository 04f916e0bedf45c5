// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package resources holds what the Service reconciler compares and sends, as functions without
// effects. When it may send it is decided by pkg/rollout.
package resources

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/merge"
)

const addedKey = pullsecrets.AddedAnnotation

// MakePatch returns the reconciler's only write: a JSON merge patch of the ledger and,
// where it changes, of the list. Fields that these types do not know survive. The API
// server rejects the patch if the Service's resourceVersion has changed.
func MakePatch(svc *servingv1.Service, r merge.Result) ([]byte, error) {
	var ledger *string
	if text := r.Ledger.String(); text != "" {
		ledger = &text
	}
	patch := map[string]any{
		"metadata": map[string]any{
			"resourceVersion": svc.ResourceVersion,
			"annotations":     map[string]*string{addedKey: ledger},
		},
	}
	if r.ListChanged {
		// A nil list becomes null, which removes the field.
		var refs []corev1.LocalObjectReference
		for _, name := range r.List {
			refs = append(refs, corev1.LocalObjectReference{Name: name})
		}
		patch["spec"] = map[string]any{"template": map[string]any{"spec": map[string]any{"imagePullSecrets": refs}}}
	}
	return json.Marshal(patch)
}
