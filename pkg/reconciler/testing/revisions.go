// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package testing

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// RevisionOption changes a Revision under construction.
type RevisionOption func(*servingv1.Revision)

// NewRevision returns a Revision of the Service app with one container, whose image has a tag
// that is not resolved yet.
func NewRevision(namespace, name string, options ...RevisionOption) *servingv1.Revision {
	r := &servingv1.Revision{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: types.UID(namespace + "/" + name), ResourceVersion: "7",
		Labels: map[string]string{serving.ServiceLabelKey: "app"},
	}}
	r.Spec.Containers = []corev1.Container{{Name: "user-container", Image: "ghcr.io/acme/app:v1"}}
	for _, option := range options {
		option(r)
	}
	return r
}

// WithCreation sets when the Revision was created.
func WithCreation(at time.Time) RevisionOption {
	return func(r *servingv1.Revision) { r.CreationTimestamp = metav1.NewTime(at) }
}

// WithCondition sets a condition.
func WithCondition(kind apis.ConditionType, status corev1.ConditionStatus, reason, message string) RevisionOption {
	return func(r *servingv1.Revision) {
		for i := range r.Status.Conditions {
			if r.Status.Conditions[i].Type == kind {
				r.Status.Conditions = append(r.Status.Conditions[:i], r.Status.Conditions[i+1:]...)
				break
			}
		}
		r.Status.Conditions = append(r.Status.Conditions, apis.Condition{Type: kind, Status: status, Reason: reason, Message: message})
	}
}

// WithDigests makes so many digests known.
func WithDigests(n int) RevisionOption {
	return func(r *servingv1.Revision) { r.Status.ContainerStatuses = make([]servingv1.ContainerStatus, n) }
}

// WithRevisionPullSecrets sets the list of pull secrets.
func WithRevisionPullSecrets(names ...string) RevisionOption {
	return func(r *servingv1.Revision) { r.Spec.ImagePullSecrets = refs(names) }
}

// WithSidecar adds a container.
func WithSidecar(name, image string) RevisionOption {
	return func(r *servingv1.Revision) {
		r.Spec.Containers = append(r.Spec.Containers, corev1.Container{Name: name, Image: image})
	}
}
