// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	namespacereconciler "knative.dev/pkg/client/injection/kube/reconciler/core/v1/namespace"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/reconciler"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/memory"
)

// Topics of what is reported of a Namespace.
const (
	topicAnnotations = "annotations"
	topicConflicts   = "conflicts"
	topicPropagated  = "propagated"
)

// newReporter returns a Reporter for a Namespace and what is in it.
func newReporter(m *memory.Memory) *events.Reporter {
	return events.NewReporter(m, func(object types.NamespacedName) types.NamespacedName {
		return byNamespace(object.Namespace) // Of a Namespace too; see InItsOwn.
	})
}

// Reconciler brings a Namespace to what is granted to it and what it declares. A
// Namespace is one piece of work, so that a rotation runs in parallel over all of
// them.
type Reconciler struct {
	reporter *events.Reporter
	copies   *copies
	accounts *accounts
	memory   *memory.Memory
	// wakeAfter has a Namespace looked at again after a while.
	wakeAfter func(types.NamespacedName, time.Duration)
}

var (
	_ namespacereconciler.Interface  = (*Reconciler)(nil)
	_ reconciler.OnDeletionInterface = (*Reconciler)(nil)
)

// ReconcileKind writes the copies of the Namespace, binds its ServiceAccounts, and
// reports each item of its annotations that does not count.
func (r *Reconciler) ReconcileKind(ctx context.Context, namespace *corev1.Namespace) reconciler.Event {
	if !namespace.DeletionTimestamp.IsZero() {
		return nil // It goes with all that is in it.
	}
	o, err := r.converge(ctx, namespace)
	if !r.report(ctx, namespace, o) {
		o.lookAgain(events.RetryAfter)
	}
	if err != nil {
		o.lookAgain(retryAfter(err))
	}
	switch {
	case err != nil:
		// The work queue tries again sooner, but after many failures, its own or those of
		// thousands of others, only a long way off.
		r.wakeAfter(types.NamespacedName{Name: namespace.Name}, o.again)
	case o.again > 0:
		return controller.NewRequeueAfter(o.again)
	}
	return err
}

// retryAfter is when to try again at the latest. What the API server refuses, for a
// quota or a policy, tells nobody when it is allowed.
func retryAfter(err error) time.Duration {
	switch wrapped := err.(type) { //nolint:errorlint // each of those that are joined is looked at
	case interface{ Unwrap() []error }:
		soonest := later
		for _, err := range wrapped.Unwrap() {
			soonest = min(soonest, retryAfter(err))
		}
		return soonest
	case apierrors.APIStatus:
		if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
			return later
		}
	case interface{ Unwrap() error }:
		return retryAfter(wrapped.Unwrap())
	}
	return unheard
}

// converge keeps copies and ServiceAccounts, each as far as it goes. An excluded
// Namespace is left alone but for its copies, which go.
func (r *Reconciler) converge(ctx context.Context, namespace *corev1.Namespace) (outcome, error) {
	o, grants, err := r.copies.converge(ctx, namespace)
	if !config.FromContext(ctx).Excludes(namespace.Name, namespace.Labels) {
		err = errors.Join(err, r.accounts.converge(ctx, namespace, grants, &o))
	}
	return o, err
}

// report tells the owner what does not count and what is in the way. It returns
// false if not all could be told yet.
func (r *Reconciler) report(ctx context.Context, namespace *corev1.Namespace, o outcome) bool {
	recorder, object := controller.GetEventRecorder(ctx), events.InItsOwn(namespace)
	var problems, conflicts, propagated []events.Event
	if len(o.propagated) > 0 {
		propagated = append(propagated, events.PropagatedNotGranted(namespace.Name, o.propagated))
	}
	for _, problem := range annotation.Misplaced(annotation.OnNamespace, namespace.Annotations, namespace.Labels) {
		problems = append(problems, events.InvalidAnnotation(problem))
	}
	declares := annotation.ForNamespace(namespace.Annotations)
	by := config.FromContext(ctx).ExcludedBy(namespace.Name)
	switch {
	case by != "" && declares.OptsIn():
		problems = append(problems, events.Excluded(namespace.Name, by))
	case config.FromContext(ctx).Excludes(namespace.Name, namespace.Labels):
		// By its label, its owner knows.
	default:
		for _, problem := range declares.Problems {
			problems = append(problems, events.InvalidAnnotation(problem))
		}
		if len(o.conflicts) > 0 {
			conflicts = append(conflicts, events.NameConflict(namespace.Name, o.conflicts))
		}
	}
	_, first := r.reporter.Report(recorder, object, topicAnnotations, problems)
	_, second := r.reporter.Report(recorder, object, topicConflicts, conflicts)
	_, third := r.reporter.Report(recorder, object, topicPropagated, propagated)
	return first && second && third
}

// ObserveDeletion forgets a Namespace that is gone.
func (r *Reconciler) ObserveDeletion(_ context.Context, key types.NamespacedName) error {
	r.memory.Forget(key)
	return nil
}
