// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// helmRelease is the annotation by which Helm knows what it owns, together with the
// one that names the release's namespace.
const (
	helmRelease          = "meta.helm.sh/release-name"
	helmReleaseNamespace = "meta.helm.sh/release-namespace"
)

// Disown makes a Secret one that nobody keeps in a manifest, for the update that adopts
// it. Whoever labels a Secret that a tool has left behind hands it over, and it must not
// look like the tool's afterwards: last-applied-configuration and Helm's annotations go,
// and the list of one empty entry has the API server forget who applied what. A manager
// keeps what it applied even through an update, where the update writes the same bytes.
func Disown(o *metav1.ObjectMeta) {
	delete(o.Annotations, helmRelease)
	delete(o.Annotations, helmReleaseNamespace)
	delete(o.Annotations, corev1.LastAppliedConfigAnnotation)
	o.ManagedFields = []metav1.ManagedFieldsEntry{{}}
}

// KeptBy returns who keeps the data of a Secret in a manifest, or an empty string. That
// is the field manager of an Apply that owns data, kubectl if last-applied-configuration
// lists data, or Helm by its annotation. An edit (operation Update) is kept in no
// manifest, and neither is data whose manifest carries both of our labels: its author
// asks for a copy.
func KeptBy(o *metav1.ObjectMeta) string {
	for _, entry := range o.ManagedFields {
		if entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == "" && entry.FieldsV1 != nil && keepsData(entry.FieldsV1.Raw, "f:") {
			return entry.Manager
		}
	}
	if applied := o.Annotations[corev1.LastAppliedConfigAnnotation]; applied != "" && keepsData([]byte(applied), "") {
		return "kubectl"
	}
	if o.Annotations[helmRelease] != "" {
		return "Helm"
	}
	return ""
}

// Keeper is what [KeptBy] needs to know of who keeps the data in a manifest, without
// the manifest, which may hold a credential.
func Keeper(by string) []metav1.ManagedFieldsEntry {
	if by == "" {
		return nil
	}
	return []metav1.ManagedFieldsEntry{{
		Manager: by, Operation: metav1.ManagedFieldsOperationApply,
		FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:data":{"f:` + corev1.DockerConfigJsonKey + `":{}}}`)},
	}}
}

// TakenOver reports whether a Secret with our labels was a copy and is somebody else's
// now. One that never was a copy was labelled by its owner, to be adopted.
func TakenOver(o *metav1.ObjectMeta) bool {
	_, copied := o.Annotations[pullsecrets.SourceResourceVersionAnnotation]
	return copied && KeptBy(o) != ""
}

// keepsData reports whether a manifest, or the set of fields that one owns, has data
// and not both of our labels. Keys of a set of fields have a prefix. What does not parse
// keeps nothing.
func keepsData(manifest []byte, prefix string) bool {
	type fields = map[string]json.RawMessage
	at := func(parent fields, key string) (child fields) {
		if json.Unmarshal(parent[prefix+key], &child) != nil {
			return nil
		}
		return child
	}
	var all fields
	if json.Unmarshal(manifest, &all) != nil {
		return false
	}
	data, stringData := at(all, "data"), at(all, "stringData")
	// A set of fields has the map itself as ".".
	delete(data, ".")
	delete(stringData, ".")
	labels := at(at(all, "metadata"), "labels")
	_, managedBy := labels[prefix+pullsecrets.ManagedByLabel]
	_, copyOf := labels[prefix+pullsecrets.ClusterPullSecretLabel]
	return len(data)+len(stringData) > 0 && (!managedBy || !copyOf)
}
