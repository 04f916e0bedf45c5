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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/reconciler"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"
	servicereconciler "knative.dev/serving/pkg/client/injection/reconciler/serving/v1/service"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/catalog"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/contest"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/metrics"
	"pullsecrets.dev/pkg/reconciler/service/resources"
	"pullsecrets.dev/pkg/trim"
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

	backfill *backfill
	memory   memory
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
	key       types.NamespacedName
	namespace *corev1.Namespace
	asked     annotation.Service
	offered   grant.Catalog
	granted   grant.Grants
	current   merge.Current
	declared  merge.Declared
	result    merge.Result
	// waits: a copy is not there yet that has to be before it is named.
	waits bool
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
	r.backfill.done(key, false)
	r.memory.forget(key)
	r.metrics.missing.note(key, nil)
	r.reporter.Forget(key, topicService, topicSecrets, topicGrants)
	return nil
}

// demote forgets what only the leader keeps, of the Services that it leads for no
// more. Those of other buckets stay: who waits in the line has left the work queue,
// and nobody else would wake it.
func (r *Reconciler) demote(bucket reconciler.Bucket) {
	r.backfill.forgetThose(bucket.Has)
	r.memory.forgetThose(bucket.Has)
	r.metrics.missing.forgetThose(bucket.Has)
	r.reporter.ForgetThose(bucket.Has)
}

func keyOf(svc *servingv1.Service) types.NamespacedName {
	return types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
}

// look reads everything that the decision depends on.
func (r *Reconciler) look(ctx context.Context, svc *servingv1.Service, from sources) (*subject, error) {
	s := &subject{Service: svc, key: keyOf(svc)}
	var err error
	if s.namespace, err = from.namespace(ctx, svc.Namespace); err != nil {
		return nil, fmt.Errorf("failed to get the Namespace of Service %s: %w", s.key, err)
	}
	if config.FromContext(ctx).Excludes(svc.Namespace, s.namespace.Labels) || !s.namespace.DeletionTimestamp.IsZero() {
		return s, nil
	}
	namespace := annotation.ForNamespace(s.namespace.Annotations)
	s.asked = annotation.ForService(svc.Annotations)
	for _, problem := range slices.Concat(s.asked.Problems, resources.Misplaced(svc)) {
		s.report(events.InvalidAnnotation(problem))
	}
	policy := annotation.PolicyFor(namespace.Inject, s.asked.Inject)
	if policy.Disabled {
		return s, nil
	}
	if s.current, err = resources.Current(svc); err != nil {
		s.report(events.InvalidLedger(err))
	}
	if s.offered, err = r.catalog(); err != nil {
		return nil, err
	}
	s.granted = s.offered.For(s.namespace.Labels)
	s.declared = merge.Declare(policy, namespace, s.asked, merge.Account{})
	s.declared.Always, s.declared.Auto = s.granted.Layers(policy, catalog.Images(svc), catalog.Covers)
	if len(s.declared.Names()) > 0 {
		name := merge.AccountName(svc.Spec.Template.Spec.ServiceAccountName)
		account, err := from.account(ctx, svc.Namespace, name)
		if err != nil {
			return nil, fmt.Errorf("failed to get the ServiceAccount %s of Service %s: %w", name, s.key, err)
		}
		s.declared.Account = merge.AccountOf(name, account)
	}
	s.result = merge.Reconcile(s.current, s.declared, resources.Ready(svc))
	if len(s.result.Withheld) > 0 {
		s.report(events.NotMountable(s.declared.Account.Name, s.result.Withheld))
	}
	return s, nil
}

// converge writes what is due, or finds out why it has to wait.
func (r *Reconciler) converge(ctx context.Context, s *subject) reconciler.Event {
	if !s.result.Changed() {
		r.backfill.done(s.key, false)
		return nil
	}
	if may, event := r.mayWrite(ctx, s); !may {
		return event
	}
	if sensitive(s) {
		fresh, err := r.look(ctx, s.Service, r.live)
		gone := apierrors.IsNotFound(err)
		if err != nil && !gone {
			r.backfill.done(s.key, false)
			return err
		}
		if gone || !fresh.result.Changed() {
			// The cache will learn it in a moment, and wake the Service.
			r.backfill.done(s.key, false)
			return nil
		}
		s.granted, s.declared, s.result = fresh.granted, fresh.declared, fresh.result
		if awaits, err := r.awaitsCopy(ctx, s); awaits || err != nil {
			r.backfill.done(s.key, false)
			return err
		}
	}
	return r.write(ctx, s)
}

// sensitive tells whether a change must not be made by what a cache says, which
// may be a moment old: entries are taken away, which another annotation may have
// taken over; or the list stops being empty, which hides the ServiceAccount's
// entries from the Pods.
func sensitive(s *subject) bool {
	return len(s.result.Taken) > 0 || len(s.current.List) == 0 && s.result.ListChanged
}

// write makes the one patch and tells what it did.
func (r *Reconciler) write(ctx context.Context, s *subject) reconciler.Event {
	patch, err := resources.MakePatch(s.Service, s.result)
	if err != nil {
		return fmt.Errorf("failed to make the patch of Service %s: %w", s.key, err)
	}
	_, err = r.serving.ServingV1().Services(s.Namespace).Patch(ctx, s.Name, types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: pullsecrets.FieldManager})
	if apierrors.IsConflict(err) {
		// Somebody was faster. The turn is kept for the next try.
		return err
	}
	r.backfill.done(s.key, err == nil && s.result.ListChanged)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case events.Refused(err):
		r.memory.deny(s.Service)
		s.report(events.BackfillDenied(events.Changes(s.result), err))
		return nil
	case err != nil:
		return fmt.Errorf("failed to patch the pull secrets of Service %s: %w", s.key, err)
	}
	r.memory.wrote(s.Service, s.result)
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

// awaitsCopy tells whether a name is to be added of which the copy does not exist
// yet: a Revision that names it now could fail for want of it. The copy wakes the
// Service when it is there. A Secret of the user's under the name serves as well,
// and wakes nobody, so the Service is looked at again. What no ClusterPullSecret
// serves is for its owner to make, now or later.
func (r *Reconciler) awaitsCopy(ctx context.Context, s *subject) (bool, error) {
	for _, e := range s.result.Added {
		if s.copied(e.Name) == nil {
			continue
		}
		_, exists, err := r.secrets.TypeOf(ctx, s.Namespace, e.Name)
		if err != nil {
			return false, fmt.Errorf("failed to look for the copy %s/%s: %w", s.Namespace, e.Name, err)
		}
		if !exists {
			s.waits = true
			return true, nil
		}
	}
	return false, nil
}

// copied returns the ClusterPullSecret that a Secret of this name is a copy of, or
// nil.
func (s *subject) copied(name string) *v1alpha1.ClusterPullSecret {
	cps := s.granted.Named(name)
	if cps == nil || grant.IsSource(cps, s.Namespace, name) {
		return nil
	}
	return cps
}

// missed tells whether admission should have made the change, because the Service
// was written after what declares it.
func missed(s *subject) bool {
	owner := lastWrite(s.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return e.Manager != pullsecrets.FieldManager })
	return owner.After(lastDeclared(s.namespace, s.granted))
}

// mayWrite tells whether the change may be written now. The order of the
// questions is from what never changes by waiting to what does.
func (r *Reconciler) mayWrite(ctx context.Context, s *subject) (bool, reconciler.Event) {
	cfg := config.FromContext(ctx)
	no := func(reports ...events.Event) (bool, reconciler.Event) {
		r.backfill.done(s.key, false)
		s.reports = append(s.reports, reports...)
		return false, nil
	}
	changes := events.Changes(s.result)
	verdict := resources.Judge(cfg.Backfill, s.Service, s.asked, s.result)
	name := s.Spec.Template.Name
	switch {
	case !verdict.Write && verdict.Why == "":
		return no()
	case s.result.ListChanged && name != "":
		return no(events.NamedRevision(name, changes))
	case !verdict.Write:
		return no(events.BackfillDeferred(changes, verdict.Why))
	case r.memory.wasDenied(s.Service):
		return no()
	case len(s.result.Added) > 0 && trim.IsFull(s.Service):
		return no(events.BackfillDenied(changes, events.ErrNoRoom))
	}
	if contested, wait := r.memory.contested(s.Service, s.result); wait > 0 {
		if wait == contest.Pause {
			r.metrics.contested.Add(ctx, 1)
		}
		may, _ := no(events.InjectionContested(contested))
		return may, controller.NewRequeueAfter(wait)
	}
	if !s.result.ListChanged {
		// The ledger alone makes no Revision.
		return true, nil
	}
	culprit, err := r.paused(s.namespace, s.granted)
	if err != nil {
		return false, err
	}
	var pause []events.Event
	if culprit != "" {
		pause = []events.Event{events.BackfillPaused(culprit)}
	}
	r.reporter.Report(controller.GetEventRecorder(ctx), events.InItsOwn(s.namespace), topicPaused, pause)
	if culprit != "" {
		return no()
	}
	if awaits, err := r.awaitsCopy(ctx, s); awaits || err != nil {
		may, _ := no()
		return may, err
	}
	return r.backfill.ask(s.key, !resources.Ready(s.Service), cfg.BackfillPerMinute), nil
}

// paused returns the name of a Service whose Revision the product made after the
// Namespace, or what is granted to it, changed last, and which failed; or nothing.
func (r *Reconciler) paused(namespace *corev1.Namespace, granted grant.Grants) (string, error) {
	failed, err := r.failed(namespace.Name)
	if err != nil {
		return "", fmt.Errorf("failed to look for failed Services of Namespace %s: %w", namespace.Name, err)
	}
	changed := lastDeclared(namespace, granted)
	culprit := ""
	for _, svc := range failed {
		ours := lastWrite(svc.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == pullsecrets.FieldManager })
		// Of several, always the same one, so that it is told once.
		if !ours.Before(changed) && (culprit == "" || svc.Name < culprit) {
			culprit = svc.Name
		}
	}
	return culprit, nil
}

// lastDeclared is when somebody wrote the Namespace last, or a ClusterPullSecret
// that serves it, statuses apart.
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
// and a Secret that comes later must not cost a Revision. It looks while the
// Service is not Ready, and once whenever a change is due, whether or not that
// may be written; as long as any are missing; and always for names of copies that
// the namespace may not have, because what is granted can be withdrawn from a
// Service that nobody touches. It returns whether to look again: a Secret of the
// user's wakes nobody when it comes, and it can come in the place of a copy too.
func (r *Reconciler) checkSecrets(ctx context.Context, s *subject) bool {
	names := s.declared.Names()
	all := len(names) == 0 || !resources.Ready(s.Service) || r.metrics.missing.of(s.key) ||
		s.result.ListChanged && !r.memory.checked(s.Service, names)
	var found findings
	var lacking []string
	for _, name := range names {
		withheld := s.offered.Withheld(name, s.namespace.Labels)
		if !all && withheld == nil {
			continue
		}
		secretType, exists, err := r.secrets.TypeOf(ctx, s.Namespace, name)
		if err != nil || !exists || !usable(secretType) {
			lacking = append(lacking, name)
		}
		switch {
		case err != nil:
			logging.FromContext(ctx).Warnw("Failed to check a declared pull secret", "secret", name, "error", err)
		case exists && !usable(secretType):
			found.wrong = append(found.wrong, events.WithType(name, secretType))
		case exists:
		case withheld != nil:
			found.withheld = append(found.withheld, name)
		default:
			found.miss(name, s.copied(name))
		}
	}
	recorder := controller.GetEventRecorder(ctx)
	if r.reporter.Report(recorder, s.Service, topicGrants, found.grants(s.Namespace)); all {
		r.reporter.Report(recorder, s.Service, topicSecrets, found.secrets(s.Namespace))
	}
	r.metrics.missing.note(s.key, lacking)
	return len(lacking) > 0
}

// findings are what is wrong with the Secrets that a Service declares.
type findings struct{ withheld, missing, late, wrong []string }

// miss notes a Secret that does not exist. A copy comes by itself, which is worth
// telling only where that can take long.
func (f *findings) miss(name string, copyOf *v1alpha1.ClusterPullSecret) {
	switch {
	case copyOf == nil:
		f.missing = append(f.missing, name)
	case !copyOf.Status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady).IsTrue():
		f.late = append(f.late, events.WithClusterPullSecret(name, copyOf.Name))
	}
}

func (f *findings) grants(namespace string) []events.Event {
	if len(f.withheld) == 0 {
		return nil
	}
	return []events.Event{events.NotGranted(namespace, f.withheld)}
}

func (f *findings) secrets(namespace string) []events.Event {
	var reports []events.Event
	if len(f.missing) > 0 {
		reports = append(reports, events.SecretMissing(namespace, f.missing))
	}
	if len(f.late) > 0 {
		reports = append(reports, events.CopyMissing(namespace, f.late))
	}
	if len(f.wrong) > 0 {
		reports = append(reports, events.SecretWrongType(namespace, f.wrong))
	}
	return reports
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
