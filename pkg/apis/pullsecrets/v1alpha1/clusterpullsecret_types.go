// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/kmeta"
)

// ClusterPullSecret keeps a registry credential in one place and grants it to
// namespaces. Where it is granted and asked for, a copy of the source Secret
// is made, follows every rotation of the source, and is taken away when the
// grant ends.
//
// +genclient
// +genclient:nonNamespaced
// +genreconciler
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=clusterpullsecrets,scope=Cluster,shortName=cps,categories=knative;pullsecrets
// +kubebuilder:metadata:labels="app.kubernetes.io/name=pullsecrets"
// +kubebuilder:metadata:labels="app.kubernetes.io/component=api"
// +kubebuilder:metadata:labels="app.kubernetes.io/version=devel"
// +kubebuilder:metadata:labels="knative.dev/crd-install=true"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].reason`
// +kubebuilder:printcolumn:name="Source",type=string,JSONPath=`.spec.secretRef.name`
// +kubebuilder:printcolumn:name="Source Namespace",type=string,priority=1,JSONPath=`.spec.secretRef.namespace`
// +kubebuilder:printcolumn:name="Registries",type=string,JSONPath=`.status.registries`
// +kubebuilder:printcolumn:name="Synced",type=string,JSONPath=`.status.namespaces.summary`
// +kubebuilder:printcolumn:name="Secret",type=string,priority=1,JSONPath=`.spec.secretName`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="metadata.name must be no more than 63 characters, because copies carry it as a label"
// +kubebuilder:validation:XValidation:rule="has(self.spec.secretName) ? (has(oldSelf.spec.secretName) ? self.spec.secretName == oldSelf.spec.secretName : self.spec.secretName == self.metadata.name) : (!has(oldSelf.spec.secretName) || oldSelf.spec.secretName == self.metadata.name)",message="secretName is immutable; create a new ClusterPullSecret with the new name, and delete this one when nothing refers to its copies",fieldPath=".spec.secretName"
type ClusterPullSecret struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says which credential is granted, and to whom.
	Spec ClusterPullSecretSpec `json:"spec"`

	// Status says how far the grant has been carried out.
	// +optional
	Status ClusterPullSecretStatus `json:"status,omitempty"`
}

var (
	// The webhook defaults and validates the type.
	_ apis.Defaultable = (*ClusterPullSecret)(nil)
	_ apis.Validatable = (*ClusterPullSecret)(nil)

	// The generated reconciler manages its conditions.
	_ duckv1.KRShaped = (*ClusterPullSecret)(nil)

	// Owner references and Events need its kind.
	_ kmeta.OwnerRefable = (*ClusterPullSecret)(nil)
)

// ClusterPullSecretSpec says which credential is granted, and to whom.
type ClusterPullSecretSpec struct {
	// SecretRef is the source: the one Secret where the credential lives. It
	// is of type kubernetes.io/dockerconfigjson (or the older
	// kubernetes.io/dockercfg), and in one of the namespaces that the
	// installation allows for sources.
	SecretRef SecretReference `json:"secretRef"`

	// NamespaceSelector says which namespaces may have the credential; {} is
	// every namespace. This is the authorization: an annotation in a namespace
	// that is not selected never yields a copy. Select by labels that tenants
	// cannot set, or by kubernetes.io/metadata.name.
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector"`

	// SecretName is the name of the copies, and what annotations use. It
	// defaults to the name of the ClusterPullSecret. It is immutable, because
	// Revisions refer to the copies by it: a new name is a new ClusterPullSecret.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	SecretName string `json:"secretName,omitempty"`

	// CopyMetadata has labels and annotations for the copies, such as those that
	// a policy demands or by which a GitOps tool ignores them.
	// +optional
	CopyMetadata *CopyMetadata `json:"copyMetadata,omitempty"`

	// Always, when present, puts a copy into every selected namespace. When
	// absent, a copy is made only where an annotation asks for it.
	// +optional
	Always *Always `json:"always,omitempty"`

	// DeletionPolicy says what becomes of the copies when the
	// ClusterPullSecret is deleted: Delete (the default) takes them away,
	// Retain leaves them behind as ordinary Secrets.
	// +optional
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// SecretReference names a Secret.
type SecretReference struct {
	// Namespace of the Secret. It may not be pullsecrets-system.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +kubebuilder:validation:XValidation:rule="self != 'pullsecrets-system'",message="a source must not be in the namespace of the installation"
	Namespace string `json:"namespace"`

	// Name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	Name string `json:"name"`
}

// CopyMetadata is what copies carry beside the controller's own labels and
// annotations. Keys of the controller, of Kubernetes and of Helm are rejected: they
// say whose a Secret is.
type CopyMetadata struct {
	// Labels of the copies.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(key, !key.matches('^([^/]*[.])?(kubernetes[.]io|k8s[.]io|pullsecrets[.]dev)/|^meta[.]helm[.]sh/'))",message="keys under pullsecrets.dev/, kubernetes.io/, k8s.io/ and meta.helm.sh/ are reserved"
	Labels map[string]string `json:"labels,omitempty"`

	// Annotations of the copies.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(key, !key.matches('^([^/]*[.])?(kubernetes[.]io|k8s[.]io|pullsecrets[.]dev)/|^meta[.]helm[.]sh/'))",message="keys under pullsecrets.dev/, kubernetes.io/, k8s.io/ and meta.helm.sh/ are reserved"
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Always says what happens in every selected namespace, without any
// annotation there.
type Always struct {
	// Services, when true, puts the copy's name into every Service of the
	// selected namespaces.
	// +optional
	Services bool `json:"services,omitempty"`

	// ServiceAccounts names the ServiceAccounts of the selected namespaces
	// that get the copy's name into their imagePullSecrets; "*" is all of
	// them.
	// +optional
	// +listType=set
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)$`
	ServiceAccounts []string `json:"serviceAccounts,omitempty"`
}

// AllServiceAccounts is the item of Always.ServiceAccounts that stands for
// every ServiceAccount.
const AllServiceAccounts = "*"

// DeletionPolicy says what becomes of the copies of a deleted
// ClusterPullSecret.
// +kubebuilder:validation:Enum=Delete;Retain
type DeletionPolicy string

const (
	// DeletionPolicyDelete takes the copies away.
	DeletionPolicyDelete DeletionPolicy = "Delete"

	// DeletionPolicyRetain leaves the copies behind as ordinary Secrets.
	DeletionPolicyRetain DeletionPolicy = "Retain"
)

const (
	// ClusterPullSecretConditionReady is true when the source is good and
	// every copy that is ours to make is up to date.
	ClusterPullSecretConditionReady = apis.ConditionReady

	// ClusterPullSecretConditionSourceReady is true when the source may be
	// used, exists, and is a well-formed docker config.
	ClusterPullSecretConditionSourceReady apis.ConditionType = "SourceReady"

	// ClusterPullSecretConditionDistributed is true when every wanted copy
	// holds what the source holds. What a tenant can prevent (a Secret of
	// their own under that name, a quota) is counted, and does not make it
	// false.
	ClusterPullSecretConditionDistributed apis.ConditionType = "Distributed"
)

// ClusterPullSecretStatus says how far a grant has been carried out. It never
// holds a credential.
type ClusterPullSecretStatus struct {
	duckv1.Status `json:",inline"`

	// Source is what was last read from the source Secret. It is absent until
	// a good source was seen once.
	// +optional
	Source *SourceStatus `json:"source,omitempty"`

	// Registries are the hosts (and paths) that the source has credentials
	// for.
	// +optional
	// +listType=atomic
	Registries []string `json:"registries,omitempty"`

	// Namespaces counts the namespaces by what became of their copy.
	// +optional
	Namespaces *NamespaceCounts `json:"namespaces,omitempty"`

	// Failures lists namespaces without an up-to-date copy, at most 10 of
	// them; the counts tell how many there are in all.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	Failures []NamespaceFailure `json:"failures,omitempty"`
}

// SourceStatus is what was last read from a source Secret.
type SourceStatus struct {
	// ResourceVersion of the source Secret that the copies are made from.
	ResourceVersion string `json:"resourceVersion"`

	// LastChanged is when the credential was last seen to change.
	// +optional
	LastChanged *metav1.Time `json:"lastChanged,omitempty"`
}

// NamespaceCounts counts namespaces by what became of their copy.
type NamespaceCounts struct {
	// Selected namespaces may have a copy.
	Selected int32 `json:"selected"`

	// Wanted namespaces are selected and asked for: each shall have a copy.
	Wanted int32 `json:"wanted"`

	// Synced namespaces are wanted and hold an up-to-date copy.
	Synced int32 `json:"synced"`

	// Conflicted namespaces hold a Secret of that name that is not ours. It is
	// left alone.
	Conflicted int32 `json:"conflicted"`

	// Failed namespaces could not be given a copy.
	Failed int32 `json:"failed"`

	// Summary is synced and wanted as "kubectl get cps" shows them, such as
	// 11/12. It is a field of its own because a printed column can show no
	// more than one field.
	// +optional
	Summary string `json:"summary,omitempty"`
}

// NamespaceFailure tells why one namespace has no up-to-date copy.
type NamespaceFailure struct {
	// Namespace that it happened in.
	Namespace string `json:"namespace"`

	// Reason in one word, such as NameConflict.
	Reason string `json:"reason"`

	// Message says what happened in a sentence.
	// +optional
	Message string `json:"message,omitempty"`
}

// ClusterPullSecretList is a list of ClusterPullSecrets.
//
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:object:root=true
type ClusterPullSecretList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterPullSecret `json:"items"`
}
