// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

// Reasons of the condition SourceReady.
const (
	// ReasonSourceNotAllowed means that the Secret is not allowed as a source.
	ReasonSourceNotAllowed = "SourceNotAllowed"

	// ReasonSourceNotRead means that the source has not been read yet.
	ReasonSourceNotRead = "SourceNotRead"

	// ReasonSourceNotFound means that the Secret does not exist.
	ReasonSourceNotFound = "SourceNotFound"

	// ReasonSourceWrongType means that the type of the Secret is not that of a docker
	// config.
	ReasonSourceWrongType = "SourceWrongType"

	// ReasonSourceInvalid means that the Secret's docker config is invalid, or that it does not
	// cover one of spec.registries.
	ReasonSourceInvalid = "SourceInvalid"

	// ReasonSourceExpired means that a credential of the source has expired. With status
	// False, the source has changed and is not distributed, because that credential would
	// replace one of the copies that is still valid. With status True, the copies hold it.
	ReasonSourceExpired = "SourceExpired"
	// ReasonSourceUnverified means that the source has changed, and that its credential is
	// being verified before it replaces copies.
	ReasonSourceUnverified = "SourceUnverified"
	// ReasonSourceQuestionable has status True: the source is valid, and something in it
	// is probably a mistake.
	ReasonSourceQuestionable = "SourceQuestionable"
)

// Reasons of the condition CredentialAccepted.
const (
	// ReasonCredentialRejected means that a registry rejects the credential. It is also the
	// reason of SourceReady if the credential would replace copies.
	ReasonCredentialRejected = "CredentialRejected"
	// ReasonCredentialUnverified means that no registry accepted or rejected the credential.
	ReasonCredentialUnverified = "CredentialUnverified"
	// ReasonCredentialPending means that the first check of the credential is running.
	ReasonCredentialPending = "CredentialPending"
)

// Reasons of the condition Distributed, and of single failures.
const (
	// ReasonDistributing means that copies are being written.
	ReasonDistributing = "Distributing"

	// ReasonDistributionFailed means that copies could not be written, for a cause outside
	// of the namespaces.
	ReasonDistributionFailed = "DistributionFailed"

	// ReasonNameConflict means that a Secret with the name of the copy is not managed, or
	// that an older ClusterPullSecret uses the same secretName for the namespace.
	ReasonNameConflict = "NameConflict"
)

// MaxFailures is the number of failures in a status. A status with all of them could
// exceed the size limit of an object.
const MaxFailures = 10

var clusterPullSecretConditions = apis.NewLivingConditionSet(
	ClusterPullSecretConditionSourceReady,
	ClusterPullSecretConditionDistributed,
)

// GetConditionSet returns the conditions that Ready depends on.
func (*ClusterPullSecret) GetConditionSet() apis.ConditionSet {
	return clusterPullSecretConditions
}

// GetStatus returns the part of the status that all Knative kinds share.
func (c *ClusterPullSecret) GetStatus() *duckv1.Status {
	return &c.Status.Status
}

// GetGroupVersionKind returns the kind, which typed clients do not set on the objects that
// they return.
func (*ClusterPullSecret) GetGroupVersionKind() schema.GroupVersionKind {
	return SchemeGroupVersion.WithKind("ClusterPullSecret")
}

// IsReady reports whether the latest spec is applied.
func (c *ClusterPullSecret) IsReady() bool {
	return c.Status.ObservedGeneration == c.Generation &&
		c.Status.GetCondition(ClusterPullSecretConditionReady).IsTrue()
}

// InitializeConditions sets each condition that is not set to Unknown.
func (s *ClusterPullSecretStatus) InitializeConditions() {
	clusterPullSecretConditions.Manage(s).InitializeConditions()
}

// MarkSourceReady marks the source as valid.
func (s *ClusterPullSecretStatus) MarkSourceReady() {
	clusterPullSecretConditions.Manage(s).MarkTrue(ClusterPullSecretConditionSourceReady)
}

// MarkSourceQuestionable marks the source as valid, with likely mistakes in it. The
// remarks name entries and never quote a credential.
func (s *ClusterPullSecretStatus) MarkSourceQuestionable(source SecretReference, remarks []string) {
	clusterPullSecretConditions.Manage(s).MarkTrueWithReason(ClusterPullSecretConditionSourceReady,
		ReasonSourceQuestionable, "Secret %s is used, but is probably misconfigured: %s", source, strings.Join(remarks, ". "))
}

// MarkSourceExpired marks the source as valid, with a credential that has expired.
func (s *ClusterPullSecretStatus) MarkSourceExpired(source SecretReference, at metav1.Time) {
	clusterPullSecretConditions.Manage(s).MarkTrueWithReason(ClusterPullSecretConditionSourceReady,
		ReasonSourceExpired, "A credential in Secret %s expired at %s; replace it", source, at.UTC().Format(time.RFC3339))
}

// MarkSourceHeldExpired records that a changed source is not distributed, because one of its
// credentials has expired, and would replace one of the copies that has not.
func (s *ClusterPullSecretStatus) MarkSourceHeldExpired(source SecretReference, at metav1.Time) {
	s.markSource(ReasonSourceExpired, "Secret %s has changed, and a credential in it expired at %s; existing copies are kept, because the one that it would replace is not known to have expired",
		source, at.UTC().Format(time.RFC3339))
}

// MarkSourceUnknown records that the source has not been read yet.
func (s *ClusterPullSecretStatus) MarkSourceUnknown(source SecretReference) {
	clusterPullSecretConditions.Manage(s).MarkUnknown(ClusterPullSecretConditionSourceReady,
		ReasonSourceNotRead, "Secret %s has not been read yet", source)
}

// MarkSourceNotAllowed records that the Secret is not allowed as a source, and why.
func (s *ClusterPullSecretStatus) MarkSourceNotAllowed(source SecretReference, why string) {
	s.markSource(ReasonSourceNotAllowed, "Secret %s is not allowed as a source: %s", source, why)
}

// MarkSourceNotFound records that the source does not exist.
func (s *ClusterPullSecretStatus) MarkSourceNotFound(source SecretReference) {
	s.markSource(ReasonSourceNotFound, "Secret %s does not exist", source)
}

// MarkSourceWrongType records that the type of the source is not that of a docker config.
func (s *ClusterPullSecretStatus) MarkSourceWrongType(source SecretReference, actual corev1.SecretType) {
	s.markSource(ReasonSourceWrongType, "Secret %s has type %q; the type of a source must be %q or %q",
		source, actual, corev1.SecretTypeDockerConfigJson, corev1.SecretTypeDockercfg)
}

// MarkSourceInvalid records what is wrong with the source's docker config. The problem
// names the entry and never quotes a credential.
func (s *ClusterPullSecretStatus) MarkSourceInvalid(source SecretReference, problem string) {
	s.markSource(ReasonSourceInvalid, "Secret %s does not contain a valid docker config: %s", source, problem)
}

// MarkSourceLacks records for which of spec.registries the source has no credential.
func (s *ClusterPullSecretStatus) MarkSourceLacks(source SecretReference, registries []string) {
	const most = 8
	list := strings.Join(registries[:min(len(registries), most)], ", ")
	if more := len(registries) - most; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	s.markSource(ReasonSourceInvalid, "Secret %s has no credential for all images below these of spec.registries: %s", source, list)
}

func (s *ClusterPullSecretStatus) markSource(reason, format string, args ...any) {
	clusterPullSecretConditions.Manage(s).MarkFalse(ClusterPullSecretConditionSourceReady, reason, format, args...)
}

// MarkDistributed marks all managed copies as up to date.
func (s *ClusterPullSecretStatus) MarkDistributed() {
	clusterPullSecretConditions.Manage(s).MarkTrue(ClusterPullSecretConditionDistributed)
}

// MarkDistributing records that copies are being written.
func (s *ClusterPullSecretStatus) MarkDistributing() {
	clusterPullSecretConditions.Manage(s).MarkUnknown(ClusterPullSecretConditionDistributed,
		ReasonDistributing, "Copies are being written")
}

// MarkDistributionFailed records in how many namespaces the copy could not be written for
// a cause outside of the namespace.
func (s *ClusterPullSecretStatus) MarkDistributionFailed(namespaces int) {
	clusterPullSecretConditions.Manage(s).MarkFalse(ClusterPullSecretConditionDistributed,
		ReasonDistributionFailed, "Copies in %d namespaces could not be written; see status.failures", namespaces)
}

// MarkNameConflict records that an older ClusterPullSecret uses the same secretName in
// some of the selected namespaces.
func (s *ClusterPullSecretStatus) MarkNameConflict(secretName, older string) {
	clusterPullSecretConditions.Manage(s).MarkFalse(ClusterPullSecretConditionDistributed,
		ReasonNameConflict, "ClusterPullSecret %s is older and uses secretName %s in namespaces that both select; change a namespaceSelector so that they do not overlap", older, secretName)
}

// SetNamespaces sets the counts and their summary, so that both always agree.
func (s *ClusterPullSecretStatus) SetNamespaces(counts NamespaceCounts) {
	counts.Summary = fmt.Sprintf("%d/%d", counts.Synced, counts.Wanted)
	s.Namespaces = &counts
}

// SetFailures sets the first MaxFailures of the failures by namespace, so that equal
// failures make equal statuses.
func (s *ClusterPullSecretStatus) SetFailures(failures []NamespaceFailure) {
	sorted := slices.SortedFunc(slices.Values(failures), func(a, b NamespaceFailure) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Reason, b.Reason))
	})
	s.Failures = sorted[:min(len(sorted), MaxFailures)]
}

// String returns the reference as messages and logs name a Secret.
func (r SecretReference) String() string {
	return r.Namespace + "/" + r.Name
}
