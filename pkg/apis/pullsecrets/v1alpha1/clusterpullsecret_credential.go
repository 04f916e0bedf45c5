// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Ready does not depend on the condition CredentialAccepted. A credential that is rejected and
// must not replace copies makes SourceReady false as well.

// MarkCredentialAccepted marks the credential as accepted by its registries.
func (s *ClusterPullSecretStatus) MarkCredentialAccepted() {
	clusterPullSecretConditions.Manage(s).MarkTrue(ClusterPullSecretConditionCredentialAccepted)
}

// MarkCredentialRejected records which registries reject the credential of a source.
func (s *ClusterPullSecretStatus) MarkCredentialRejected(source SecretReference, answers string) {
	clusterPullSecretConditions.Manage(s).MarkFalse(ClusterPullSecretConditionCredentialAccepted,
		ReasonCredentialRejected, "The credential in Secret %s is rejected: %s", source, answers)
}

// MarkCredentialUnverified records why it is not known whether the credential is accepted.
func (s *ClusterPullSecretStatus) MarkCredentialUnverified(source SecretReference, why string) {
	clusterPullSecretConditions.Manage(s).MarkUnknown(ClusterPullSecretConditionCredentialAccepted,
		ReasonCredentialUnverified, "The credential in Secret %s was not verified: %s", source, why)
}

// MarkCredentialPending records that the first check of the credential is running.
func (s *ClusterPullSecretStatus) MarkCredentialPending(source SecretReference) {
	clusterPullSecretConditions.Manage(s).MarkUnknown(ClusterPullSecretConditionCredentialAccepted,
		ReasonCredentialPending, "The credential in Secret %s is being verified", source)
}

// ClearCredentialAccepted removes the condition, which is there only if spec.verify is set.
func (s *ClusterPullSecretStatus) ClearCredentialAccepted() {
	_ = clusterPullSecretConditions.Manage(s).ClearCondition(ClusterPullSecretConditionCredentialAccepted) // It only fails for conditions that Ready depends on.
}

// MarkSourceUnverified records that a changed source waits for the check of its credential.
func (s *ClusterPullSecretStatus) MarkSourceUnverified(source SecretReference) {
	clusterPullSecretConditions.Manage(s).MarkUnknown(ClusterPullSecretConditionSourceReady,
		ReasonSourceUnverified, "Secret %s has changed, and its credential is being verified; existing copies are kept until then", source)
}

// MarkSourceRejected records that a changed source is not distributed, because registries
// reject its credential.
func (s *ClusterPullSecretStatus) MarkSourceRejected(source SecretReference, answers string) {
	s.markSource(ReasonCredentialRejected, "Secret %s has changed, and its credential is rejected: %s; existing copies are kept", source, answers)
}
