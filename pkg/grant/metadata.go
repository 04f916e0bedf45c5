// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"encoding/json"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
)

// copyKeys are the sorted keys that a copy has from spec.copyMetadata. They are recorded
// on the copy, because field managers cannot distinguish them from what a mutating webhook
// adds to the controller's own requests.
type copyKeys struct {
	Annotations []string `json:"annotations,omitempty"`
	Labels      []string `json:"labels,omitempty"`
}

// SetCopyMetadata sets the labels and annotations of spec.copyMetadata and our own on a
// copy. It removes those of an earlier spec.copyMetadata, and keeps all others. It
// replaces the maps and does not change them.
func SetCopyMetadata(copied *metav1.ObjectMeta, cps *v1alpha1.ClusterPullSecret, version string) {
	labels, annotations := clone(copied.Labels), clone(copied.Annotations)
	var recorded copyKeys
	if json.Unmarshal([]byte(annotations[pullsecrets.CopyMetadataAnnotation]), &recorded) == nil {
		remove(labels, recorded.Labels)
		remove(annotations, recorded.Annotations)
	}
	delete(annotations, pullsecrets.CopyMetadataAnnotation)
	if wanted := cps.Spec.CopyMetadata; wanted != nil && len(wanted.Labels)+len(wanted.Annotations) > 0 {
		maps.Copy(labels, wanted.Labels)
		maps.Copy(annotations, wanted.Annotations)
		annotations[pullsecrets.CopyMetadataAnnotation] = recordOf(wanted)
	}
	maps.Copy(labels, CopyLabels(cps.Name))
	annotations[pullsecrets.SourceResourceVersionAnnotation] = version
	copied.Labels, copied.Annotations = labels, annotations
}

// HasCopyMetadata reports whether SetCopyMetadata would not change the copy.
func HasCopyMetadata(copied *metav1.ObjectMeta, cps *v1alpha1.ClusterPullSecret, version string) bool {
	wanted := metav1.ObjectMeta{Labels: copied.Labels, Annotations: copied.Annotations}
	SetCopyMetadata(&wanted, cps, version)
	return maps.Equal(wanted.Labels, copied.Labels) && maps.Equal(wanted.Annotations, copied.Annotations)
}

func recordOf(metadata *v1alpha1.CopyMetadata) string {
	text, err := json.Marshal(copyKeys{
		Annotations: slices.Sorted(maps.Keys(metadata.Annotations)),
		Labels:      slices.Sorted(maps.Keys(metadata.Labels)),
	})
	if err != nil {
		return "" // Strings always marshal.
	}
	return string(text)
}

func clone(from map[string]string) map[string]string {
	to := make(map[string]string, len(from)+2)
	maps.Copy(to, from)
	return to
}

func remove(from map[string]string, keys []string) {
	for _, key := range keys {
		delete(from, key)
	}
}
