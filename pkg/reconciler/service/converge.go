// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/reconciler"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/contest"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/metrics"
	"pullsecrets.dev/pkg/reconciler/service/resources"
	"pullsecrets.dev/pkg/rollout"
	"pullsecrets.dev/pkg/trim"
)

// converge writes the change that is due, or reports why it waits.
func (r *Reconciler) converge(ctx context.Context, s *subject) reconciler.Event {
	if !s.result.Changed() {
		r.backfill.done(s.key, false)
		return nil
	}
	if may, event := r.mayWrite(ctx, s); !may {
		return event
	}
	if sensitive(s) {
		fresh, err := r.read(ctx, s.Service, r.live)
		gone := apierrors.IsNotFound(err)
		if err != nil && !gone {
			r.backfill.done(s.key, false)
			return err
		}
		if gone || !fresh.result.Changed() {
			// The cache is stale. Its next event enqueues the Service.
			r.backfill.done(s.key, false)
			return nil
		}
		s.declaration, s.result = fresh.declaration, fresh.result
		if awaits, err := r.awaitsCopy(ctx, s); awaits || err != nil {
			r.backfill.done(s.key, false)
			return err
		}
	}
	return r.write(ctx, s)
}

// sensitive reports whether a change must not rely on a cache, which may be stale: it
// removes entries, which another annotation may declare now; or it starts a list, which
// hides the ServiceAccount's entries from the Pods.
func sensitive(s *subject) bool {
	return len(s.result.Taken) > 0 || len(s.current.List) == 0 && s.result.ListChanged
}

// write sends the one patch and reports the outcome.
func (r *Reconciler) write(ctx context.Context, s *subject) reconciler.Event {
	patch, err := resources.MakePatch(s.Service, s.result)
	if err != nil {
		return fmt.Errorf("failed to make the patch of Service %s: %w", s.key, err)
	}
	written, err := r.serving.ServingV1().Services(s.Namespace).Patch(ctx, s.Name, types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: pullsecrets.FieldManager})
	if apierrors.IsConflict(err) {
		// Somebody else wrote first. The turn is kept for the retry.
		return err
	}
	r.backfill.done(s.key, err == nil && s.result.ListChanged)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case events.Refused(err):
		r.attempts.deny(s.Service)
		s.report(events.BackfillDenied(events.Changes(s.result), err))
		return nil
	case err != nil:
		return fmt.Errorf("failed to patch the pull secrets of Service %s: %w", s.key, err)
	}
	r.attempts.wrote(s.Service, written.ResourceVersion, s.result)
	path := metrics.Backfill
	if missed(s) {
		path = metrics.Missed
	}
	r.metrics.added.Count(ctx, s.result.Added, path)
	recorder := controller.GetEventRecorder(ctx)
	for _, e := range events.Happened(s.result) {
		recorder.Event(s.Service, e.Type, e.Reason, e.Message)
	}
	return nil
}

// awaitsCopy reports whether the change must wait for a copy that does not exist yet: a
// Revision that lists it now could fail without it. The copy enqueues the Service when it
// is created. A Secret of the user's under that name serves as well and enqueues nothing,
// so the Service is requeued. A name that no ClusterPullSecret serves does not wait: its
// owner creates the Secret, now or later.
//
// While its source is not ready, a copy is not created. Its name is left out of the change,
// so that other names need not wait.
func (r *Reconciler) awaitsCopy(ctx context.Context, s *subject) (bool, error) {
	var copies []string
	for _, e := range s.result.Added {
		if s.copied(e.Name) != nil {
			copies = append(copies, e.Name)
		}
	}
	if len(copies) == 0 {
		return false, nil
	}
	known, retry, err := r.secrets.TypesOf(ctx, s.key, s.began, copies)
	if err != nil {
		return false, fmt.Errorf("failed to read the copies %v in namespace %s: %w", copies, s.Namespace, err)
	}
	if len(known) == len(copies) {
		return false, nil
	}
	s.awaits, s.retry = true, retry
	var without []string
	for _, name := range copies {
		if _, exists := known[name]; exists {
			continue
		}
		if retry > 0 || !sourceLost(s.copied(name)) {
			return true, nil
		}
		without = append(without, name)
	}
	s.result = merge.Reconcile(s.current, s.declaration.Without(without), rollout.IsReady(s.Service))
	return !s.result.Changed(), nil
}

// sourceLost reports whether the source of a ClusterPullSecret is not ready, so that no
// copies of it are created.
func sourceLost(cps *v1alpha1.ClusterPullSecret) bool {
	return cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady).IsFalse()
}

// copied returns the ClusterPullSecret whose copy has this name, or nil.
func (s *subject) copied(name string) *v1alpha1.ClusterPullSecret {
	cps := s.declaration.Granted.Named(name)
	if cps == nil || grant.IsSource(cps, s.Namespace, name) {
		return nil
	}
	return cps
}

// missed reports whether admission should have made the change, because the Service was
// written after its declaration.
func missed(s *subject) bool {
	owner := lastWrite(s.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return e.Manager != pullsecrets.FieldManager })
	return owner.After(lastDeclared(s.namespace, s.declaration.Granted))
}

// mayWrite reports whether the change may be written now. If not, it returns when to
// requeue the Service, where no event will enqueue it.
func (r *Reconciler) mayWrite(ctx context.Context, s *subject) (bool, reconciler.Event) {
	facts, contested, err := r.facts(ctx, s)
	if err != nil {
		return false, err
	}
	decision := rollout.Decide(facts)
	r.reportPause(ctx, s, decision, facts.Culprit)
	if decision.Action == rollout.Write && s.result.ListChanged {
		// These two come last, because they cost a request and a place in the queue.
		awaits, err := r.awaitsCopy(ctx, s)
		if !awaits && err == nil {
			return r.backfill.ask(s.key, !rollout.WasReady(s.Service), config.FromContext(ctx).BackfillPerMinute), nil
		}
		r.backfill.done(s.key, false)
		return false, err
	}
	if decision.Action == rollout.Write {
		return true, nil
	}
	r.backfill.done(s.key, false)
	if decision.Reason == rollout.Contested && decision.Until == contest.Pause {
		r.metrics.contested.Add(ctx, 1)
	}
	changes := events.Changes(s.result)
	switch decision.Reason {
	case rollout.NamedRevision:
		s.report(events.NamedRevision(s.Spec.Template.Name, changes))
	case rollout.Deferred:
		s.report(events.BackfillDeferred(changes, decision.Remedy))
	case rollout.NoRoom:
		s.report(events.BackfillDenied(changes, events.ErrNoRoom))
	case rollout.Contested:
		s.report(events.InjectionContested(contested))
	}
	if decision.Until > 0 {
		return false, controller.NewRequeueAfter(decision.Until)
	}
	return false, nil
}

// facts collects what the decision depends on. None of it costs a request.
func (r *Reconciler) facts(ctx context.Context, s *subject) (rollout.Facts, []merge.Entry, error) {
	cfg := config.FromContext(ctx)
	facts := rollout.Facts{
		Mode: cfg.Backfill, Service: s.Service, Asked: s.declaration.OfService, Declaration: s.declaration, Result: s.result,
		Denied: r.attempts.wasDenied(s.Service), Full: trim.IsFull(s.Service),
	}
	var contested []merge.Entry
	contested, facts.Contested = r.attempts.contested(s.Service, s.result)
	var err error
	if s.result.ListChanged {
		facts.Culprit, err = r.paused(s.namespace, s.declaration.Granted)
	}
	return facts, contested, err
}

// reportPause reports a pause on the Namespace, and its end where a write depends on it.
func (r *Reconciler) reportPause(ctx context.Context, s *subject, decision rollout.Decision, culprit string) {
	var pause []events.Event
	switch {
	case decision.Reason == rollout.Paused:
		pause = []events.Event{events.BackfillPaused(s.Namespace, culprit)}
	case decision.Action != rollout.Write || !s.result.ListChanged:
		return
	}
	r.reporter.Report(controller.GetEventRecorder(ctx), events.InItsOwn(s.namespace), topicPaused, pause)
}

// paused returns the name of a Service whose newest Revision was caused by the controller
// after the last change of the Namespace and of what is granted to it, and failed. It is
// empty where there is none.
func (r *Reconciler) paused(namespace *corev1.Namespace, granted grant.Grants) (string, error) {
	failed, err := r.failed(namespace.Name)
	if err != nil {
		return "", fmt.Errorf("failed to list the failed Services of namespace %s: %w", namespace.Name, err)
	}
	changed := lastDeclared(namespace, granted)
	culprit := ""
	for _, svc := range failed {
		ours := lastWrite(svc.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == pullsecrets.FieldManager })
		// Of several, it is always the same one, so that it is reported once.
		if !ours.Before(changed) && (culprit == "" || svc.Name < culprit) {
			culprit = svc.Name
		}
	}
	return culprit, nil
}

// lastDeclared returns the time of the last write of the Namespace or of a
// ClusterPullSecret that serves it, status updates apart.
func lastDeclared(namespace *corev1.Namespace, granted grant.Grants) time.Time {
	whole := func(e metav1.ManagedFieldsEntry) bool { return e.Subresource == "" }
	last := lastWrite(namespace.ManagedFields, whole)
	for _, cps := range granted.Serving {
		if at := lastWrite(cps.ManagedFields, whole); at.After(last) {
			last = at
		}
	}
	return last
}

// lastWrite returns the time of the last write by certain field managers, in whole
// seconds.
func lastWrite(managed []metav1.ManagedFieldsEntry, of func(metav1.ManagedFieldsEntry) bool) time.Time {
	var last time.Time
	for _, entry := range managed {
		if of(entry) && entry.Time != nil && entry.Time.After(last) {
			last = entry.Time.Time
		}
	}
	return last
}

// failedIndex is the name of an index by namespace of the Services whose newest Revision
// was caused by the controller and failed.
const failedIndex = "pullsecrets.dev/failed"

func indexFailed(user string) cache.IndexFunc {
	return func(object any) ([]string, error) {
		if svc, ok := object.(*servingv1.Service); ok && rollout.CausedFailure(svc, user) {
			return []string{svc.Namespace}, nil
		}
		return nil, nil
	}
}

func failedIn(indexer cache.Indexer) func(string) ([]*servingv1.Service, error) {
	return func(namespace string) ([]*servingv1.Service, error) {
		objects, err := indexer.ByIndex(failedIndex, namespace)
		if err != nil {
			return nil, err
		}
		var services []*servingv1.Service
		for _, object := range objects {
			if svc, ok := object.(*servingv1.Service); ok {
				services = append(services, svc)
			}
		}
		return services, nil
	}
}
