// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"context"
	"errors"
	"slices"
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

// Topics under which Events about a Namespace are reported.
const (
	topicAnnotations = "annotations"
	topicConflicts   = "conflicts"
	topicPropagated  = "propagated"
)

// newReporter returns a Reporter for Namespaces and the objects in them.
func newReporter(m *memory.Memory) *events.Reporter {
	return events.NewReporter(m, func(object types.NamespacedName) types.NamespacedName {
		return byNamespace(object.Namespace) // Namespaces have it set too; see events.InItsOwn.
	})
}

// Reconciler reconciles a Namespace with what is granted to it and what it declares. Each
// Namespace is a work item of its own, so a rotation runs in parallel over all of them.
type Reconciler struct {
	reporter *events.Reporter
	copies   *copies
	accounts *accounts
	memory   *memory.Memory
	profile  config.Profile
	// enqueueAfter enqueues a Namespace after a delay.
	enqueueAfter func(types.NamespacedName, time.Duration)
}

var (
	_ namespacereconciler.Interface  = (*Reconciler)(nil)
	_ reconciler.OnDeletionInterface = (*Reconciler)(nil)
)

// ReconcileKind writes the copies of the Namespace, binds its ServiceAccounts, and
// reports invalid annotations.
func (r *Reconciler) ReconcileKind(ctx context.Context, namespace *corev1.Namespace) reconciler.Event {
	defer r.memory.Settle(types.NamespacedName{Name: namespace.Name})
	if !namespace.DeletionTimestamp.IsZero() {
		r.copies.removals.decided(namespace.Name, nil) // Kubernetes deletes its contents.
		return nil
	}
	o, err := r.converge(ctx, namespace)
	if !r.report(ctx, namespace, o) {
		o.requeueAfter(events.RetryAfter)
	}
	if err != nil {
		o.requeueAfter(retryAfter(err))
	}
	switch {
	case err != nil:
		// The work queue retries sooner at first. After many failures, of this key or of
		// thousands of others, its delay can exceed the requeue delay.
		r.enqueueAfter(types.NamespacedName{Name: namespace.Name}, o.requeue)
	case o.requeue > 0:
		return controller.NewRequeueAfter(o.requeue)
	}
	return err
}

// retryAfter returns the longest delay before a retry. No event announces that a quota or
// a policy, by which the API server rejected a write, now permits it.
func retryAfter(err error) time.Duration {
	switch wrapped := err.(type) { //nolint:errorlint // each joined error is inspected
	case interface{ Unwrap() []error }:
		soonest := retryInterval
		for _, err := range wrapped.Unwrap() {
			soonest = min(soonest, retryAfter(err))
		}
		return soonest
	case apierrors.APIStatus:
		if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
			return retryInterval
		}
	case interface{ Unwrap() error }:
		return retryAfter(wrapped.Unwrap())
	}
	return statusTimeout
}

// converge reconciles the copies and the ServiceAccounts. A failure of one does not stop
// the others. In an excluded Namespace, copies are removed and ServiceAccounts are left
// unchanged.
func (r *Reconciler) converge(ctx context.Context, namespace *corev1.Namespace) (outcome, error) {
	o, grants, err := r.copies.converge(ctx, namespace)
	if !config.FromContext(ctx).Excludes(namespace.Name, namespace.Labels) {
		err = errors.Join(err, r.accounts.converge(ctx, namespace, grants, &o))
	}
	return o, err
}

// report records Events about what was written to ServiceAccounts, and about invalid
// annotations and conflicts. It returns false if some could not be recorded yet.
func (r *Reconciler) report(ctx context.Context, namespace *corev1.Namespace, o outcome) bool {
	recorder, object := controller.GetEventRecorder(ctx), events.InItsOwn(namespace)
	for _, e := range events.Bound(o.bound) {
		recorder.Event(object, e.Type, e.Reason, e.Message)
	}
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
		// The exclude label was set on the Namespace itself; its owner knows.
	default:
		for _, problem := range slices.Concat(declares.Problems, r.profile.Problems(declares.Inject)) {
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

// ObserveDeletion drops the state of a Namespace that was deleted.
func (r *Reconciler) ObserveDeletion(_ context.Context, key types.NamespacedName) error {
	r.memory.Forget(key)
	return nil
}
