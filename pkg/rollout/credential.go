// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
)

// ChangedAfter reports whether a credential changed after a Revision was created, so that the
// Revision may have failed with another one.
//
// A Revision that Knative creates again is younger than the credential that it was deleted for.
// So a credential that changed after the Revision was created has not been tried by a retry,
// also if the process was restarted, or another one deleted the Revision. Times are whole
// seconds of the API server. In a tie, Knative's own next attempt comes within seconds.
func ChangedAfter(r *servingv1.Revision, changed metav1.Time) bool {
	return changed.Unix() > r.CreationTimestamp.Unix()
}

// Changed returns when the data of a Secret were written last: by the field managers that own
// them, or else when it was created. A manager that writes other fields of a Secret whose data
// it owns counts as well.
func Changed(secret *metav1.ObjectMeta) metav1.Time {
	last, _ := written(secret, "f:data")
	return last
}

// ChangeKnown reports whether the metadata of a Secret say when its data were written last.
// Writers may drop this record.
func ChangeKnown(secret *metav1.ObjectMeta) bool {
	_, known := written(secret, "f:data")
	return known
}

// ListChanged returns when the imagePullSecrets of a ServiceAccount were written last, as
// [Changed] does for a Secret.
func ListChanged(account *metav1.ObjectMeta) metav1.Time {
	last, _ := written(account, "f:imagePullSecrets")
	return last
}

// ChangedCopy returns the earliest time at which the data of a copy may have been written last.
// That is when the source changed or the copy was created, if the copy is of the current version of
// the source, and otherwise what [Changed] returns. The controller writes the metadata of copies as
// the manager that owns their data, so a later write may have left the credential as it was.
func ChangedCopy(copied *metav1.ObjectMeta, source *v1alpha1.SourceStatus) metav1.Time {
	last := Changed(copied)
	if source == nil || source.LastChanged == nil || copied.Annotations[pullsecrets.SourceResourceVersionAnnotation] != source.ResourceVersion {
		return last
	}
	certain := copied.CreationTimestamp
	if certain.Before(source.LastChanged) {
		certain = *source.LastChanged
	}
	if certain.Before(&last) {
		return certain
	}
	return last
}

// written returns when a field at the top of an object was written last, and whether any manager
// that owns the field says so.
func written(object *metav1.ObjectMeta, field string) (last metav1.Time, known bool) {
	last = object.CreationTimestamp
	for _, entry := range object.ManagedFields {
		if entry.Time == nil || !owns(entry, field) {
			continue
		}
		if known = true; last.Before(entry.Time) {
			last = *entry.Time
		}
	}
	return last, known
}

// owns reports whether a manager owns a field at the top of the object.
func owns(entry metav1.ManagedFieldsEntry, field string) bool {
	if entry.FieldsV1 == nil || entry.Subresource != "" {
		return false
	}
	fields := map[string]json.RawMessage{}
	if json.Unmarshal(entry.FieldsV1.Raw, &fields) != nil {
		return false
	}
	_, owned := fields[field]
	return owned
}
