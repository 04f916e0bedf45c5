// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package resources holds the decisions about the copies of a namespace and the objects
// and patches that are written, as functions without effects.
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

// Wanted is the desired state of a copy.
type Wanted struct {
	ClusterPullSecret *v1alpha1.ClusterPullSecret
	// Version is the source's resourceVersion in the ClusterPullSecret's status.
	Version string
	// Digest is the digest of the source's docker config.
	Digest string
}

// match compares a cached copy, whose data are digests (see pkg/trim), with its desired
// state. It returns Nothing if they are the same, Update if the copy can be updated in
// place, and Replace if it must be recreated.
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

// IsWritten reports whether a cached copy is the result of a write.
func IsWritten(copied *corev1.Secret, w Wanted) bool {
	return copied.DeletionTimestamp == nil && match(copied, w) == Nothing
}

// MakeCopy returns a new copy. It holds the docker config and nothing else of the source.
func MakeCopy(namespace string, w Wanted, config dockerconfig.Config) *corev1.Secret {
	made := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: grant.SecretName(w.ClusterPullSecret)},
		Type:       corev1.SecretTypeDockerConfigJson,
		Data:       map[string][]byte{corev1.DockerConfigJsonKey: config.Copy()},
	}
	grant.SetCopyMetadata(&made.ObjectMeta, w.ClusterPullSecret, w.Version)
	return made
}

// MakeUpdate returns the update of an existing copy. The API server rejects it if the
// resourceVersion has changed. Labels, annotations and finalizers of others are kept.
// Owner references are removed, because the copy would be deleted with its owner. If the
// Secret is adopted, the field managers that applied its data lose their ownership.
// Otherwise the next decision would disown it.
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

// MakeDisown returns the patch that makes a copy an ordinary Secret of its namespace: it
// removes our labels and annotations. Everything else is kept, including what
// spec.copyMetadata set, because a policy may require it. The API server rejects the
// patch if the resourceVersion has changed.
func MakeDisown(copied *corev1.Secret) string {
	annotations := fmt.Sprintf("%q:null", pullsecrets.SourceResourceVersionAnnotation)
	if _, recorded := copied.Annotations[pullsecrets.CopyMetadataAnnotation]; recorded {
		annotations += fmt.Sprintf(",%q:null", pullsecrets.CopyMetadataAnnotation)
	}
	return fmt.Sprintf(`{"metadata":{"resourceVersion":%q,"labels":{%q:null,%q:null},"annotations":{%s}}}`,
		copied.ResourceVersion, pullsecrets.ManagedByLabel, pullsecrets.ClusterPullSecretLabel, annotations)
}

// MakeRelease returns the patch that removes the finalizers of a copy that is being
// deleted, even if the copy has changed: a finalizer must not keep a credential, nor
// block the controller's copy.
func MakeRelease(copied *corev1.Secret) string {
	return fmt.Sprintf(`{"metadata":{"uid":%q,"finalizers":null}}`, copied.UID)
}
