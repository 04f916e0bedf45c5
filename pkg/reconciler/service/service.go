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
	"pullsecrets.dev/pkg/reconciler/service/resources"
)

// Topics of what is reported of an object.
const (
	topicService = "service"
	topicSecrets = "secrets"
	topicGrants  = "grants"
	topicPaused  = "backfill"
)

// Reconciler keeps the pull secrets of existing Knative Services at what is
// declared. It patches two fields of a Service and writes nothing else.
type Reconciler struct {
	serving servingclient.Interface
	// cached is what decisions are made by, and live what they are checked
	// against where a stale cache could do harm.
	cached, live sources
	// failed finds the Services of a namespace whose newest Revision the
	// product made and which failed.
	failed  func(namespace string) ([]*servingv1.Service, error)
	secrets secretTypes
	// catalog tells what ClusterPullSecrets grant now.
	catalog func() (grant.Catalog, error)
	// covers reports whether a ClusterPullSecret holds a credential for an image.
	covers grant.Covers

	// memory is all that follows.
	memory   *memory.Memory
	backfill *backfill
	attempts attempts
	reporter *events.Reporter
	metrics  recorded
}

// sources reads what declares.
type sources struct {
	namespace func(ctx context.Context, name string) (*corev1.Namespace, error)
	account   func(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error)
}

var (
	_ servicereconciler.Interface    = (*Reconciler)(nil)
	_ reconciler.OnDeletionInterface = (*Reconciler)(nil)
)

// subject is a Service with all that is known about what it should have.
type subject struct {
	*servingv1.Service
	key types.NamespacedName
	// began is when its facts were first looked at: what was read since then is new.
	began     time.Time
	namespace *corev1.Namespace
	offered   grant.Catalog
	// declaration is empty where the Namespace is excluded.
	declaration grant.Declaration
	current     merge.Current
	result      merge.Result
	// waits: a copy is not there yet that has to be before it is named.
	waits bool
	// retry is when more is known of its Secrets, or zero where all is.
	retry time.Duration
	// reports collects what is the case and its owner should know.
	reports []events.Event
}

func (s *subject) report(e events.Event) { s.reports = append(s.reports, e) }

// ReconcileKind reads what is declared for a Service, computes its list and, if
// it differs and may be changed now, patches it once.
func (r *Reconciler) ReconcileKind(ctx context.Context, svc *servingv1.Service) reconciler.Event {
	s, err := r.look(ctx, svc, r.cached)
	if apierrors.IsNotFound(err) {
		// The cache does not know a Namespace or a ServiceAccount yet. To take
		// it for one that declares nothing could take entries away, or hide the
		// ServiceAccount's from the Pods.
		s, err = r.look(ctx, svc, r.live)
	}
	if apierrors.IsNotFound(err) {
		// Without them, no Pod of the Service can start. When they come, they
		// wake it.
		r.backfill.done(keyOf(svc), false)
		return nil
	}
	if err != nil {
		return err
	}
	event := r.converge(ctx, s)
	told, all := r.reporter.Report(controller.GetEventRecorder(ctx), svc, topicService, s.reports)
	again := r.checkSecrets(ctx, s)
	deferred := func(e events.Event) bool { return e.Reason == events.ReasonBackfillDeferred }
	if config.FromContext(ctx).Backfill == config.BackfillReport && slices.ContainsFunc(told, deferred) {
		r.metrics.added.Count(ctx, s.result.Added, metrics.Report)
	}
	if !all {
		event = noLaterThan(event, events.RetryAfter)
	}
	if again || s.waits {
		event = noLaterThan(event, lookAgain)
	}
	if s.retry > 0 {
		event = noLaterThan(event, s.retry)
	}
	return event
}

// noLaterThan has a Service looked at again after that time, unless it is sooner anyway:
// after an error it is tried again.
func noLaterThan(event reconciler.Event, most time.Duration) reconciler.Event {
	if later, after := controller.IsRequeueKey(event); event == nil || later && after > most {
		return controller.NewRequeueAfter(most)
	}
	return event
}

// ObserveDeletion forgets a Service that is gone.
func (r *Reconciler) ObserveDeletion(_ context.Context, key types.NamespacedName) error {
	r.memory.Forget(key)
	return nil
}

func keyOf(svc *servingv1.Service) types.NamespacedName {
	return types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
}

// serviceOf is what a declaration depends on of a Service.
func serviceOf(svc *servingv1.Service) grant.Service {
	return grant.Service{Annotations: svc.Annotations, Images: func() []grant.Image { return catalog.Images(svc) }}
}

// look reads everything that the decision depends on.
func (r *Reconciler) look(ctx context.Context, svc *servingv1.Service, from sources) (*subject, error) {
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
	for _, problem := range slices.Concat(s.declaration.OfService.Problems, resources.Misplaced(svc)) {
		s.report(events.InvalidAnnotation(problem))
	}
	if s.declaration.Policy.Disabled {
		return s, nil
	}
	if s.current, err = resources.Current(svc); err != nil {
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
	s.result = merge.Reconcile(s.current, s.declaration.Declared, resources.IsReady(svc))
	if len(s.result.Withheld) > 0 {
		s.report(events.NotMountable(s.declaration.Account.Name, s.result.Withheld))
	}
	return s, nil
}
