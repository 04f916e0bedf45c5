// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/reconciler"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"
	servicereconciler "knative.dev/serving/pkg/client/injection/reconciler/serving/v1/service"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/catalog"
	listers "pullsecrets.dev/pkg/client/listers/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/coverage"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/fair"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/memory"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/reconciler/revision/resources"
)

// topicUncovered is the topic of reports about a Service.
const topicUncovered = "uncovered"

// Reconciler reports images of Services that no credential covers, and retries Revisions. It
// deletes Revisions and writes nothing else.
type Reconciler struct {
	serving            servingclient.Interface
	namespaces         corev1listers.NamespaceLister
	accounts           corev1listers.ServiceAccountLister
	clusterPullSecrets listers.ClusterPullSecretLister
	// copies have digests as data.
	copies    corev1listers.SecretLister
	revisions *revisions
	secrets   *named
	// catalog returns what ClusterPullSecrets grant now.
	catalog func() (grant.Catalog, error)
	// covers and images are Knative's settings.
	covers grant.Covers
	images func() grant.ImageSettings
	// metadata reads the metadata of a Secret from the API server.
	metadata func(ctx context.Context, secret types.NamespacedName) (*metav1.ObjectMeta, error)
	now      func() time.Time

	granted registries
	retries *fair.Budget
	metrics recorded
	// memory owns the fields below.
	memory   *memory.Memory
	findings findings
	// used are the digests of the credentials with which Services were retried last.
	used     *memory.Store[string]
	reporter *events.Reporter
}

var (
	_ servicereconciler.Interface    = (*Reconciler)(nil)
	_ reconciler.OnDeletionInterface = (*Reconciler)(nil)
)

// subject is a Service with all that decides about its Revisions.
type subject struct {
	*servingv1.Service
	key       types.NamespacedName
	namespace *corev1.Namespace
	offered   grant.Catalog
	// granted is what the Namespace may have, also if injection is disabled: ServiceAccounts
	// and copies do not depend on that.
	granted grant.Grants
	// declaration is what the annotations say, also if that is not to opt in.
	declaration grant.Declaration
	optedIn     bool
	// revisions are empty if the Namespace is excluded.
	revisions []resources.Revision

	found []resources.Finding
	// expires is when the first credential that is used expires, or zero.
	expires metav1.Time
	// wait is when a Secret can be read, or zero if all were read.
	wait time.Duration
	// retryAfter is when a retry is possible that is due, or zero if none is.
	retryAfter time.Duration
}

// maxRouted and maxFindings limit what a tenant with very many Revisions costs: the number of
// Revisions with traffic that are checked for each Service, and of their findings.
const (
	maxRouted   = 32
	maxFindings = 16
)

// ReconcileKind checks the newest Revision of a Service and those that traffic can reach.
func (r *Reconciler) ReconcileKind(ctx context.Context, svc *servingv1.Service) reconciler.Event {
	defer r.memory.Settle(keyOf(svc))
	return r.check(ctx, svc)
}

func (r *Reconciler) check(ctx context.Context, svc *servingv1.Service) reconciler.Event {
	s, err := r.read(ctx, svc)
	if s == nil || err != nil {
		return err
	}
	cfg := config.FromContext(ctx)
	settings := r.images()
	routed := 0
	for i := range s.revisions {
		revision := &s.revisions[i]
		newest := revision.Name == svc.Status.LatestCreatedRevisionName
		mayRetry := cfg.RetryFailedRevisions && newest && revision.Rejected != 0
		if !newest && !revision.Routed || cfg.Uncovered != config.UncoveredReport && !mayRetry {
			continue
		}
		if routed++; routed > maxRouted && !newest {
			continue
		}
		bound := s.bound(revision.ServiceAccount)
		// Without an opt-in, a Revision with a list of its own has what its owner wants it to have.
		// Tag resolution uses what its ServiceAccount is bound to all the same.
		report := cfg.Uncovered == config.UncoveredReport && (s.optedIn || len(revision.Template.PullSecrets) == 0)
		if !s.optedIn && len(bound) == 0 || !report && !mayRetry {
			continue
		}
		t, secrets, err := r.inputs(ctx, s, revision)
		if err != nil {
			return err
		}
		if s.wait > 0 {
			// The previous findings stand until the Secrets can be read.
			return controller.NewRequeueAfter(s.wait)
		}
		results := coverage.Of(t, secrets, settings, metav1.NewTime(r.now()))
		if report {
			complete := resources.Lists(t.PullSecrets, s.declaration.Names()) && resources.Lists(t.ServiceAccount, bound)
			found := revision.Findings(results, svc.Status.LatestCreatedRevisionName, complete)
			if s.found = append(s.found, found...); newest {
				s.found = slices.Concat(found, s.found[:len(s.found)-len(found)])
			}
			s.notice(results, r.now())
		}
		if secret := revision.Candidate(results); mayRetry && secret != "" {
			if err := r.retry(ctx, s, revision, secret); err != nil {
				return err
			}
		}
	}
	s.found = s.found[:min(len(s.found), maxFindings)]
	return r.report(ctx, s)
}

// read collects what the check depends on. It returns nil before the Revisions are listed,
// which enqueues all Services.
func (r *Reconciler) read(ctx context.Context, svc *servingv1.Service) (*subject, error) {
	s := &subject{Service: svc, key: keyOf(svc)}
	var synced bool
	if s.revisions, synced = r.revisions.of(s.key); !synced {
		return nil, nil
	}
	var err error
	s.namespace, err = r.namespaces.Get(svc.Namespace)
	if apierrors.IsNotFound(err) {
		return nil, nil // It will enqueue its Services.
	}
	if err != nil {
		return nil, fmt.Errorf("failed to get the Namespace of Service %s: %w", s.key, err)
	}
	if config.FromContext(ctx).Excludes(svc.Namespace, s.namespace.Labels) || !s.namespace.DeletionTimestamp.IsZero() {
		s.revisions = nil
		return s, nil
	}
	if s.offered, err = r.catalog(); err != nil {
		return nil, err
	}
	s.declaration = s.offered.Declare(s.namespace, grant.Service{
		Annotations: svc.Annotations, Images: func() []grant.Image { return catalog.Images(svc) },
	}, r.covers)
	s.granted = s.offered.For(s.namespace.Labels)
	s.optedIn = !s.declaration.Policy.Disabled && (s.declaration.Policy.Auto || len(s.declaration.Names()) > 0)
	return s, nil
}

// bound returns the names that are declared for a ServiceAccount. Both readers use its list for a
// Revision without one of its own, and tag resolution also beside that. So what is added there
// counts as what is added to a Service, whatever the Service itself declares.
func (s *subject) bound(account string) (names []string) {
	for _, entry := range s.granted.Bound(account, merge.Current{}) {
		names = append(names, entry.Secret)
	}
	return append(names, s.declaration.OfNamespace.SecretsFor(account)...)
}

// inputs returns what coverage depends on of a Revision. If a Secret cannot be read yet, it
// sets s.wait.
func (r *Reconciler) inputs(ctx context.Context, s *subject, revision *resources.Revision) (coverage.Template, map[string]coverage.Secret, error) {
	t := revision.Template
	account, err := r.accounts.ServiceAccounts(s.Namespace).Get(revision.ServiceAccount)
	if err != nil && !apierrors.IsNotFound(err) {
		return t, nil, fmt.Errorf("failed to get the ServiceAccount %s of Service %s: %w", revision.ServiceAccount, s.key, err)
	}
	if err == nil {
		t.ServiceAccount = merge.NamesOf(account.ImagePullSecrets)
	}
	secrets := make(map[string]coverage.Secret)
	for _, name := range resources.Names(t) {
		found, err := r.secretOf(ctx, s, name)
		if err != nil {
			return t, nil, err
		}
		secrets[name] = found.Secret
	}
	return t, secrets, nil
}

// secretOf returns what is known of a Secret: of a copy by the status of its
// ClusterPullSecret, and of any other by a read. A copy that does not exist yet counts as one
// if its source is ready, because it is created in a moment. Otherwise it is missing.
func (r *Reconciler) secretOf(ctx context.Context, s *subject, name string) (facts, error) {
	copied, err := r.copies.Secrets(s.Namespace).Get(name)
	if err == nil {
		cps, err := r.clusterPullSecrets.Get(grant.Owner(copied))
		if err != nil {
			return facts{}, client(err)
		}
		return facts{Secret: r.granted.of(cps), digest: string(copied.Data[corev1.DockerConfigJsonKey])}, nil
	}
	if !apierrors.IsNotFound(err) {
		return facts{}, fmt.Errorf("failed to get the copy %s of Service %s: %w", name, s.key, err)
	}
	found, wait, err := r.secrets.of(ctx, types.NamespacedName{Namespace: s.Namespace, Name: name})
	if s.wait = max(s.wait, wait); err != nil || wait > 0 || found.State != coverage.Absent {
		return found, err
	}
	switch cps := s.granted.Named(name); {
	case cps != nil && grant.IsSource(cps, s.Namespace, name):
		// The source serves here, and its owner creates it.
	case cps != nil && !s.asksFor(cps, name):
		// It is listed by hand, and not created for that.
	case cps != nil && sourceReady(cps):
		return facts{Secret: r.granted.of(cps)}, nil
	case cps != nil:
		found.CopyOf = cps.Name
	case s.offered.Withheld(name, s.namespace.Labels) != nil:
		found.State = coverage.Ungranted
	}
	return found, nil
}

// asksFor reports whether the Service or its Namespace asks for a copy. Another Service that does
// needs no mention: the copy exists soon.
func (s *subject) asksFor(cps *v1alpha1.ClusterPullSecret, name string) bool {
	return cps.Spec.Always != nil || slices.Contains(s.declaration.Names(), name) || slices.Contains(s.declaration.OfNamespace.Secrets, name)
}

// client returns an error unless the object does not exist, of which nothing is known then.
func client(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// notice notes when the first credential expires that is used now.
func (s *subject) notice(results []coverage.Result, now time.Time) {
	for i := range results {
		for _, verdict := range results[i].Verdicts {
			for j := range verdict.Entries {
				expires := &verdict.Entries[j].Expires
				if verdict.Entries[j].Reason == coverage.Covered && expires.After(now) && (s.expires.IsZero() || expires.Before(&s.expires)) {
					s.expires = *expires
				}
			}
		}
	}
}

// ObserveDeletion forgets a deleted Service.
func (r *Reconciler) ObserveDeletion(_ context.Context, key types.NamespacedName) error {
	r.memory.Forget(key)
	return nil
}
