// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package trim makes caches small: of each object, informers keep what the
// programs read.
package trim

import (
	"encoding/json"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/merge"
)

// Object is a transform for informers (cache.TransformFunc) of Services,
// Namespaces, ServiceAccounts and Secrets. Of the first three, what is cached is
// never written back, every write being a patch, so nothing is lost by it. A Secret
// that is cached is a copy of ours, and all of it is ours to write.
//
// An informer may hand in again what it got out, and does so with what it lists at
// the start: that stays as it is.
func Object(object any) (any, error) {
	if o, ok := object.(metav1.Object); ok && isTrimmed(o) {
		return object, nil
	}
	switch o := object.(type) {
	case *servingv1.Service:
		return trimService(o), nil
	case *corev1.Namespace:
		return &corev1.Namespace{ObjectMeta: trimMeta(o.ObjectMeta, o.Labels, whoDeclares)}, nil
	case *corev1.Secret:
		return trimSecret(o), nil
	case *corev1.ServiceAccount:
		t := &corev1.ServiceAccount{ObjectMeta: trimMeta(o.ObjectMeta, nil, nothing), ImagePullSecrets: o.ImagePullSecrets}
		markFull(&t.ObjectMeta, o.Annotations)
		return t, nil
	}
	return object, nil
}

// mark is in the place of the grace period of what is trimmed. No object on the API
// server has it: nobody but the API server sets grace periods, and none is negative.
const mark = -1

func isTrimmed(o metav1.Object) bool {
	period := o.GetDeletionGracePeriodSeconds()
	return period != nil && *period == mark
}

// full marks a trimmed Service or ServiceAccount whose annotations had no room for
// a ledger. No object on the API server has it.
const full = "trim." + pullsecrets.GroupName + "/full"

// IsFull tells whether the annotations of a Service or a ServiceAccount have no room
// for a ledger, also where they have been trimmed.
func IsFull(o metav1.Object) bool {
	_, marked := o.GetAnnotations()[full]
	return marked || !merge.HasRoom(o.GetAnnotations())
}

func markFull(trimmed *metav1.ObjectMeta, annotations map[string]string) {
	if !merge.HasRoom(annotations) {
		metav1.SetMetaDataAnnotation(trimmed, full, "")
	}
}

func trimService(o *servingv1.Service) *servingv1.Service {
	t := &servingv1.Service{ObjectMeta: trimMeta(o.ObjectMeta, nil, ownersOfList)}
	markFull(&t.ObjectMeta, o.Annotations)
	t.Generation = o.Generation
	t.Spec.Template.Name = o.Spec.Template.Name
	spec, from := &t.Spec.Template.Spec, &o.Spec.Template.Spec
	spec.ServiceAccountName = from.ServiceAccountName
	spec.ImagePullSecrets = from.ImagePullSecrets
	spec.Containers, spec.InitContainers = images(from.Containers), images(from.InitContainers)
	t.Status.ObservedGeneration = o.Status.ObservedGeneration
	t.Status.Conditions = o.Status.Conditions
	t.Status.LatestReadyRevisionName = o.Status.LatestReadyRevisionName
	t.Status.LatestCreatedRevisionName = o.Status.LatestCreatedRevisionName
	return t
}

// trimSecret keeps digests in the place of the data: no credential stays in a
// cache. Applied configurations go, because they may hold one too.
func trimSecret(o *corev1.Secret) *corev1.Secret {
	t := &corev1.Secret{ObjectMeta: *o.ObjectMeta.DeepCopy(), Type: o.Type, Immutable: o.Immutable}
	t.ManagedFields, t.DeletionGracePeriodSeconds = nil, new(int64(mark))
	delete(t.Annotations, corev1.LastAppliedConfigAnnotation)
	for key, value := range o.Data {
		if t.Data == nil {
			t.Data = make(map[string][]byte, len(o.Data))
		}
		t.Data[key] = []byte(dockerconfig.DigestOf(value))
	}
	return t
}

func images(containers []corev1.Container) []corev1.Container {
	var trimmed []corev1.Container
	for _, c := range containers {
		trimmed = append(trimmed, corev1.Container{Image: c.Image})
	}
	return trimmed
}

func trimMeta(o metav1.ObjectMeta, labels map[string]string, managed func(metav1.ManagedFieldsEntry) *metav1.ManagedFieldsEntry) metav1.ObjectMeta {
	t := metav1.ObjectMeta{
		Name: o.Name, Namespace: o.Namespace, UID: o.UID, ResourceVersion: o.ResourceVersion,
		DeletionTimestamp: o.DeletionTimestamp, DeletionGracePeriodSeconds: new(int64(mark)), Labels: labels,
	}
	for key, value := range o.Annotations {
		switch key {
		case pullsecrets.SecretsAnnotation, pullsecrets.InjectAnnotation, pullsecrets.ServiceAccountsAnnotation,
			pullsecrets.AddedAnnotation, serving.UpdaterAnnotation, merge.EnforceMountableSecrets:
		case corev1.LastAppliedConfigAnnotation:
			if value = trimApplied(value); value == "" {
				continue
			}
		default:
			continue
		}
		if t.Annotations == nil {
			t.Annotations = make(map[string]string)
		}
		t.Annotations[key] = value
	}
	for _, entry := range o.ManagedFields {
		if kept := managed(entry); kept != nil {
			t.ManagedFields = append(t.ManagedFields, *kept)
		}
	}
	return t
}

// trimApplied keeps the pull secrets of a last-applied-configuration.
func trimApplied(text string) string {
	if !strings.Contains(text, `"imagePullSecrets"`) {
		return ""
	}
	type list = []corev1.LocalObjectReference
	var applied struct {
		ImagePullSecrets list `json:"imagePullSecrets,omitempty"`
		Spec             struct {
			Template struct {
				Spec struct {
					ImagePullSecrets list `json:"imagePullSecrets,omitempty"`
				} `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	if json.Unmarshal([]byte(text), &applied) != nil {
		return ""
	}
	trimmed, err := json.Marshal(applied)
	if err != nil {
		return ""
	}
	return string(trimmed)
}

// whoDeclares keeps the entries of those who wrote our annotations or labels on a
// Namespace, and when. Others write to Namespaces for reasons of their own.
func whoDeclares(entry metav1.ManagedFieldsEntry) *metav1.ManagedFieldsEntry {
	if entry.FieldsV1 == nil || !strings.Contains(string(entry.FieldsV1.Raw), `"f:`+pullsecrets.GroupName+`/`) {
		return nil
	}
	return whoAndWhen(entry)
}

// whoAndWhen keeps an entry without its fields.
func whoAndWhen(entry metav1.ManagedFieldsEntry) *metav1.ManagedFieldsEntry {
	entry.FieldsV1 = nil
	return &entry
}

// ownersOfList keeps the entries of those who own an item of the list, with
// that part of their fields, and when everybody wrote last, statuses apart.
func ownersOfList(entry metav1.ManagedFieldsEntry) *metav1.ManagedFieldsEntry {
	if entry.Subresource != "" {
		return nil
	}
	if entry.Manager == pullsecrets.FieldManager || entry.FieldsV1 == nil ||
		!strings.Contains(string(entry.FieldsV1.Raw), `"f:imagePullSecrets"`) {
		return whoAndWhen(entry)
	}
	type fields struct {
		Spec struct {
			Template struct {
				Spec struct {
					ImagePullSecrets json.RawMessage `json:"f:imagePullSecrets,omitempty"`
				} `json:"f:spec"`
			} `json:"f:template"`
		} `json:"f:spec"`
	}
	var owned fields
	if json.Unmarshal(entry.FieldsV1.Raw, &owned) != nil {
		return nil
	}
	raw, err := json.Marshal(owned)
	if err != nil {
		return nil
	}
	entry.FieldsV1 = &metav1.FieldsV1{Raw: raw}
	return &entry
}

func nothing(metav1.ManagedFieldsEntry) *metav1.ManagedFieldsEntry { return nil }
