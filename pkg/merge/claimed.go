// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"encoding/json"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// Claimed returns the names of a Service's pull secrets that somebody besides
// the product has written down: those which another field manager owns, and
// those in kubectl's last-applied-configuration. What admission adds is owned
// by nobody, because the API server notes owners before it calls webhooks, so
// our own entries are never among them.
//
// Input that does not parse claims nothing: the API server keeps managedFields
// well formed, and last-applied-configuration is a hint at most.
func Claimed(managed []metav1.ManagedFieldsEntry, annotations map[string]string) sets.Set[string] {
	claimed := sets.New[string]()
	for _, entry := range managed {
		if entry.Manager == pullsecrets.FieldManager || entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		claimOwned(claimed, entry.FieldsV1.Raw)
	}
	var applied struct {
		Spec struct {
			Template struct {
				Spec struct {
					ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets"`
				} `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	if unmarshalHint(annotations[corev1.LastAppliedConfigAnnotation], &applied) {
		claim(claimed, applied.Spec.Template.Spec.ImagePullSecrets)
	}
	return claimed
}

// ClaimedOfServiceAccount is Claimed for a ServiceAccount, whose list is atomic:
// whoever wrote it last owns it whole, our entries included, so that only
// last-applied-configuration can tell.
func ClaimedOfServiceAccount(annotations map[string]string) sets.Set[string] {
	claimed := sets.New[string]()
	var applied struct {
		ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets"`
	}
	if unmarshalHint(annotations[corev1.LastAppliedConfigAnnotation], &applied) {
		claim(claimed, applied.ImagePullSecrets)
	}
	return claimed
}

func unmarshalHint(text string, into any) bool {
	return strings.Contains(text, `"imagePullSecrets"`) && json.Unmarshal([]byte(text), into) == nil
}

func claim(claimed sets.Set[string], refs []corev1.LocalObjectReference) {
	for _, ref := range refs {
		claimed.Insert(ref.Name)
	}
}

// claimOwned adds the names whose list item the fields own. The list is a map
// by name, so an item's path element is `k:{"name":"NAME"}`.
func claimOwned(claimed sets.Set[string], fields []byte) {
	if !strings.Contains(string(fields), `"f:imagePullSecrets"`) {
		return
	}
	var owned struct {
		Spec struct {
			Template struct {
				Spec struct {
					Items map[string]json.RawMessage `json:"f:imagePullSecrets"`
				} `json:"f:spec"`
			} `json:"f:template"`
		} `json:"f:spec"`
	}
	if json.Unmarshal(fields, &owned) != nil {
		return
	}
	for element := range owned.Spec.Template.Spec.Items {
		key, ok := strings.CutPrefix(element, "k:")
		if !ok {
			continue
		}
		var ref corev1.LocalObjectReference
		if json.Unmarshal([]byte(key), &ref) == nil {
			claimed.Insert(ref.Name)
		}
	}
}
