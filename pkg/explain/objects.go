// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/coverage"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/merge"
)

// Settings are those of the installation and of Knative.
type Settings struct {
	Config *config.Config
	Images grant.ImageSettings
	// Offered are all ClusterPullSecrets. OfferedUnknown means that they could not be read,
	// and NotInstalled that the cluster does not have their kind.
	Offered        []*v1alpha1.ClusterPullSecret
	OfferedUnknown bool
	NotInstalled   bool
}

// Secret is what was read of a Secret. It holds no credential.
type Secret struct {
	coverage.Secret
	// Owner is the ClusterPullSecret of a copy, or empty.
	Owner string
	// Replaceable is what the command of a finding may replace in it, see [ReplaceableOf].
	Replaceable Replaceable
	// Updatable means that its content can be replaced in place, see [UpdatableOf].
	Updatable bool
	// Written is the part of the metadata that says when it was written, see [WrittenOf].
	Written metav1.ObjectMeta
}

// Replaceable is what the command of a finding may replace in a Secret. The zero value is nothing.
type Replaceable struct {
	// OK means that nothing but one credential is lost if a command writes another one.
	OK bool
	// Key is the key of that credential as it is written, which the command keeps: with another
	// path or host, the credential would be used for other images than before. It is empty if the
	// Secret holds no credential yet.
	Key string
}

// ReplaceableOf returns what a command may replace in a Secret. Such a command sets the docker config
// of a pull secret, and keeps all else. A Secret of another type is created again, which keeps
// nothing. In the older format, the docker config has another key.
func ReplaceableOf(secret *corev1.Secret) Replaceable {
	keys, ok := dockerconfig.Keys(secret.Data[corev1.DockerConfigJsonKey])
	switch {
	case !ok, len(keys) > 1, slices.Contains(keys, ""), secret.Type == corev1.SecretTypeDockercfg:
		return Replaceable{}
	case secret.Type != corev1.SecretTypeDockerConfigJson && !isBare(secret):
		return Replaceable{}
	case len(keys) == 0:
		return Replaceable{OK: true}
	}
	return Replaceable{OK: true, Key: keys[0]}
}

// isBare reports whether a Secret has nothing but a docker config.
func isBare(secret *corev1.Secret) bool {
	for key := range secret.Data {
		if key != corev1.DockerConfigJsonKey {
			return false
		}
	}
	return len(secret.Labels)+len(secret.Annotations)+len(secret.OwnerReferences)+len(secret.Finalizers) == 0
}

// UpdatableOf reports whether the controller can make a Secret a copy by an update. The API server
// rejects that for an immutable one or another type, so such a Secret is deleted and created again.
func UpdatableOf(secret *corev1.Secret) bool {
	return secret.Type == corev1.SecretTypeDockerConfigJson && (secret.Immutable == nil || !*secret.Immutable)
}

// WrittenOf returns the part of a Secret's metadata that says when it was written, and of a copy
// from which version of the source. Other annotations may hold the credential.
func WrittenOf(secret *metav1.ObjectMeta) metav1.ObjectMeta {
	written := metav1.ObjectMeta{CreationTimestamp: secret.CreationTimestamp, ManagedFields: secret.ManagedFields}
	if version, has := secret.Annotations[pullsecrets.SourceResourceVersionAnnotation]; has {
		written.Annotations = map[string]string{pullsecrets.SourceResourceVersionAnnotation: version}
	}
	return written
}

// Objects are what an explanation of a Service depends on.
type Objects struct {
	Settings
	Service *servingv1.Service
	// Namespace is nil if it could not be read.
	Namespace *corev1.Namespace
	// Account is the ServiceAccount, or nil. AccountUnknown means that it could not be read.
	Account        *corev1.ServiceAccount
	AccountUnknown bool
	// Accounts are the ServiceAccounts of earlier Revisions that have another one, by name, or nil
	// if one does not exist. One that is not here could not be read.
	Accounts map[string]*corev1.ServiceAccount
	// Secrets are those of the namespace that were read, and names that do not exist.
	Secrets map[string]Secret
	// Revisions are those of the Service.
	Revisions []*servingv1.Revision
	// Pods are those of the Service that exist now.
	Pods []*corev1.Pod
	// Events are those of the Service and of its Namespace.
	Events []corev1.Event
	Unread []Unread
	Now    metav1.Time
}

// name returns how messages name a namespaced object.
func name(kind, namespace, object string) string { return kind + " " + namespace + "/" + object }

// service returns how findings name the Service.
func (o *Objects) service() string { return name("Service", o.Service.Namespace, o.Service.Name) }

// newest returns the newest Revision, or nil.
func (o *Objects) newest() *servingv1.Revision {
	for _, revision := range o.Revisions {
		if revision.Name == o.Service.Status.LatestCreatedRevisionName {
			return revision
		}
	}
	return nil
}

// copied returns the ClusterPullSecret whose copy has a name in the namespace, or nil.
func copied(granted grant.Grants, namespace, secret string) *v1alpha1.ClusterPullSecret {
	cps := granted.Named(secret)
	if cps == nil || grant.IsSource(cps, namespace, secret) {
		return nil
	}
	return cps
}

// Names returns the names of all Secrets that matter for the Service: those of its list, of the
// ServiceAccount, and those that are declared.
func (o *Objects) Names() []string {
	names := merge.NamesOf(o.Service.Spec.Template.Spec.ImagePullSecrets)
	if o.Account != nil {
		names = append(names, merge.NamesOf(o.Account.ImagePullSecrets)...)
	}
	names = append(names, annotation.ForService(o.Service.Annotations).Secrets...)
	if o.Namespace == nil {
		return names
	}
	names = append(names, annotation.ForNamespace(o.Namespace.Annotations).Secrets...)
	for _, cps := range grant.NewCatalog(o.Offered).For(o.Namespace.Labels).Serving {
		names = append(names, grant.SecretName(cps))
	}
	return names
}
