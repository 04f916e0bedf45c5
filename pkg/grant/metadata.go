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

// copyKeys are the keys that a copy has from spec.copyMetadata, sorted. They are
// recorded on the copy: field managers cannot tell them from what a mutating webhook
// adds to the controller's own requests.
type copyKeys struct {
	Annotations []string `json:"annotations,omitempty"`
	Labels      []string `json:"labels,omitempty"`
}

// SetCopyMetadata puts on a copy what the spec and the version of the source say: the
// labels and annotations of spec.copyMetadata, and over them our own. It removes those
// that an earlier spec.copyMetadata put there, and keeps all others. The maps that are
// there are replaced and not changed.
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

// HasCopyMetadata reports whether a copy has the labels and annotations that
// SetCopyMetadata would put there.
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
