// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"context"
	"slices"
	"time"

	"knative.dev/pkg/controller"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/grant"
)

const (
	// gracePeriod is how long a copy may be missing before its namespace is probed.
	gracePeriod = 5 * time.Second
	// retryInterval is when a namespace is probed again. The transient one applies if the
	// failure is not the tenant's and may pass by itself.
	retryInterval, transientRetryInterval = 10 * time.Minute, 30 * time.Second
	// stuckTimeout exceeds the longest backoff of a copy.
	stuckTimeout = 2 * retryInterval
	// probeBatch is how many namespaces are probed in one reconciliation, and
	// batchInterval is the delay before the next batch.
	probeBatch, batchInterval = 100, time.Second
)

// updateDistribution updates the counts, the failures and the condition Distributed. It
// returns the requeue delay. Copies are counted from the caches, whichever process wrote
// them. Only the cause of missing copies is read from the API server.
func (r *Reconciler) updateDistribution(ctx context.Context, cps *v1alpha1.ClusterPullSecret) (time.Duration, error) {
	t, err := r.tally(ctx, cps)
	if err != nil {
		return 0, err
	}
	status := &cps.Status
	ready := status.Source != nil && status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady).IsTrue()
	var changed time.Time
	if status.Source != nil && status.Source.LastChanged != nil {
		changed = status.Source.LastChanged.Time
	}
	a := r.diagnoses.track(cps.Name, t.missing, changed, r.now())
	more := ready && len(a.overdue) > 0 && r.probeMissing(ctx, cps, a.overdue)
	known := r.explain(cps, &t, a)
	switch {
	case !ready:
		// The condition SourceReady says what is wrong. Distributed depends on it.
	case more, known.pending > 0:
		if !status.GetCondition(v1alpha1.ClusterPullSecretConditionDistributed).IsTrue() {
			// A single namespace that is added later does not revoke the condition.
			status.MarkDistributing()
		}
	default:
		r.markDistribution(ctx, cps, t, known.platform)
	}
	if len(t.missing) == 0 {
		return 0, nil
	}
	requeueAfter := retryInterval
	switch {
	case more:
		requeueAfter = batchInterval
	case known.platform > 0 || known.unblocked > 0:
		requeueAfter = transientRetryInterval
	}
	if ready && a.next > 0 {
		requeueAfter = min(requeueAfter, a.next)
	}
	return requeueAfter, nil
}

// probeMissing probes namespaces whose copies are missing, if the cause is unknown or may
// have changed. It reports whether some are left for the next batch, so that thousands of
// namespaces do not block other keys.
func (r *Reconciler) probeMissing(ctx context.Context, cps *v1alpha1.ClusterPullSecret, missing []string) bool {
	unknown := r.diagnoses.due(cps.Name, missing, r.now())
	for _, namespace := range unknown[:min(len(unknown), probeBatch)] {
		// The cache also holds Secrets whose label has an empty value.
		copied, err := r.secrets.Secrets(namespace).Get(grant.SecretName(cps))
		outdated := err == nil && grant.Owner(copied) != ""
		r.diagnoses.record(cps.Name, r.probe(ctx, namespace, cps, outdated), r.now())
	}
	return len(unknown) > probeBatch
}

// causes counts missing copies: those that fail because of the platform, those that
// nothing blocks, and those that must exist before the source counts as distributed.
type causes struct{ platform, unblocked, pending int }

// explain writes the counts and the causes of missing copies to the status.
func (r *Reconciler) explain(cps *v1alpha1.ClusterPullSecret, t *tally, a absences) (known causes) {
	var failures []v1alpha1.NamespaceFailure
	for namespace := range a.pending {
		if _, overdue := slices.BinarySearch(a.overdue, namespace); !overdue {
			known.pending++
		}
	}
	if cps.Status.Source != nil {
		for _, failure := range r.diagnoses.failures(cps.Name, t.missing, r.now()) {
			switch {
			case failure.unblocked:
				known.unblocked++
				if a.pending.Has(failure.Namespace) {
					known.pending++
				}
				continue
			case failure.conflict:
				t.counts.Conflicted++
			default:
				t.counts.Failed++
			}
			if !failure.tenant {
				known.platform++
			}
			failures = append(failures, failure.NamespaceFailure)
		}
	}
	cps.Status.SetNamespaces(t.counts)
	cps.Status.SetFailures(failures)
	return known
}

// markDistribution sets the condition Distributed, and reports once per version that the
// distribution is complete.
func (r *Reconciler) markDistribution(ctx context.Context, cps *v1alpha1.ClusterPullSecret, t tally, platform int) {
	status := &cps.Status
	before := status.GetCondition(v1alpha1.ClusterPullSecretConditionDistributed).IsTrue()
	switch {
	case t.older != "":
		status.MarkNameConflict(grant.SecretName(cps), t.older)
	case platform > 0:
		status.MarkDistributionFailed(platform)
	default:
		status.MarkDistributed()
		if before || t.counts.Wanted == 0 || !r.diagnoses.reportOnce(cps.Name, distribution(status.Source)) {
			return
		}
		if changed := status.Source.LastChanged; changed != nil {
			r.metrics.duration.Record(ctx, r.now().Sub(changed.Time).Seconds())
		}
		e := events.Distributed(status.Source.ResourceVersion, int(t.counts.Synced), int(t.counts.Wanted))
		controller.GetEventRecorder(ctx).Event(cps, e.Type, e.Reason, e.Message)
	}
}

// distribution identifies one distribution. A change of spec.registries starts one for the
// same version of the source.
func distribution(of *v1alpha1.SourceStatus) string {
	if of.LastChanged == nil {
		return of.ResourceVersion
	}
	return of.ResourceVersion + "@" + of.LastChanged.UTC().Format(time.RFC3339)
}
