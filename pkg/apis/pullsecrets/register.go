// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package pullsecrets holds every name that the product shares with the world
// outside of it: its API group, and the annotation, label and finalizer keys
// that it reads and writes on other people's objects. They stand in one place
// because each is a promise: users write them into manifests and policies.
package pullsecrets

const (
	// GroupName is the API group of ClusterPullSecret.
	GroupName = "pullsecrets.dev"

	// SystemNamespace is where the programs run. No source credential may lie
	// there, so that who looks after credentials need not see the webhook's key.
	SystemNamespace = "pullsecrets-system"

	// ControllerUser is who the controller is to the API server.
	ControllerUser = "system:serviceaccount:" + SystemNamespace + ":controller"

	// SourcesNamespace is where source credentials live unless the
	// configuration says otherwise. Nothing runs there.
	SourcesNamespace = "pullsecrets-sources"

	// FieldManager is the field manager of every write of the product, so that
	// managedFields tell our entries from those that somebody else wrote.
	FieldManager = "pullsecrets"
)

// Annotations that users write.
const (
	// SecretsAnnotation, on a Namespace or a Service, names the pull secrets
	// that Services shall have: Secret names, separated by commas.
	SecretsAnnotation = GroupName + "/secrets"

	// InjectAnnotation, on a Namespace or a Service, says how Services get
	// their pull secrets: "declared" (the default), "auto" or "disabled".
	InjectAnnotation = GroupName + "/inject"

	// ServiceAccountsAnnotation, on a Namespace, names the ServiceAccounts
	// that get the Namespace's secrets too: names, separated by commas, or "*".
	ServiceAccountsAnnotation = GroupName + "/service-accounts"

	// MaxSecrets is how many names of one SecretsAnnotation count. What comes
	// after them is reported and ignored.
	MaxSecrets = 32
)

// Annotations, labels and finalizers that the product writes.
const (
	// AddedAnnotation, on a Service or a ServiceAccount, is the ledger: a JSON
	// object from the name of each entry that the product added to its origin.
	// Exactly the entries that it names may be taken away again.
	AddedAnnotation = GroupName + "/added"

	// SourceResourceVersionAnnotation, on a copy, is the resourceVersion of
	// the source Secret that the copy was made from.
	SourceResourceVersionAnnotation = GroupName + "/source-resource-version"

	// CopyMetadataAnnotation, on a copy, lists the labels and annotations that
	// the copy has from spec.copyMetadata, so that exactly those can be removed
	// again.
	CopyMetadataAnnotation = GroupName + "/copy-metadata"

	// ManagedByLabel and ManagedByValue, together with ClusterPullSecretLabel,
	// mark a Secret as a copy of ours. A Secret without both is the user's.
	ManagedByLabel = "app.kubernetes.io/managed-by"

	// ManagedByValue is the value of ManagedByLabel on a copy.
	ManagedByValue = "pullsecrets"

	// ClusterPullSecretLabel, on a copy, is the name of the ClusterPullSecret
	// that the copy belongs to.
	ClusterPullSecretLabel = GroupName + "/cluster-pull-secret"

	// FinalizerName holds a deleted ClusterPullSecret until its copies are
	// gone. It is put on our own kind alone, never on anyone else's object.
	// The generated reconciler derives the very same name from the resource.
	FinalizerName = "clusterpullsecrets." + GroupName
)

// Labels that users write.
const (
	// ExcludeLabel, on a Namespace with any value but IncludeValue, takes the
	// Namespace out altogether: no copies, no binding, no injection. It is a
	// label because webhook configurations can select by labels only.
	ExcludeLabel = GroupName + "/exclude"

	// ExcludeValue is the value of ExcludeLabel for which the API server does not
	// even call the webhook. Values such as True and yes exclude as well: whoever
	// set the label did not want credentials there.
	ExcludeValue = "true"

	// IncludeValue is the one value of ExcludeLabel that does not exclude.
	IncludeValue = "false"
)
