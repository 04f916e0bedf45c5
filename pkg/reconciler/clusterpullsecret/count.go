// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"knative.dev/pkg/controller"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/source"
)

const (
	// patience is how long copies may fail to come before it is asked why.
	patience = 5 * time.Second
	// later is when that is asked again.
	later = 10 * time.Minute
)

// tally is what became of the copies of a ClusterPullSecret.
type tally struct {
	counts v1alpha1.NamespaceCounts
	// missing are the namespaces that want a copy and have none that is up to date.
	missing []string
	// older serves some of the namespaces under the same name; the first by name,
	// where several do.
	older string
}

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
	if len(t.missing) > 0 && status.Source != nil && stalled < patience {
		status.SetNamespaces(t.counts)
		if !status.GetCondition(v1alpha1.ClusterPullSecretConditionDistributed).IsTrue() {
			// One more namespace is no reason to call all others in question.
			status.MarkDistributing()
		}
		return patience - stalled, nil
	}
	var failures []v1alpha1.NamespaceFailure
	ours := 0
	if status.Source != nil {
		for _, namespace := range t.missing {
			failure := r.probe(ctx, namespace, grant.SecretName(cps))
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
	status.SetNamespaces(t.counts)
	status.SetFailures(failures)
	r.mark(ctx, cps, t, ours)
	if len(t.missing) > 0 {
		return later, nil
	}
	return 0, nil
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
			e := events.Distributed(status.Source.ResourceVersion, int(t.counts.Synced), int(t.counts.Wanted))
			controller.GetEventRecorder(ctx).Event(cps, e.Type, e.Reason, e.Message)
		}
	}
}

func (r *Reconciler) tally(ctx context.Context, cps *v1alpha1.ClusterPullSecret) (tally, error) {
	var t tally
	namespaces, err := r.namespaces.List(labels.Everything())
	if err != nil {
		return t, fmt.Errorf("failed to list Namespaces: %w", err)
	}
	for _, namespace := range namespaces {
		if !namespace.DeletionTimestamp.IsZero() {
			continue
		}
		services, err := r.services.Services(namespace.Name).List(labels.Everything())
		if err != nil {
			return t, fmt.Errorf("failed to list the Services of namespace %s: %w", namespace.Name, err)
		}
		if err := r.add(ctx, &t, cps, namespace, services); err != nil {
			return t, err
		}
	}
	slices.Sort(t.missing)
	return t, nil
}

// add adds what became of the copy in one namespace.
func (r *Reconciler) add(ctx context.Context, t *tally, cps *v1alpha1.ClusterPullSecret, namespace *corev1.Namespace, services []*servingv1.Service) error {
	granted, wanted, err := r.catalog.Due(namespace, services, config.FromContext(ctx).Excludes(namespace.Name, namespace.Labels))
	if err != nil {
		return err
	}
	is := func(other *v1alpha1.ClusterPullSecret) bool { return other.Name == cps.Name }
	if older, beaten := granted.Beaten[cps.Name]; beaten {
		t.counts.Selected++
		if t.older == "" || older < t.older {
			t.older = older
		}
		return nil
	}
	if !slices.ContainsFunc(granted.Serving, is) {
		return nil
	}
	t.counts.Selected++
	if !slices.ContainsFunc(wanted, is) {
		return nil
	}
	t.counts.Wanted++
	if r.synced(cps, namespace.Name) {
		t.counts.Synced++
	} else {
		t.missing = append(t.missing, namespace.Name)
	}
	return nil
}

// synced tells whether a namespace has a copy of the source as it is now.
func (r *Reconciler) synced(cps *v1alpha1.ClusterPullSecret, namespace string) bool {
	name := grant.SecretName(cps)
	if grant.IsSource(cps, namespace, name) {
		return true
	}
	copied, err := r.secrets.Secrets(namespace).Get(name)
	return err == nil && cps.Status.Source != nil && source.Owner(copied) == cps.Name &&
		copied.Annotations[pullsecrets.SourceResourceVersionAnnotation] == cps.Status.Source.ResourceVersion
}

// stalls remembers since when the same copies are missing.
type stalls struct {
	mu     sync.Mutex
	byName map[string]stall
}

type stall struct {
	missing []string
	since   time.Time
}

// since is how long exactly these namespaces have been without their copies.
func (s *stalls) since(name string, missing []string, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byName == nil {
		s.byName = make(map[string]stall)
	}
	known, ok := s.byName[name]
	if !ok || !slices.Equal(known.missing, missing) {
		known = stall{missing, now}
		s.byName[name] = known
	}
	return now.Sub(known.since)
}

func (s *stalls) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byName, name)
}
