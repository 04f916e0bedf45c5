// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// helmRelease and helmReleaseNamespace are the annotations by which Helm identifies
// objects that it owns.
const (
	helmRelease          = "meta.helm.sh/release-name"
	helmReleaseNamespace = "meta.helm.sh/release-namespace"
)

// Disown removes the traces of tools that manage a Secret in a manifest, for the update
// that takes over ownership. A user who labels a Secret that a tool left behind hands it
// over, and it must not look like the tool's afterwards: last-applied-configuration and
// Helm's annotations are removed, and a list with one empty entry makes the API server
// reset managedFields. Otherwise a manager keeps ownership of applied fields through an
// update that writes the same bytes.
func Disown(o *metav1.ObjectMeta) {
	delete(o.Annotations, helmRelease)
	delete(o.Annotations, helmReleaseNamespace)
	delete(o.Annotations, corev1.LastAppliedConfigAnnotation)
	o.ManagedFields = []metav1.ManagedFieldsEntry{{}}
}

// KeptBy returns which tool manages the data of a Secret in a manifest, or an empty
// string. It is the field manager of an Apply that owns data, kubectl if
// last-applied-configuration lists data, or Helm by its annotation. An edit (operation
// Update) is in no manifest. A manifest with both of our labels does not count: its author
// requests a copy.
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

// Keeper returns managedFields from which [KeptBy] returns the same tool, without the
// manifest, which may contain a credential.
func Keeper(by string) []metav1.ManagedFieldsEntry {
	if by == "" {
		return nil
	}
	return []metav1.ManagedFieldsEntry{{
		Manager: by, Operation: metav1.ManagedFieldsOperationApply,
		FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:data":{"f:` + corev1.DockerConfigJsonKey + `":{}}}`)},
	}}
}

// TakenOver reports whether a Secret with our labels was a copy and is now managed by
// another tool. A Secret that never was a copy was labeled by its owner, to be adopted.
func TakenOver(o *metav1.ObjectMeta) bool {
	_, copied := o.Annotations[pullsecrets.SourceResourceVersionAnnotation]
	return copied && KeptBy(o) != ""
}

// keepsData reports whether a manifest, or the set of fields that one owns, has data and
// not both of our labels. Keys of a set of fields have a prefix. Input that does not parse
// has no data.
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
