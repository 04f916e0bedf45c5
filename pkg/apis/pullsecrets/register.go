// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package pullsecrets has the names that users and other programs rely on: the API group, and
// the annotation, label and finalizer keys on objects. They are in one place because each is
// API: users write them into manifests and policies.
package pullsecrets

const (
	// GroupName is the API group of ClusterPullSecret.
	GroupName = "pullsecrets.dev"

	// SystemNamespace is the namespace of the controller and the webhook. It must not
	// contain sources, so that people who manage credentials need no access to the
	// webhook's key.
	SystemNamespace = "pullsecrets-system"

	// ControllerUser is the user name of the controller.
	ControllerUser = "system:serviceaccount:" + SystemNamespace + ":controller"

	// SourcesNamespace contains the sources unless the configuration names other
	// namespaces. No Pods run there.
	SourcesNamespace = "pullsecrets-sources"

	// FieldManager is the field manager of every write of the controller, so that
	// managedFields distinguish our entries from those of other writers.
	FieldManager = "pullsecrets"
)

// Annotations that users write.
const (
	// SecretsAnnotation, on a Namespace or a Service, declares pull secrets for Services:
	// Secret names, separated by commas.
	SecretsAnnotation = GroupName + "/secrets"

	// InjectAnnotation, on a Namespace or a Service, selects how Services get their pull
	// secrets: "declared" (the default), "auto" or "disabled".
	InjectAnnotation = GroupName + "/inject"

	// ServiceAccountsAnnotation, on a Namespace, selects the ServiceAccounts that get the
	// Namespace's secrets too: names, separated by commas, or "*".
	ServiceAccountsAnnotation = GroupName + "/service-accounts"

	// ExpiresAnnotation, on a pull Secret such as a source, is when its credentials
	// expire, for those that do not say so themselves: a time as in RFC 3339.
	ExpiresAnnotation = GroupName + "/expires"

	// MaxSecrets is the number of names of one SecretsAnnotation that are used. Further
	// names are reported and ignored.
	MaxSecrets = 32
)

// Annotations, labels and finalizers that the controller and the webhook write.
const (
	// AddedAnnotation, on a Service or a ServiceAccount, is the ledger: a JSON object that
	// maps the name of each added entry to its origin. Only these entries may be removed.
	AddedAnnotation = GroupName + "/added"

	// SourceResourceVersionAnnotation, on a copy, is the resourceVersion of its source.
	SourceResourceVersionAnnotation = GroupName + "/source-resource-version"

	// CopyMetadataAnnotation, on a copy, lists the labels and annotations from
	// spec.copyMetadata, so that exactly those can be removed.
	CopyMetadataAnnotation = GroupName + "/copy-metadata"

	// ManagedByLabel with ManagedByValue, together with ClusterPullSecretLabel, marks a
	// Secret as a copy. A Secret without both belongs to the user.
	ManagedByLabel = "app.kubernetes.io/managed-by"

	// ManagedByValue is the value of ManagedByLabel on a copy.
	ManagedByValue = "pullsecrets"

	// ClusterPullSecretLabel, on a copy, is the name of its ClusterPullSecret.
	ClusterPullSecretLabel = GroupName + "/cluster-pull-secret"

	// FinalizerName keeps a deleted ClusterPullSecret until its copies are removed. It is
	// set only on this kind. The generated reconciler derives the same name from the
	// resource.
	FinalizerName = "clusterpullsecrets." + GroupName
)

// Labels that users write.
const (
	// ExcludeLabel, on a Namespace with any value but IncludeValue, excludes the
	// Namespace: no copies, no binding, no injection. It is a label because webhook
	// configurations can only select by labels.
	ExcludeLabel = GroupName + "/exclude"

	// ExcludeValue is the value of ExcludeLabel for which the API server does not call the
	// webhook. Values such as True and yes exclude as well: a user who sets the label
	// wants no credentials there.
	ExcludeValue = "true"

	// IncludeValue is the only value of ExcludeLabel that does not exclude.
	IncludeValue = "false"
)
