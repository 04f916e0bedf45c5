// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/reconciler"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"
	servicereconciler "knative.dev/serving/pkg/client/injection/reconciler/serving/v1/service"

	"pullsecrets.dev/pkg/catalog"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/memory"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/metrics"
	"pullsecrets.dev/pkg/rollout"
)

// Topics of reports about an object; each replaces what was reported under it before.
const (
	topicService = "service"
	topicSecrets = "secrets"
	topicGrants  = "grants"
	topicPaused  = "backfill"
)

// Reconciler reconciles the pull secrets of existing Knative Services with what is
// declared. It patches two fields of a Service and writes nothing else.
type Reconciler struct {
	serving servingclient.Interface
	// cached is the source of decisions. live confirms them where a stale cache could do
	// harm.
	cached, live sources
	// failed returns the Services of a namespace whose newest Revision was caused by the
	// controller and failed.
	failed  func(namespace string) ([]*servingv1.Service, error)
	secrets secretTypes
	// catalog returns what ClusterPullSecrets grant now.
	catalog func() (grant.Catalog, error)
	// covers reports whether a ClusterPullSecret holds a credential for an image.
	covers grant.Covers
	// profile decides whether Secrets may be read.
	profile config.Profile

	// memory owns the fields below.
	memory   *memory.Memory
	backfill *backfill
	attempts attempts
	reporter *events.Reporter
	metrics  recorded
}

// sources reads the objects that declare pull secrets.
type sources struct {
	namespace func(ctx context.Context, name string) (*corev1.Namespace, error)
	account   func(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error)
}

var (
	_ servicereconciler.Interface    = (*Reconciler)(nil)
	_ reconciler.OnDeletionInterface = (*Reconciler)(nil)
)

// subject is a Service with all that decides about its pull secrets.
type subject struct {
	*servingv1.Service
	key types.NamespacedName
	// began is when its facts were first read. Whatever was read later is fresh.
	began     time.Time
	namespace *corev1.Namespace
	offered   grant.Catalog
	// declaration is empty where the Namespace is excluded.
	declaration grant.Declaration
	current     merge.Current
	result      merge.Result
	// awaits is set while a copy does not exist yet which must exist before it is listed.
	awaits bool
	// retry is when its Secrets can be read again, or zero where they have been read.
	retry time.Duration
	// reports collects the Events for its owner.
	reports []events.Event
}

func (s *subject) report(e events.Event) { s.reports = append(s.reports, e) }

// ReconcileKind reads what is declared for a Service, computes its list and, if
// it differs and may be changed now, patches it once.
func (r *Reconciler) ReconcileKind(ctx context.Context, svc *servingv1.Service) reconciler.Event {
	defer r.memory.Settle(keyOf(svc))
	s, err := r.read(ctx, svc, r.cached)
	if apierrors.IsNotFound(err) {
		// The cache does not have a Namespace or a ServiceAccount yet. Treating it as
		// one that declares nothing could remove entries, or hide those of the
		// ServiceAccount from the Pods.
		s, err = r.read(ctx, svc, r.live)
	}
	if apierrors.IsNotFound(err) {
		// Without them, no Pod of the Service can start. When they are created, they
		// enqueue it.
		r.backfill.done(keyOf(svc), false)
		return nil
	}
	if err != nil {
		return err
	}
	event := r.converge(ctx, s)
	told, all := r.reporter.Report(controller.GetEventRecorder(ctx), svc, topicService, s.reports)
	recheck := r.checkSecrets(ctx, s)
	deferred := func(e events.Event) bool { return e.Reason == events.ReasonBackfillDeferred }
	if config.FromContext(ctx).Backfill == config.BackfillReport && slices.ContainsFunc(told, deferred) {
		r.metrics.added.Count(ctx, s.result.Added, metrics.Report)
	}
	if !all {
		event = noLaterThan(event, events.RetryAfter)
	}
	if recheck || s.awaits {
		event = noLaterThan(event, recheckAfter)
	}
	if s.retry > 0 {
		event = noLaterThan(event, s.retry)
	}
	return event
}

// noLaterThan returns an event that requeues the Service after that time at the latest.
// An error requeues it sooner.
func noLaterThan(event reconciler.Event, most time.Duration) reconciler.Event {
	if later, after := controller.IsRequeueKey(event); event == nil || later && after > most {
		return controller.NewRequeueAfter(most)
	}
	return event
}

// ObserveDeletion forgets a deleted Service.
func (r *Reconciler) ObserveDeletion(_ context.Context, key types.NamespacedName) error {
	r.memory.Forget(key)
	return nil
}

func keyOf(svc *servingv1.Service) types.NamespacedName {
	return types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
}

// serviceOf is what a declaration depends on of a Service.
func serviceOf(svc *servingv1.Service) grant.Service {
	return grant.Service{
		Annotations: svc.Annotations,
		Images:      func() []grant.Image { return catalog.Images(svc) },
		Stored: func() merge.Current {
			current, _ := rollout.Current(svc) // read reports a damaged ledger.
			return current
		},
	}
}

// read collects everything that the decision depends on.
func (r *Reconciler) read(ctx context.Context, svc *servingv1.Service, from sources) (*subject, error) {
	s := &subject{Service: svc, key: keyOf(svc), began: time.Now()}
	var err error
	if s.namespace, err = from.namespace(ctx, svc.Namespace); err != nil {
		return nil, fmt.Errorf("failed to get the Namespace of Service %s: %w", s.key, err)
	}
	if config.FromContext(ctx).Excludes(svc.Namespace, s.namespace.Labels) || !s.namespace.DeletionTimestamp.IsZero() {
		return s, nil
	}
	if s.offered, err = r.catalog(); err != nil {
		return nil, err
	}
	s.declaration = s.offered.Declare(s.namespace, serviceOf(svc), r.covers)
	for _, problem := range slices.Concat(s.declaration.OfService.Problems, r.profile.Problems(s.declaration.OfService.Inject), rollout.Misplaced(svc)) {
		s.report(events.InvalidAnnotation(problem))
	}
	if s.declaration.Policy.Disabled {
		return s, nil
	}
	if s.current, err = rollout.Current(svc); err != nil {
		s.report(events.InvalidLedger(err))
	}
	if s.declaration.NeedsAccount() {
		name := merge.AccountName(svc.Spec.Template.Spec.ServiceAccountName)
		account, err := from.account(ctx, svc.Namespace, name)
		if err != nil {
			return nil, fmt.Errorf("failed to get the ServiceAccount %s of Service %s: %w", name, s.key, err)
		}
		s.declaration.Account = merge.AccountOf(name, account)
	}
	s.result = merge.Reconcile(s.current, s.declaration.Declared, rollout.IsReady(svc))
	if len(s.result.Withheld) > 0 {
		s.report(events.NotMountable(s.declaration.Account.Name, s.result.Withheld))
	}
	return s, nil
}
