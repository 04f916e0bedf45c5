// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

// Reasons of the condition SourceReady.
const (
	// ReasonSourceNotAllowed means that the Secret may not be a source at all.
	ReasonSourceNotAllowed = "SourceNotAllowed"

	// ReasonSourceNotRead means that the API server has not answered yet.
	ReasonSourceNotRead = "SourceNotRead"

	// ReasonSourceNotFound means that there is no such Secret.
	ReasonSourceNotFound = "SourceNotFound"

	// ReasonSourceWrongType means that the Secret is of a type that holds no
	// docker config.
	ReasonSourceWrongType = "SourceWrongType"

	// ReasonSourceInvalid means that the Secret's docker config is not well
	// formed.
	ReasonSourceInvalid = "SourceInvalid"

	// ReasonSourceQuestionable comes with the status True: the source is good,
	// and something in it is probably a mistake.
	ReasonSourceQuestionable = "SourceQuestionable"
)

// Reasons of the condition Distributed, and of single failures.
const (
	// ReasonDistributing means that copies are still being written.
	ReasonDistributing = "Distributing"

	// ReasonDistributionFailed means that copies could not be written, and
	// that it is not the namespaces' doing.
	ReasonDistributionFailed = "DistributionFailed"

	// ReasonNameConflict means that a Secret of that name is not ours, or
	// that an older ClusterPullSecret serves the namespace under that name.
	ReasonNameConflict = "NameConflict"
)

// MaxFailures is how many failures a status lists. A status that listed all
// of them could outgrow what the API server stores.
const MaxFailures = 10

var clusterPullSecretConditions = apis.NewLivingConditionSet(
	ClusterPullSecretConditionSourceReady,
	ClusterPullSecretConditionDistributed,
)

// GetConditionSet tells the generated reconciler which conditions make up
// Ready.
func (*ClusterPullSecret) GetConditionSet() apis.ConditionSet {
	return clusterPullSecretConditions
}

// GetStatus gives the generated reconciler the part of the status that all
// Knative kinds share.
func (c *ClusterPullSecret) GetStatus() *duckv1.Status {
	return &c.Status.Status
}

// GetGroupVersionKind returns the kind, which typed clients leave out of the
// objects that they return.
func (*ClusterPullSecret) GetGroupVersionKind() schema.GroupVersionKind {
	return SchemeGroupVersion.WithKind("ClusterPullSecret")
}

// IsReady says whether the latest spec has been carried out.
func (c *ClusterPullSecret) IsReady() bool {
	return c.Status.ObservedGeneration == c.Generation &&
		c.Status.GetCondition(ClusterPullSecretConditionReady).IsTrue()
}

// InitializeConditions sets every condition to Unknown that is not set yet.
func (s *ClusterPullSecretStatus) InitializeConditions() {
	clusterPullSecretConditions.Manage(s).InitializeConditions()
}

// MarkSourceReady says that the source is good.
func (s *ClusterPullSecretStatus) MarkSourceReady() {
	clusterPullSecretConditions.Manage(s).MarkTrue(ClusterPullSecretConditionSourceReady)
}

// MarkSourceQuestionable says that the source is good, and what in it is probably
// a mistake. The remarks name entries and never quote a credential.
func (s *ClusterPullSecretStatus) MarkSourceQuestionable(source SecretReference, remarks []string) {
	clusterPullSecretConditions.Manage(s).MarkTrueWithReason(ClusterPullSecretConditionSourceReady,
		ReasonSourceQuestionable, "Secret %s is used, but is probably misconfigured: %s", source, strings.Join(remarks, ". "))
}

// MarkSourceUnknown says that the source could not be read.
func (s *ClusterPullSecretStatus) MarkSourceUnknown(source SecretReference) {
	clusterPullSecretConditions.Manage(s).MarkUnknown(ClusterPullSecretConditionSourceReady,
		ReasonSourceNotRead, "Secret %s has not been read yet", source)
}

// MarkSourceNotAllowed says that the Secret may not be a source, and why.
func (s *ClusterPullSecretStatus) MarkSourceNotAllowed(source SecretReference, why string) {
	s.markSource(ReasonSourceNotAllowed, "Secret %s is not allowed as a source: %s", source, why)
}

// MarkSourceNotFound says that the source does not exist.
func (s *ClusterPullSecretStatus) MarkSourceNotFound(source SecretReference) {
	s.markSource(ReasonSourceNotFound, "Secret %s does not exist", source)
}

// MarkSourceWrongType says that the source is of a type that holds no docker
// config.
func (s *ClusterPullSecretStatus) MarkSourceWrongType(source SecretReference, actual corev1.SecretType) {
	s.markSource(ReasonSourceWrongType, "Secret %s has type %q; the type of a source must be %q or %q",
		source, actual, corev1.SecretTypeDockerConfigJson, corev1.SecretTypeDockercfg)
}

// MarkSourceInvalid says what is wrong with the source's docker config. The
// problem names the entry and never quotes a credential.
func (s *ClusterPullSecretStatus) MarkSourceInvalid(source SecretReference, problem string) {
	s.markSource(ReasonSourceInvalid, "Secret %s does not contain a valid docker config: %s", source, problem)
}

func (s *ClusterPullSecretStatus) markSource(reason, format string, args ...any) {
	clusterPullSecretConditions.Manage(s).MarkFalse(ClusterPullSecretConditionSourceReady, reason, format, args...)
}

// MarkDistributed says that every copy that is ours to make is up to date.
func (s *ClusterPullSecretStatus) MarkDistributed() {
	clusterPullSecretConditions.Manage(s).MarkTrue(ClusterPullSecretConditionDistributed)
}

// MarkDistributing says that copies are still being written.
func (s *ClusterPullSecretStatus) MarkDistributing() {
	clusterPullSecretConditions.Manage(s).MarkUnknown(ClusterPullSecretConditionDistributed,
		ReasonDistributing, "Copies are being written")
}

// MarkDistributionFailed says that copies could not be written, in so many
// namespaces, for a cause that is not the namespaces' own.
func (s *ClusterPullSecretStatus) MarkDistributionFailed(namespaces int) {
	clusterPullSecretConditions.Manage(s).MarkFalse(ClusterPullSecretConditionDistributed,
		ReasonDistributionFailed, "Copies in %d namespaces could not be written; see status.failures", namespaces)
}

// MarkNameConflict says that an older ClusterPullSecret serves some of the
// selected namespaces under the same secretName.
func (s *ClusterPullSecretStatus) MarkNameConflict(secretName, older string) {
	clusterPullSecretConditions.Manage(s).MarkFalse(ClusterPullSecretConditionDistributed,
		ReasonNameConflict, "ClusterPullSecret %s is older and uses secretName %s in namespaces that both select; change a namespaceSelector so that they do not overlap", older, secretName)
}

// SetNamespaces records the counts and the summary that goes with them, so
// that the two never disagree.
func (s *ClusterPullSecretStatus) SetNamespaces(counts NamespaceCounts) {
	counts.Summary = fmt.Sprintf("%d/%d", counts.Synced, counts.Wanted)
	s.Namespaces = &counts
}

// SetFailures records the first MaxFailures of the failures by namespace, so
// that the same failures always make the same status.
func (s *ClusterPullSecretStatus) SetFailures(failures []NamespaceFailure) {
	sorted := slices.SortedFunc(slices.Values(failures), func(a, b NamespaceFailure) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Reason, b.Reason))
	})
	s.Failures = sorted[:min(len(sorted), MaxFailures)]
}

// String is how messages and logs name a Secret.
func (r SecretReference) String() string {
	return r.Namespace + "/" + r.Name
}
