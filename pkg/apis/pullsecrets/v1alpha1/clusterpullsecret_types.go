// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/kmeta"
)

// ClusterPullSecret keeps a registry credential in one place and grants it to
// namespaces. Where it is granted and asked for, a copy of the source Secret
// is created. It follows every rotation of the source, and is removed when the
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
// +kubebuilder:printcolumn:name="Expires",type=string,priority=1,JSONPath=`.status.expires`
// +kubebuilder:printcolumn:name="Secret",type=string,priority=1,JSONPath=`.spec.secretName`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="metadata.name must be no more than 63 characters, because copies carry it as a label"
// +kubebuilder:validation:XValidation:rule="has(self.spec.secretName) ? (has(oldSelf.spec.secretName) ? self.spec.secretName == oldSelf.spec.secretName : self.spec.secretName == self.metadata.name) : (!has(oldSelf.spec.secretName) || oldSelf.spec.secretName == self.metadata.name)",message="secretName is immutable; create a new ClusterPullSecret with the new name, and delete this one when nothing refers to its copies",fieldPath=".spec.secretName"
type ClusterPullSecret struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec defines which credential is granted, and to which namespaces.
	Spec ClusterPullSecretSpec `json:"spec"`

	// Status is the observed state of the copies.
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

// ClusterPullSecretSpec defines which credential is granted, and to which namespaces.
type ClusterPullSecretSpec struct {
	// SecretRef is the source: the Secret that contains the credential. Its
	// type is kubernetes.io/dockerconfigjson (or the older
	// kubernetes.io/dockercfg), and it is in one of the namespaces that the
	// installation allows for sources.
	SecretRef SecretReference `json:"secretRef"`

	// NamespaceSelector selects the namespaces that may use the credential; {}
	// selects every namespace. This is the authorization: an annotation in a
	// namespace that is not selected never creates a copy. Select by labels that
	// tenants cannot set, or by kubernetes.io/metadata.name.
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector"`

	// SecretName is the name of the copies, which annotations refer to. It
	// defaults to the name of the ClusterPullSecret. It is immutable, because
	// Revisions reference the copies by name.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	SecretName string `json:"secretName,omitempty"`

	// Registries, if set, restricts the copies to these registries or paths of
	// the source: host[:port][/path], without scheme, wildcard or tag. They are
	// the keys of the copies, so that a source for a host becomes a credential
	// for a path. Of several credentials for one host, Knative's tag resolution
	// tries only the one with the longest matching path. The source must cover
	// each of them. A path matches as a prefix, character by character: acme
	// matches acme-tools too, and acme/ does not.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=255
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*/?$`
	Registries []string `json:"registries,omitempty"`

	// Verify, if set, tries the credential out: before a changed credential
	// replaces copies, and at intervals. It sends requests to the registries
	// of the source, as Knative's tag resolution does.
	// +optional
	Verify *Verify `json:"verify,omitempty"`

	// CopyMetadata has labels and annotations for the copies, for example those
	// that a policy requires or that a GitOps tool needs to ignore them.
	// +optional
	CopyMetadata *CopyMetadata `json:"copyMetadata,omitempty"`

	// Always, if set, creates a copy in every selected namespace. If it is not
	// set, a copy is created only where an annotation requests it.
	// +optional
	Always *Always `json:"always,omitempty"`

	// DeletionPolicy defines what happens to the copies when the
	// ClusterPullSecret is deleted: Delete (the default) removes them, Retain
	// keeps them as ordinary Secrets.
	// +optional
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// SecretReference names a Secret.
type SecretReference struct {
	// Namespace of the Secret. It must not be pullsecrets-system.
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

// CopyMetadata has labels and annotations that copies get in addition to the
// controller's own. Keys of the controller, of Kubernetes and of Helm are rejected,
// because they define who owns a Secret.
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

// Verify defines how a credential is tried out.
type Verify struct {
	// Images to request. The source must cover them. If it is empty, images of
	// Services in the selected namespaces are requested that the source covers.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:items:Pattern=`^\S+$`
	Images []string `json:"images,omitempty"`

	// Interval between two checks of the same credential, at least 1m. It
	// defaults to 6h. Each delay is up to a tenth longer, so that checks of
	// several ClusterPullSecrets spread out.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1m')",message="must be at least 1m"
	Interval *metav1.Duration `json:"interval,omitempty"`
}

// DefaultVerifyInterval is the default of Verify.Interval.
const DefaultVerifyInterval = 6 * time.Hour

// MinVerifyInterval is the least Verify.Interval.
const MinVerifyInterval = time.Minute

// Always defines what happens in every selected namespace, without an
// annotation.
type Always struct {
	// Services, if true, adds the copy to the pull secrets of every Service in
	// the selected namespaces.
	// +optional
	Services bool `json:"services,omitempty"`

	// ServiceAccounts are the names of the ServiceAccounts in the selected
	// namespaces that get the copy in their imagePullSecrets; "*" selects all
	// of them.
	// +optional
	// +listType=set
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)$`
	ServiceAccounts []string `json:"serviceAccounts,omitempty"`
}

// AllServiceAccounts is the item of Always.ServiceAccounts that selects every
// ServiceAccount.
const AllServiceAccounts = "*"

// DeletionPolicy defines what happens to the copies of a deleted
// ClusterPullSecret.
// +kubebuilder:validation:Enum=Delete;Retain
type DeletionPolicy string

const (
	// DeletionPolicyDelete removes the copies.
	DeletionPolicyDelete DeletionPolicy = "Delete"

	// DeletionPolicyRetain keeps the copies as ordinary Secrets.
	DeletionPolicyRetain DeletionPolicy = "Retain"
)

const (
	// ClusterPullSecretConditionReady is true when the source is valid and
	// every managed copy is up to date.
	ClusterPullSecretConditionReady = apis.ConditionReady

	// ClusterPullSecretConditionSourceReady is true when the source is allowed,
	// exists, and is a valid docker config.
	ClusterPullSecretConditionSourceReady apis.ConditionType = "SourceReady"

	// ClusterPullSecretConditionDistributed is true when every wanted copy
	// holds the data of the source. A copy that a tenant can prevent (by an own
	// Secret with that name or a quota) is counted, and does not make it false.
	ClusterPullSecretConditionDistributed apis.ConditionType = "Distributed"

	// ClusterPullSecretConditionCredentialAccepted is present if spec.verify is
	// set. It is false when a registry rejects the credential, and unknown when
	// it was not checked or a registry did not say. Only the status False of a
	// changed credential holds up its distribution, see SourceReady.
	ClusterPullSecretConditionCredentialAccepted apis.ConditionType = "CredentialAccepted"
)

// ClusterPullSecretStatus is the observed state of the source and its copies. It
// never contains a credential.
type ClusterPullSecretStatus struct {
	duckv1.Status `json:",inline"`

	// Source is what was last read from the source Secret. It is absent until
	// the source was valid once.
	// +optional
	Source *SourceStatus `json:"source,omitempty"`

	// Registries are the hosts (and paths) that the source has credentials
	// for.
	// +optional
	// +listType=atomic
	Registries []string `json:"registries,omitempty"`

	// Expires is when the first credential of the copies expires, as far as it
	// can be known: by the credential itself, or by the annotation
	// pullsecrets.dev/expires of the source.
	// +optional
	Expires *metav1.Time `json:"expires,omitempty"`

	// Namespaces counts the namespaces by the state of their copy.
	// +optional
	Namespaces *NamespaceCounts `json:"namespaces,omitempty"`

	// Failures lists at most 10 namespaces without an up-to-date copy; the
	// counts include all of them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	Failures []NamespaceFailure `json:"failures,omitempty"`
}

// SourceStatus is what was last read from a source Secret.
type SourceStatus struct {
	// ResourceVersion of the source Secret that the copies are created from.
	ResourceVersion string `json:"resourceVersion"`

	// LastChanged is when a change of the credential was last observed.
	// +optional
	LastChanged *metav1.Time `json:"lastChanged,omitempty"`
}

// NamespaceCounts counts namespaces by the state of their copy.
type NamespaceCounts struct {
	// Selected namespaces may have a copy.
	Selected int32 `json:"selected"`

	// Wanted namespaces are selected and request a copy.
	Wanted int32 `json:"wanted"`

	// Synced namespaces are wanted and have an up-to-date copy.
	Synced int32 `json:"synced"`

	// Conflicted namespaces have a Secret with that name that is not managed.
	// It is not changed.
	Conflicted int32 `json:"conflicted"`

	// Failed namespaces are those where the copy could not be written.
	Failed int32 `json:"failed"`

	// Summary is synced and wanted as the column SYNCED shows them, such as
	// 11/12. It is a separate field because a printed column can only show one
	// field.
	// +optional
	Summary string `json:"summary,omitempty"`
}

// NamespaceFailure is the reason why a namespace has no up-to-date copy.
type NamespaceFailure struct {
	// Namespace without an up-to-date copy.
	Namespace string `json:"namespace"`

	// Reason in one word, such as NameConflict.
	Reason string `json:"reason"`

	// Message is a human-readable explanation.
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
