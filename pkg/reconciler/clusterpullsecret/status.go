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
	// patience is how long copies may fail to come before it is asked why.
	patience = 5 * time.Second
	// later is when that is asked again, and sooner when it is if it is nobody's
	// doing there, so that it may be over.
	later, sooner = 10 * time.Minute, 30 * time.Second
	// overlong is longer than any repair of a copy is put off.
	overlong = 2 * later
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
	good := status.Source != nil && status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady).IsTrue()
	var changed time.Time
	if status.Source != nil && status.Source.LastChanged != nil {
		changed = status.Source.LastChanged.Time
	}
	a := r.stalled.age(cps.Name, t.missing, changed, r.now())
	more := good && len(a.ripe) > 0 && r.ask(ctx, cps, a.ripe)
	known := r.explain(cps, &t, a)
	switch {
	case !good:
		// The source comes first, and what follows it tells of that. It says itself
		// what is wrong.
	case more, known.pending > 0:
		if !status.GetCondition(v1alpha1.ClusterPullSecretConditionDistributed).IsTrue() {
			// One more namespace is no reason to call all others in question.
			status.MarkDistributing()
		}
	default:
		r.mark(ctx, cps, t, known.ours)
	}
	if len(t.missing) == 0 {
		return 0, nil
	}
	again := later
	switch {
	case more:
		again = soon
	case known.ours > 0 || known.coming > 0:
		again = sooner
	}
	if good && a.next > 0 {
		again = min(again, a.next)
	}
	return again, nil
}

// ask finds out why copies are missing, where that is not known or may have changed.
// It returns whether it has left some for the next time, so that thousands keep
// nobody waiting.
func (r *Reconciler) ask(ctx context.Context, cps *v1alpha1.ClusterPullSecret, missing []string) bool {
	unknown := r.stalled.unknown(cps.Name, missing, r.now())
	for _, namespace := range unknown[:min(len(unknown), atOnce)] {
		// The cache also has Secrets whose label names no ClusterPullSecret.
		copied, err := r.secrets.Secrets(namespace).Get(grant.SecretName(cps))
		outdated := err == nil && grant.Owner(copied) != ""
		r.stalled.note(cps.Name, r.probe(ctx, namespace, cps, outdated), r.now())
	}
	return len(unknown) > atOnce
}

// reasons counts why copies are missing: what is not the doing of their namespace, and
// nothing at all, so that they are still to come. Pending are those that have to come
// before the source counts as distributed.
type reasons struct{ ours, coming, pending int }

// explain puts what is known of missing copies into the status.
func (r *Reconciler) explain(cps *v1alpha1.ClusterPullSecret, t *tally, a ages) (known reasons) {
	var failures []v1alpha1.NamespaceFailure
	for namespace := range a.pending {
		if _, ripe := slices.BinarySearch(a.ripe, namespace); !ripe {
			known.pending++
		}
	}
	if cps.Status.Source != nil {
		for _, failure := range r.stalled.known(cps.Name, t.missing, r.now()) {
			switch {
			case failure.coming:
				known.coming++
				if a.pending.Has(failure.Namespace) {
					known.pending++
				}
				continue
			case failure.conflict:
				t.counts.Conflicted++
			default:
				t.counts.Failed++
			}
			if !failure.theirs {
				known.ours++
			}
			failures = append(failures, failure.NamespaceFailure)
		}
	}
	cps.Status.SetNamespaces(t.counts)
	cps.Status.SetFailures(failures)
	return known
}

// mark sets the condition Distributed, and tells once of each version that it is done.
func (r *Reconciler) mark(ctx context.Context, cps *v1alpha1.ClusterPullSecret, t tally, ours int) {
	status := &cps.Status
	before := status.GetCondition(v1alpha1.ClusterPullSecretConditionDistributed).IsTrue()
	switch {
	case t.older != "":
		status.MarkNameConflict(grant.SecretName(cps), t.older)
	case ours > 0:
		status.MarkDistributionFailed(ours)
	default:
		status.MarkDistributed()
		if before || t.counts.Wanted == 0 || !r.stalled.tell(cps.Name, status.Source.ResourceVersion) {
			return
		}
		if changed := status.Source.LastChanged; changed != nil {
			r.metrics.duration.Record(ctx, r.now().Sub(changed.Time).Seconds())
		}
		e := events.Distributed(status.Source.ResourceVersion, int(t.counts.Synced), int(t.counts.Wanted))
		controller.GetEventRecorder(ctx).Event(cps, e.Type, e.Reason, e.Message)
	}
}
