// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package resources decides what becomes of the copies of a namespace and makes what is
// written, without effects.
package resources

import (
	"fmt"

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

// match compares a cached copy, in which digests stand for the data (see pkg/trim),
// with what it should be. It returns nothing where they are the same, Update where it
// can be written in place and keeps its UID, and Replace where it has to be made anew.
func match(copied *corev1.Secret, w Wanted) Verb {
	switch {
	case copied.Type != corev1.SecretTypeDockerConfigJson, copied.Immutable != nil && *copied.Immutable:
		return Replace
	case string(copied.Data[corev1.DockerConfigJsonKey]) != w.Digest, len(copied.Data) != 1, len(copied.OwnerReferences) > 0,
		!grant.HasCopyMetadata(&copied.ObjectMeta, w.ClusterPullSecret, w.Version):
		return Update
	}
	return Nothing
}

// IsWritten reports whether a cached copy is what a write has made of it.
func IsWritten(copied *corev1.Secret, w Wanted) bool {
	return copied.DeletionTimestamp == nil && match(copied, w) == Nothing
}

// MakeCopy makes a copy. It holds the docker config alone and nothing else of the
// source.
func MakeCopy(namespace string, w Wanted, config dockerconfig.Config) *corev1.Secret {
	made := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: grant.SecretName(w.ClusterPullSecret)},
		Type:       corev1.SecretTypeDockerConfigJson,
		Data:       map[string][]byte{corev1.DockerConfigJsonKey: config.Copy()},
	}
	grant.SetCopyMetadata(&made.ObjectMeta, w.ClusterPullSecret, w.Version)
	return made
}

// MakeUpdate makes the update of an existing copy, to be refused where the copy has
// changed meanwhile. Labels, annotations and finalizers of others stay; owners go,
// because a copy has none and would be deleted with one. What adopts a Secret takes it
// from who has kept it in a manifest, lest the next decision gives it back.
func MakeUpdate(copied *corev1.Secret, w Wanted, config dockerconfig.Config) *corev1.Secret {
	updated := MakeCopy(copied.Namespace, w, config)
	updated.Labels, updated.Annotations = copied.Labels, copied.Annotations
	grant.SetCopyMetadata(&updated.ObjectMeta, w.ClusterPullSecret, w.Version)
	if _, wasCopy := copied.Annotations[pullsecrets.SourceResourceVersionAnnotation]; !wasCopy && grant.KeptBy(&copied.ObjectMeta) != "" {
		grant.Disown(&updated.ObjectMeta)
	}
	updated.UID, updated.ResourceVersion, updated.Finalizers = copied.UID, copied.ResourceVersion, copied.Finalizers
	return updated
}

// MakeLetGo makes the patch by which a Secret becomes its namespace's own: our labels
// and annotations go, and all else stays, what spec.copyMetadata put there included,
// because a policy may demand it. It is refused where the Secret has changed meanwhile.
func MakeLetGo(copied *corev1.Secret) string {
	annotations := fmt.Sprintf("%q:null", pullsecrets.SourceResourceVersionAnnotation)
	if _, recorded := copied.Annotations[pullsecrets.CopyMetadataAnnotation]; recorded {
		annotations += fmt.Sprintf(",%q:null", pullsecrets.CopyMetadataAnnotation)
	}
	return fmt.Sprintf(`{"metadata":{"resourceVersion":%q,"labels":{%q:null,%q:null},"annotations":{%s}}}`,
		copied.ResourceVersion, pullsecrets.ManagedByLabel, pullsecrets.ClusterPullSecretLabel, annotations)
}

// MakeRelease makes the patch that takes off the finalizers of a deleted copy, whatever
// has become of it: nobody may hold a credential, or the platform's object, by one.
func MakeRelease(copied *corev1.Secret) string {
	return fmt.Sprintf(`{"metadata":{"uid":%q,"finalizers":null}}`, copied.UID)
}
