// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"context"
	"time"

	"knative.dev/pkg/controller"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/grant"
)

const (
	// patience is how long copies may fail to come before it is asked why.
	patience = 5 * time.Second
	// later is when that is asked again, and sooner when it is if it is nobody's
	// doing there, so that it may be over.
	later, sooner = 10 * time.Minute, 30 * time.Second
	// atOnce is how many namespaces are asked about before others have their turn,
	// and soon when the next ones are.
	atOnce, soon = 100, time.Second
)

// count tells how far the copies have come. It returns when to look again. What
// the copies are is seen in the caches, so that it does not matter which process
// has written them; only why some do not come is asked of the API server.
func (r *Reconciler) count(ctx context.Context, cps *v1alpha1.ClusterPullSecret) (time.Duration, error) {
	t, err := r.tally(ctx, cps)
	if err != nil {
		return 0, err
	}
	status := &cps.Status
	stalled := r.stalled.since(cps.Name, t.missing, r.now())
	waiting := len(t.missing) > 0 && status.Source != nil
	again := later
	switch {
	case len(t.missing) == 0:
		again = 0
	case !waiting:
		// The source comes first, and what follows it tells of that.
	case stalled < patience:
		again = patience - stalled
	case r.ask(ctx, cps, t.missing):
		again = soon
	default:
		waiting = false
	}
	ours := r.explain(cps, &t)
	if !waiting {
		if r.mark(ctx, cps, t, ours); ours > 0 {
			again = sooner
		}
	} else if !status.GetCondition(v1alpha1.ClusterPullSecretConditionDistributed).IsTrue() {
		// One more namespace is no reason to call all others in question.
		status.MarkDistributing()
	}
	return again, nil
}

// ask finds out why copies are missing, where that is not known or may have changed.
// It returns whether it has left some for the next time, so that thousands keep
// nobody waiting.
func (r *Reconciler) ask(ctx context.Context, cps *v1alpha1.ClusterPullSecret, missing []string) bool {
	unknown := r.stalled.unknown(cps.Name, missing, r.now())
	for _, namespace := range unknown[:min(len(unknown), atOnce)] {
		r.stalled.note(cps.Name, r.probe(ctx, namespace, cps), r.now())
	}
	return len(unknown) > atOnce
}

// explain puts what is known of missing copies into the status. It returns how many
// are not the doing of their namespace.
func (r *Reconciler) explain(cps *v1alpha1.ClusterPullSecret, t *tally) (ours int) {
	var failures []v1alpha1.NamespaceFailure
	if cps.Status.Source != nil {
		for _, failure := range r.stalled.known(cps.Name, t.missing) {
			if failure.conflict {
				t.counts.Conflicted++
			} else {
				t.counts.Failed++
			}
			if !failure.theirs {
				ours++
			}
			failures = append(failures, failure.NamespaceFailure)
		}
	}
	cps.Status.SetNamespaces(t.counts)
	cps.Status.SetFailures(failures)
	return ours
}

// mark sets the condition Distributed, and tells of a distribution that is done.
func (r *Reconciler) mark(ctx context.Context, cps *v1alpha1.ClusterPullSecret, t tally, ours int) {
	status := &cps.Status
	before := status.GetCondition(v1alpha1.ClusterPullSecretConditionDistributed).IsTrue()
	switch {
	case status.Source == nil:
		// There has been nothing to distribute yet.
	case t.older != "":
		status.MarkNameConflict(grant.SecretName(cps), t.older)
	case ours > 0:
		status.MarkDistributionFailed(ours)
	default:
		status.MarkDistributed()
		if !before && t.counts.Wanted > 0 {
			if changed := status.Source.LastChanged; changed != nil {
				r.metrics.duration.Record(ctx, r.now().Sub(changed.Time).Seconds())
			}
			e := events.Distributed(status.Source.ResourceVersion, int(t.counts.Synced), int(t.counts.Wanted))
			controller.GetEventRecorder(ctx).Event(cps, e.Type, e.Reason, e.Message)
		}
	}
}
