// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/coverage"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/rollout"
)

// Candidate returns the Secret with which a Revision could succeed now: its tag resolution was
// rejected for an image for which it would use this Secret next time. It returns an empty name
// if there is none. Knative resolves the tags of a Revision together, so it must be able to
// resolve all images that were rejected.
func (r *Revision) Candidate(results []coverage.Result) (secret string) {
	for i := range r.Template.Images {
		if !r.Rejected.Has(i) {
			continue
		}
		verdict := results[i].Verdicts[dockerconfig.TagResolution]
		if verdict.Reason != coverage.Covered {
			return ""
		}
		if entry, ok := verdict.Decisive(); ok {
			secret = cmp.Or(secret, entry.Secret)
		}
	}
	return secret
}

// Attempt is what the decision about a retry depends on. All of it is read from the API server
// for the decision.
type Attempt struct {
	Service  *servingv1.Service
	Revision *servingv1.Revision
	// Changed is when the credential was written last.
	Changed metav1.Time
}

// Verdict is why a Revision is retried or not.
type Verdict string

// The values of Verdict.
const (
	// Retry deletes the Revision, so that Knative creates it again.
	Retry Verdict = "Retry"
	// BeingDeleted: it, or its Service, is being deleted.
	BeingDeleted Verdict = "BeingDeleted"
	// NotNewest: Knative creates only the newest Revision of a Service again.
	NotNewest Verdict = "NotNewest"
	// NotRejected: it was or may have been Ready, or failed for another reason.
	NotRejected Verdict = "NotRejected"
	// Unchanged: the credential is older than the Revision, which has failed with it.
	Unchanged Verdict = "Unchanged"
)

// Decide decides whether a Revision is retried: once for each change of the credential, see
// [rollout.ChangedAfter].
func Decide(a Attempt) Verdict {
	failed := RevisionOf(a.Revision)
	switch {
	case !a.Service.DeletionTimestamp.IsZero() || !a.Revision.DeletionTimestamp.IsZero():
		return BeingDeleted
	case a.Service.Status.ObservedGeneration != a.Service.Generation ||
		a.Service.Status.LatestCreatedRevisionName != a.Revision.Name || ServiceOf(a.Revision) != a.Service.Name:
		return NotNewest
	case failed.Rejected.First() < 0:
		return NotRejected
	case !rollout.ChangedAfter(a.Revision, a.Changed):
		return Unchanged
	}
	return Retry
}
