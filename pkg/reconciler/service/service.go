// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/reconciler"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"
	servicereconciler "knative.dev/serving/pkg/client/injection/reconciler/serving/v1/service"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/reconciler/service/resources"
)

// Topics of what is reported of an object.
const (
	topicService = "service"
	topicPaused  = "backfill"
)

// Reconciler keeps the pull secrets of existing Knative Services at what is
// declared. It patches two fields of a Service and writes nothing else.
type Reconciler struct {
	serving    servingclient.Interface
	namespaces corev1listers.NamespaceLister
	accounts   corev1listers.ServiceAccountLister
	// failed finds the Services of a namespace whose newest Revision the
	// product made and which failed.
	failed  func(namespace string) ([]*servingv1.Service, error)
	secrets secretTypes

	backfill *backfill
	memory   memory
	reporter *events.Reporter
	metrics  metrics
}

var (
	_ servicereconciler.Interface    = (*Reconciler)(nil)
	_ reconciler.OnDeletionInterface = (*Reconciler)(nil)
)

// subject is a Service with all that is known about what it should have.
type subject struct {
	*servingv1.Service
	key       types.NamespacedName
	namespace *corev1.Namespace
	asked     annotation.Service
	declared  merge.Declared
	result    merge.Result
	// reports collects what is the case and its owner should know.
	reports []events.Event
}

func (s *subject) report(e events.Event) { s.reports = append(s.reports, e) }

// ReconcileKind reads what is declared for a Service, computes its list and, if
// it differs and may be changed now, patches it once.
func (r *Reconciler) ReconcileKind(ctx context.Context, svc *servingv1.Service) reconciler.Event {
	s, err := r.look(ctx, svc)
	if err != nil {
		return err
	}
	event := r.converge(ctx, s)
	r.reporter.Report(controller.GetEventRecorder(ctx), svc, topicService, s.reports)
	return event
}

// ObserveDeletion forgets a Service that is gone.
func (r *Reconciler) ObserveDeletion(_ context.Context, key types.NamespacedName) error {
	r.backfill.done(key)
	r.memory.forget(key)
	r.reporter.Forget(key, topicService)
	return nil
}

// look reads everything that the decision depends on.
func (r *Reconciler) look(ctx context.Context, svc *servingv1.Service) (*subject, error) {
	s := &subject{Service: svc, key: types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}}
	var err error
	s.namespace, err = r.namespaces.Get(svc.Namespace)
	if apierrors.IsNotFound(err) {
		// The cache will know it in a moment. To take it for one that declares
		// nothing could take entries away.
		return nil, controller.NewRequeueAfter(time.Second)
	}
	if err != nil {
		return nil, fmt.Errorf("failed to get the Namespace of Service %s: %w", s.key, err)
	}
	if config.FromContext(ctx).Excludes(svc.Namespace, s.namespace.Labels) || !s.namespace.DeletionTimestamp.IsZero() {
		return s, nil
	}
	namespace := annotation.ForNamespace(s.namespace.Annotations)
	s.asked = annotation.ForService(svc.Annotations)
	for _, problem := range s.asked.Problems {
		s.report(events.InvalidAnnotation(problem))
	}
	policy := annotation.PolicyFor(namespace.Inject, s.asked.Inject)
	if policy.Disabled {
		return s, nil
	}
	name := merge.AccountName(svc.Spec.Template.Spec.ServiceAccountName)
	account, err := r.accounts.ServiceAccounts(svc.Namespace).Get(name)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("failed to get the ServiceAccount %s of Service %s: %w", name, s.key, err)
	}
	s.declared = merge.Declare(policy, namespace, s.asked, merge.AccountOf(name, account))
	current, err := resources.Current(svc)
	if err != nil {
		s.report(events.InvalidLedger(err))
	}
	s.result = merge.Reconcile(current, s.declared, resources.Ready(svc))
	if len(s.result.Withheld) > 0 {
		s.report(events.NotMountable(name, s.result.Withheld))
	}
	return s, nil
}

// converge writes what is due, or finds out why it has to wait.
func (r *Reconciler) converge(ctx context.Context, s *subject) reconciler.Event {
	if !s.result.Changed() {
		r.backfill.done(s.key)
		if !resources.Ready(s.Service) {
			r.checkSecrets(ctx, s)
		}
		return nil
	}
	if may, event := r.mayWrite(ctx, s); !may {
		return event
	}
	patch, err := resources.MakePatch(s.Service, s.result)
	if err != nil {
		return fmt.Errorf("failed to make the patch of Service %s: %w", s.key, err)
	}
	_, err = r.serving.ServingV1().Services(s.Namespace).Patch(ctx, s.Name, types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: pullsecrets.FieldManager})
	switch {
	case apierrors.IsNotFound(err):
		r.backfill.done(s.key)
		return nil
	case refused(err):
		r.backfill.done(s.key)
		r.memory.deny(s.Service)
		s.report(events.BackfillDenied(events.Changes(s.result), err))
		return nil
	case err != nil:
		return fmt.Errorf("failed to patch the pull secrets of Service %s: %w", s.key, err)
	}
	r.backfill.done(s.key)
	r.memory.wrote(s.Service, s.result)
	r.metrics.countAdded(ctx, s.result.Added, pathBackfill)
	recorder := controller.GetEventRecorder(ctx)
	for _, e := range happened(s.result) {
		recorder.Event(s.Service, e.Type, e.Reason, e.Message)
	}
	r.checkSecrets(ctx, s)
	return nil
}

// happened are the Events of a change that was written.
func happened(result merge.Result) []events.Event {
	var all []events.Event
	if len(result.Added) > 0 {
		all = append(all, events.SecretsAdded(result.Added))
	}
	if len(result.Taken) > 0 {
		all = append(all, events.SecretsRetracted(result.Taken))
	}
	return all
}

// mayWrite tells whether the change may be written now. The order of the
// questions is from what never changes by waiting to what does.
func (r *Reconciler) mayWrite(ctx context.Context, s *subject) (bool, reconciler.Event) {
	cfg := config.FromContext(ctx)
	no := func(e *events.Event, event reconciler.Event) (bool, reconciler.Event) {
		r.backfill.done(s.key)
		if e != nil {
			s.report(*e)
		}
		return false, event
	}
	if !s.result.ListChanged {
		// The ledger alone makes no Revision.
		return cfg.Backfill == config.BackfillSafe || cfg.Backfill == config.BackfillAll, nil
	}
	changes := events.Changes(s.result)
	if name := s.Spec.Template.Name; name != "" {
		e := events.NamedRevision(name, changes)
		return no(&e, nil)
	}
	if verdict := resources.Judge(cfg.Backfill, s.Service, s.asked, s.result); !verdict.Write {
		if verdict.Why == "" {
			return no(nil, nil)
		}
		if cfg.Backfill == config.BackfillReport {
			r.countReported(ctx, s, changes)
		}
		e := events.BackfillDeferred(changes, verdict.Why)
		return no(&e, nil)
	}
	if r.memory.wasDenied(s.Service) {
		return no(nil, nil)
	}
	if names, wait := r.memory.contested(s.Service, s.result); wait > 0 {
		if wait == contestedPause {
			r.metrics.contested.Add(ctx, 1)
		}
		e := events.InjectionContested(names)
		return no(&e, controller.NewRequeueAfter(wait))
	}
	culprit, err := r.paused(s.namespace)
	if err != nil {
		return false, err
	}
	var pause []events.Event
	if culprit != "" {
		pause = []events.Event{events.BackfillPaused(culprit)}
	}
	r.reporter.Report(controller.GetEventRecorder(ctx), events.InItsOwn(s.namespace), topicPaused, pause)
	if culprit != "" {
		return no(nil, nil)
	}
	return r.backfill.ask(s.key, !resources.Ready(s.Service), cfg.BackfillPerMinute), nil
}

// paused returns the name of a Service whose Revision the product made after
// the Namespace changed last, and which failed; or nothing.
func (r *Reconciler) paused(namespace *corev1.Namespace) (string, error) {
	failed, err := r.failed(namespace.Name)
	if err != nil {
		return "", fmt.Errorf("failed to look for failed Services of Namespace %s: %w", namespace.Name, err)
	}
	changed := lastWrite(namespace.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return e.Subresource == "" })
	for _, svc := range failed {
		ours := lastWrite(svc.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == pullsecrets.FieldManager })
		if !ours.Before(changed) {
			return svc.Name, nil
		}
	}
	return "", nil
}

// lastWrite is when the API server noted the last write of certain managers. It
// notes whole seconds.
func lastWrite(managed []metav1.ManagedFieldsEntry, of func(metav1.ManagedFieldsEntry) bool) time.Time {
	var last time.Time
	for _, entry := range managed {
		if of(entry) && entry.Time != nil && entry.Time.After(last) {
			last = entry.Time.Time
		}
	}
	return last
}

// checkSecrets reports declared names whose Secret does not exist or cannot be
// used. Neither keeps a name out of the list: Kubernetes ignores such an entry,
// and a Secret that comes later must not cost a Revision.
func (r *Reconciler) checkSecrets(ctx context.Context, s *subject) {
	for _, name := range s.declared.Names() {
		secretType, exists, err := r.secrets.TypeOf(ctx, s.Namespace, name)
		switch {
		case err != nil:
			logging.FromContext(ctx).Warnw("Failed to check a declared pull secret", "secret", name, "error", err)
		case !exists:
			s.report(events.SecretMissing(s.Namespace, name))
		case secretType != corev1.SecretTypeDockerConfigJson && secretType != corev1.SecretTypeDockercfg:
			s.report(events.SecretWrongType(s.Namespace, name, secretType))
		}
	}
}

// refused tells whether the API server will never take this patch: an admission
// webhook, a policy or the schema says no. A conflict or an outage passes.
func refused(err error) bool {
	return apierrors.IsBadRequest(err) || apierrors.IsInvalid(err) || apierrors.IsRequestEntityTooLargeError(err) ||
		// A webhook may choose this code; missing rights have it too, and those
		// an operator can mend at any time.
		apierrors.IsForbidden(err) && strings.Contains(err.Error(), "denied the request")
}

// failedIndex is an index of Services by namespace, of those whose newest
// Revision the product made as user and which failed.
const failedIndex = "pullsecrets.dev/failed"

func indexFailed(user string) cache.IndexFunc {
	return func(object any) ([]string, error) {
		if svc, ok := object.(*servingv1.Service); ok && resources.CausedFailure(svc, user) {
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
