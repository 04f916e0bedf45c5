// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package resources makes the copies of a namespace and judges existing ones,
// without effects.
package resources

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/grant"
)

// Wanted is what a copy should be.
type Wanted struct {
	ClusterPullSecret *v1alpha1.ClusterPullSecret
	// Version is the source's resourceVersion in the ClusterPullSecret's status.
	Version string
	// Digest is that of the source's config.
	Digest string
}

// Verdict is what becomes of a copy.
type Verdict string

const (
	// Good: it is what it should be.
	Good Verdict = "Good"
	// Update: it is written in place, and keeps its UID.
	Update Verdict = "Update"
	// Replace: it cannot be written in place and is made anew.
	Replace Verdict = "Replace"
)

// Judge compares a cached copy, in which digests stand for the data (see
// pkg/trim), with what it should be.
func Judge(copied *corev1.Secret, w Wanted) Verdict {
	switch {
	case copied.Type != corev1.SecretTypeDockerConfigJson, copied.Immutable != nil && *copied.Immutable:
		return Replace
	case string(copied.Data[corev1.DockerConfigJsonKey]) != w.Digest, len(copied.Data) != 1,
		copied.Labels[pullsecrets.ClusterPullSecretLabel] != w.ClusterPullSecret.Name,
		copied.Annotations[pullsecrets.SourceResourceVersionAnnotation] != w.Version,
		len(copied.OwnerReferences) > 0:
		return Update
	}
	return Good
}

// MakeCopy makes a copy. It holds the docker config alone and nothing else of the
// source.
func MakeCopy(namespace string, w Wanted, config dockerconfig.Config) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:   namespace,
			Name:        grant.SecretName(w.ClusterPullSecret),
			Labels:      grant.CopyLabels(w.ClusterPullSecret.Name),
			Annotations: map[string]string{pullsecrets.SourceResourceVersionAnnotation: w.Version},
		},
		Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: config.Copy()},
	}
}

// MakeUpdate makes the update of an existing copy, to be refused where the copy has
// changed meanwhile. Labels, annotations and finalizers of others stay; owners go,
// because a copy has none and would be deleted with one.
func MakeUpdate(copied *corev1.Secret, w Wanted, config dockerconfig.Config) *corev1.Secret {
	updated := MakeCopy(copied.Namespace, w, config)
	labels, annotations := maps.Clone(copied.Labels), maps.Clone(copied.Annotations)
	if labels == nil {
		labels = map[string]string{}
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	maps.Copy(labels, updated.Labels)
	maps.Copy(annotations, updated.Annotations)
	updated.Labels, updated.Annotations = labels, annotations
	updated.UID, updated.ResourceVersion, updated.Finalizers = copied.UID, copied.ResourceVersion, copied.Finalizers
	return updated
}
