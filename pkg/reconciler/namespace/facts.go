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

// find finds out a fact that a decision asks for.
func (c *copies) find(ctx context.Context, fact resources.Fact, s *resources.Situation, o *outcome) (err error) {
	switch fact {
	case resources.FactGrant:
		s.Grant, err = c.grantOf(ctx, s.Have)
	case resources.FactReference:
		s.Reference, err = c.referenceTo(ctx, s.Have, o)
	case resources.FactSource:
		s.Source, err = c.sourceOf(ctx, s.Serving)
	default:
		err = fmt.Errorf("failed to find out %s: there is no such fact", fact)
	}
	return err
}

// sourceOf says what the source of a ClusterPullSecret holds, as of the version that
// its status names.
func (c *copies) sourceOf(ctx context.Context, cps *v1alpha1.ClusterPullSecret) (*resources.Source, error) {
	facts, err := c.sources.Facts(ctx, cps.Spec.SecretRef, cps.Status.Source.ResourceVersion)
	if err != nil {
		return nil, fmt.Errorf("failed to read the source of ClusterPullSecret %s: %w", cps.Name, err)
	}
	unjudged, err := c.unjudged(cps, facts)
	return &resources.Source{Digest: facts.Digest, Unjudged: unjudged}, err
}

// unjudged reports whether the source has changed since the status was written, which
// then tells so in a moment and enqueues the Namespace. A process that has just started
// sees that by the copies of the version that the status names. It must not write
// over these: nobody could tell any more that there was a change. But it does not wait
// for ever, lest one copy that somebody has changed holds up all others.
func (c *copies) unjudged(cps *v1alpha1.ClusterPullSecret, facts source.Facts) (bool, error) {
	version := cps.Status.Source.ResourceVersion
	if facts.ResourceVersion == version {
		return false, nil
	}
	copies, err := source.CopiesOf(c.secrets, cps.Name)
	if err != nil {
		return false, err
	}
	same, other := source.Compare(copies, version, facts.Digest)
	if other && c.doubts.last(cps.Name, version, facts.ResourceVersion, time.Now()) < unheard {
		return true, nil
	}
	// It was only labelled, as whoever judges sources knows if nothing has come of this:
	// a copy that holds something else is somebody's change, and waits for its repair.
	c.doubts.end(cps.Name)
	if same || other {
		facts.ResourceVersion = version
		c.sources.Know(cps.Spec.SecretRef, version, facts)
	}
	return false, nil
}

// grantOf says whether anything grants a labelled Secret. A deletion is final, and its
// copies are many, so the cache is believed. Anything else is read from the API server,
// because a stale cache could take away what is granted.
func (c *copies) grantOf(ctx context.Context, copied *corev1.Secret) (resources.Grant, error) {
	all, err := c.clusterPullSecrets.List(labels.Everything())
	if err != nil {
		return "", fmt.Errorf("failed to list ClusterPullSecrets: %w", err)
	}
	if slices.ContainsFunc(all, func(cps *v1alpha1.ClusterPullSecret) bool { return grant.IsSource(cps, copied.Namespace, copied.Name) }) {
		// Whoever put our labels on a source has made no copy of it.
		return resources.Granted, nil
	}
	if cps, err := c.clusterPullSecrets.Get(grant.Owner(copied)); err == nil && !cps.DeletionTimestamp.IsZero() {
		return ended(cps), nil
	}
	return c.liveGrantOf(ctx, copied)
}

// ended is the end of a grant by a ClusterPullSecret.
func ended(cps *v1alpha1.ClusterPullSecret) resources.Grant {
	if !cps.DeletionTimestamp.IsZero() && cps.Spec.DeletionPolicy == v1alpha1.DeletionPolicyRetain {
		return resources.EndedRetain
	}
	return resources.Ended
}

// liveGrantOf is what the API server says of the grant.
func (c *copies) liveGrantOf(ctx context.Context, copied *corev1.Secret) (resources.Grant, error) {
	namespace, err := c.kube.CoreV1().Namespaces().Get(ctx, copied.Namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && !namespace.DeletionTimestamp.IsZero() {
		return resources.Granted, nil // It goes with all that is in it.
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
		return ended(cps), nil
	}
	if grant.NewCatalog([]*v1alpha1.ClusterPullSecret{cps}).For(namespace.Labels).Named(copied.Name) != nil {
		return resources.Granted, nil
	}
	return ended(cps), nil
}

// referenceTo says what of the namespace refers to a copy. Revisions, which are not
// cached, are listed last, and once for all copies.
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

// referredByRevisions are the names in the lists of all Revisions of a namespace.
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
