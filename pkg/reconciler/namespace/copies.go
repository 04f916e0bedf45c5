// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/kubernetes"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"knative.dev/pkg/kmeta"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/catalog"
	"pullsecrets.dev/pkg/client/clientset/versioned"
	listers "pullsecrets.dev/pkg/client/listers/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/reconciler/namespace/resources"
	"pullsecrets.dev/pkg/source"
)

// retryInterval is the delay before a Namespace is reconciled again if a write is blocked
// by something whose end causes no event, such as a user's Secret with the name of a
// copy.
const retryInterval = 10 * time.Minute

// statusTimeout is how long to wait for a status update, which should enqueue the
// Namespace earlier.
const statusTimeout = resources.RecheckSource

// copies reconciles the copies of a Namespace with what is granted and asked for.
type copies struct {
	kube    kubernetes.Interface
	serving servingclient.Interface
	client  versioned.Interface

	catalog            *catalog.Catalog
	sources            *source.Reader
	clusterPullSecrets listers.ClusterPullSecretLister
	// secrets lists the Secrets with our labels. Their data are digests.
	secrets  corev1listers.SecretLister
	services servinglisters.ServiceLister
	accounts corev1listers.ServiceAccountLister
	// labelsOf reads the labels of any Secret, without its data.
	labelsOf func(ctx context.Context, namespace, name string) (map[string]string, error)
	// backoff delays writes that are undone again and again.
	backoff backoff
	// recreations counts labelled Secrets that are created again and again although
	// nothing grants them.
	recreations recreations
	// removals holds since when copies are to be removed.
	removals removals
	// expectations prevents writes from being made twice while the cache is stale.
	expectations expectations
	// gracePeriods limit how long to wait for a stale status.
	gracePeriods gracePeriods
	metrics      recorded
}

// outcome holds the results of one reconciliation beyond its writes.
type outcome struct {
	// conflicts are the names of copies that a user's Secret has.
	conflicts []string
	// bound are the changes of ServiceAccounts that were written.
	bound []events.Binding
	// propagated are the names of labelled Secrets that are created again and again
	// although nothing grants them.
	propagated []string
	// removing are the UIDs of the copies that are to be removed.
	removing []types.UID
	// requeue is the delay before the next reconciliation, or zero.
	requeue time.Duration
	// referred are the names in the lists of all Revisions of the Namespace. They are
	// listed at most once.
	referred sets.Set[string]
}

// requeueAfter requests a reconciliation after a delay, unless an earlier one is
// requested.
func (o *outcome) requeueAfter(after time.Duration) {
	if o.requeue == 0 || after < o.requeue {
		o.requeue = after
	}
}

// converge reconciles each copy. A failure of one does not stop the others. It returns
// what is granted to the Namespace, also if a copy failed.
func (c *copies) converge(ctx context.Context, namespace *corev1.Namespace) (outcome, grant.Grants, error) {
	var o outcome
	// The writes are marked before the cache is read, so that an event that arrives after
	// the read requeues the Namespace.
	c.expectations.expectEvent(namespace.Name)
	have, err := c.existing(namespace.Name)
	if err != nil {
		return o, grant.Grants{}, err
	}
	services, err := c.services.Services(namespace.Name).List(labels.Everything())
	if err != nil {
		return o, grant.Grants{}, fmt.Errorf("failed to list the Services of namespace %s: %w", namespace.Name, err)
	}
	grants, wanted, err := c.catalog.Due(namespace, services, config.FromContext(ctx).Excludes(namespace.Name, namespace.Labels))
	if err != nil {
		return o, grant.Grants{}, err
	}
	var errs []error
	for _, cps := range grants.Serving {
		name := types.NamespacedName{Namespace: namespace.Name, Name: grant.SecretName(cps)}
		s := c.situation(ctx, name, cps, have[name.Name])
		s.Wanted = slices.Contains(wanted, cps)
		delete(have, name.Name)
		errs = append(errs, c.reconcile(ctx, name, s, &o))
	}
	for _, secret := range slices.Sorted(maps.Keys(have)) {
		name := types.NamespacedName{Namespace: namespace.Name, Name: secret}
		errs = append(errs, c.reconcile(ctx, name, c.situation(ctx, name, nil, have[secret]), &o))
	}
	c.removals.decided(namespace.Name, o.removing)
	o.propagated = c.recreations.contested(namespace.Name)
	return o, grants, errors.Join(errs...)
}

// situation returns the inputs of a decision that need no API request.
func (c *copies) situation(ctx context.Context, name types.NamespacedName, cps *v1alpha1.ClusterPullSecret, copied *corev1.Secret) resources.Situation {
	s := resources.Situation{Have: copied, Serving: cps, Unseen: c.expectations.left(name)}
	if cps == nil {
		return s
	}
	s.IsSource = grant.IsSource(cps, name.Namespace, name.Name)
	s.SourceReady = sourceReady(cps) && config.FromContext(ctx).AllowsSource(cps.Spec.SecretRef.Namespace)
	if s.SourceReady {
		s.Backoff = c.backoff.wait(name, stateOf(cps))
	}
	if copied != nil && grant.Owner(copied) != cps.Name {
		other, err := c.clusterPullSecrets.Get(grant.Owner(copied))
		s.Abandoned = err == nil && !other.DeletionTimestamp.IsZero()
	}
	return s
}

// reconcile decides about a copy, reads the facts that the decision needs, and applies
// it.
func (c *copies) reconcile(ctx context.Context, name types.NamespacedName, s resources.Situation, o *outcome) error {
	for {
		action := resources.Decide(s)
		if action.Verb != resources.Ask {
			if action.After > 0 {
				o.requeueAfter(action.After)
			}
			if removes(action.Verb) {
				o.removing = append(o.removing, s.Have.UID)
			}
			return c.apply(ctx, name, s, action.Verb, o)
		}
		if err := c.readFact(ctx, action.Fact, &s, o); err != nil {
			return err
		}
	}
}

// observe records an event of a copy, and reports whether it requires a reconciliation of
// the Namespace.
func (c *copies) observe(object any) bool {
	accessor, _ := kmeta.DeletionHandlingAccessor(object)
	secret, ok := accessor.(*corev1.Secret)
	return ok && c.expectations.observe(secret)
}

// prune drops the state of ClusterPullSecrets that were deleted, and of scopes that are
// no longer used.
func (c *copies) prune() {
	all, err := c.clusterPullSecrets.List(labels.Everything())
	if err != nil {
		return // A cache does not fail, and the next event prunes again.
	}
	c.sources.Keep(all)
	c.gracePeriods.keep(all)
}

// existing returns the Secrets of a namespace that have both of our labels, by name.
func (c *copies) existing(namespace string) (map[string]*corev1.Secret, error) {
	all, err := c.secrets.Secrets(namespace).List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("failed to list the copies of namespace %s: %w", namespace, err)
	}
	have := make(map[string]*corev1.Secret, len(all))
	for _, secret := range all {
		if grant.Owner(secret) != "" {
			have[secret.Name] = secret
		}
	}
	return have, nil
}

// sourceReady reports whether the source that the spec names is ready. A status of an
// earlier generation may describe another Secret.
func sourceReady(cps *v1alpha1.ClusterPullSecret) bool {
	return cps.Status.ObservedGeneration == cps.Generation && cps.Status.Source != nil &&
		cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady).IsTrue()
}

// stateOf identifies the desired state of a copy. Restoring a copy does not change it.
func stateOf(cps *v1alpha1.ClusterPullSecret) string {
	return fmt.Sprintf("%s/%d", versionOf(cps), cps.Generation)
}

func versionOf(cps *v1alpha1.ClusterPullSecret) string {
	if cps.Status.Source == nil {
		return ""
	}
	return cps.Status.Source.ResourceVersion
}

func nameOf(secret *corev1.Secret) types.NamespacedName {
	return types.NamespacedName{Namespace: secret.Namespace, Name: secret.Name}
}
