// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/reconciler/namespace/resources"
	"pullsecrets.dev/pkg/source"
)

// readFact reads a fact that a decision needs.
func (c *copies) readFact(ctx context.Context, fact resources.Fact, s *resources.Situation, o *outcome) (err error) {
	switch fact {
	case resources.FactGrant:
		s.Grant, err = c.grantOf(ctx, s.Have)
	case resources.FactReference:
		s.Reference, err = c.referenceTo(ctx, s.Have, o)
	case resources.FactSource:
		s.Source, err = c.sourceOf(ctx, s.Serving)
	default:
		err = fmt.Errorf("failed to read fact %s: unknown fact", fact)
	}
	return err
}

// sourceOf returns the source of a ClusterPullSecret at the version that its status
// names.
func (c *copies) sourceOf(ctx context.Context, cps *v1alpha1.ClusterPullSecret) (*resources.Source, error) {
	facts, err := c.sources.Facts(ctx, source.ScopeOf(cps), cps.Status.Source.ResourceVersion)
	if err != nil {
		return nil, fmt.Errorf("failed to read the source of ClusterPullSecret %s: %w", cps.Name, err)
	}
	stale, err := c.statusStale(cps, facts)
	return &resources.Source{Digest: facts.Digest, StatusStale: stale}, err
}

// statusStale reports whether the source has changed since the status was written. The
// update of the status will enqueue the Namespace. A restarted process detects the change
// by the copies of the version that the status names. It must not overwrite them, because
// they are the only evidence of the change. The wait is limited, so that one copy that a
// tenant changed does not block all others.
func (c *copies) statusStale(cps *v1alpha1.ClusterPullSecret, facts source.Facts) (bool, error) {
	version := cps.Status.Source.ResourceVersion
	if facts.ResourceVersion == version {
		return false, nil
	}
	copies, err := source.CopiesOf(c.secrets, cps.Name)
	if err != nil {
		return false, err
	}
	same, other := source.Compare(copies, version, facts.Digest)
	// A credential that is to be verified may be newer than the one that the status accepts.
	unproven := other || cps.Spec.Verify != nil && !same
	if cps.Spec.Verify != nil && other && !same {
		// The copies show that the contents have changed. The ClusterPullSecret reconciler
		// verifies them, however long that takes, and then updates the status or its condition.
		return true, nil
	}
	if unproven && c.gracePeriods.elapsed(cps.Name, version, facts.ResourceVersion, time.Now()) < statusTimeout {
		return true, nil
	}
	// The status was not updated in time, so the change was only of metadata. A copy with
	// other contents was changed by a tenant and is to be restored.
	c.gracePeriods.end(cps.Name)
	if same || unproven {
		facts.ResourceVersion = version
		c.sources.Know(source.ScopeOf(cps), version, facts)
	}
	return false, nil
}

// grantOf returns whether anything grants a labelled Secret. The deletion of a
// ClusterPullSecret is final and affects many copies, so it is read from the cache. All
// else is read from the API server, because a stale cache could remove a copy that is
// granted.
func (c *copies) grantOf(ctx context.Context, copied *corev1.Secret) (resources.Grant, error) {
	all, err := c.clusterPullSecrets.List(labels.Everything())
	if err != nil {
		return "", fmt.Errorf("failed to list ClusterPullSecrets: %w", err)
	}
	if slices.ContainsFunc(all, func(cps *v1alpha1.ClusterPullSecret) bool { return grant.IsSource(cps, copied.Namespace, copied.Name) }) {
		// A source is no copy, even if it has our labels.
		return resources.Granted, nil
	}
	if cps, err := c.clusterPullSecrets.Get(grant.Owner(copied)); err == nil && !cps.DeletionTimestamp.IsZero() {
		return endedGrant(cps), nil
	}
	return c.liveGrantOf(ctx, copied)
}

// endedGrant returns how a grant by a ClusterPullSecret ended.
func endedGrant(cps *v1alpha1.ClusterPullSecret) resources.Grant {
	if !cps.DeletionTimestamp.IsZero() && cps.Spec.DeletionPolicy == v1alpha1.DeletionPolicyRetain {
		return resources.EndedRetain
	}
	return resources.Ended
}

// liveGrantOf reads the grant from the API server.
func (c *copies) liveGrantOf(ctx context.Context, copied *corev1.Secret) (resources.Grant, error) {
	namespace, err := c.kube.CoreV1().Namespaces().Get(ctx, copied.Namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && !namespace.DeletionTimestamp.IsZero() {
		return resources.Granted, nil // Kubernetes deletes its contents.
	}
	if err != nil {
		return "", fmt.Errorf("failed to read Namespace %s: %w", copied.Namespace, err)
	}
	cps, err := c.client.PullsecretsV1alpha1().ClusterPullSecrets().Get(ctx, grant.Owner(copied), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return resources.Ended, nil
	}
	if err != nil {
		return "", fmt.Errorf("failed to read ClusterPullSecret %s: %w", grant.Owner(copied), err)
	}
	if config.FromContext(ctx).Excludes(namespace.Name, namespace.Labels) {
		return endedGrant(cps), nil
	}
	if grant.NewCatalog([]*v1alpha1.ClusterPullSecret{cps}).For(namespace.Labels).Named(copied.Name) != nil {
		return resources.Granted, nil
	}
	return endedGrant(cps), nil
}

// referenceTo returns what refers to a copy in its namespace. Revisions are not cached,
// so they are listed last, and once for all copies.
func (c *copies) referenceTo(ctx context.Context, copied *corev1.Secret, o *outcome) (resources.Reference, error) {
	refers := func(refs []corev1.LocalObjectReference) bool {
		return slices.Contains(merge.NamesOf(refs), copied.Name)
	}
	services, err := c.services.Services(copied.Namespace).List(labels.Everything())
	if err != nil {
		return "", fmt.Errorf("failed to list the Services of namespace %s: %w", copied.Namespace, err)
	}
	for _, svc := range services {
		if refers(svc.Spec.Template.Spec.ImagePullSecrets) {
			return resources.ReferencedByCached, nil
		}
	}
	accounts, err := c.accounts.ServiceAccounts(copied.Namespace).List(labels.Everything())
	if err != nil {
		return "", fmt.Errorf("failed to list the ServiceAccounts of namespace %s: %w", copied.Namespace, err)
	}
	for _, account := range accounts {
		if refers(account.ImagePullSecrets) {
			return resources.ReferencedByCached, nil
		}
	}
	if o.referred == nil {
		if o.referred, err = c.referredByRevisions(ctx, copied.Namespace); err != nil {
			return "", fmt.Errorf("failed to list the Revisions of namespace %s: %w", copied.Namespace, err)
		}
	}
	if o.referred.Has(copied.Name) {
		return resources.ReferencedByRevision, nil
	}
	return resources.Unreferenced, nil
}

// referredByRevisions returns the names in the lists of all Revisions of a namespace.
func (c *copies) referredByRevisions(ctx context.Context, namespace string) (sets.Set[string], error) {
	names := sets.New[string]()
	revisions, err := c.serving.ServingV1().Revisions(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i := range revisions.Items {
		names.Insert(merge.NamesOf(revisions.Items[i].Spec.ImagePullSecrets)...)
	}
	return names, nil
}
