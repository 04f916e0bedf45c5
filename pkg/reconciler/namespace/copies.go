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
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/reconciler/namespace/resources"
	"pullsecrets.dev/pkg/source"
)

// later is when a Namespace is reconciled again where something is in the way whose end
// is no event: a Secret of the user's under the name of a copy.
const later = 10 * time.Minute

// unheard is when a Namespace is reconciled again that waits for a status which should
// have caused that by then.
const unheard = resources.RecheckSource

// copies brings the copies of a Namespace to what is granted and asked for.
type copies struct {
	kube    kubernetes.Interface
	serving servingclient.Interface
	client  versioned.Interface

	catalog            *catalog.Catalog
	sources            *source.Reader
	clusterPullSecrets listers.ClusterPullSecretLister
	// secrets are the Secrets with our label, with digests for data.
	secrets  corev1listers.SecretLister
	services servinglisters.ServiceLister
	accounts corev1listers.ServiceAccountLister
	// labelsOf reads the labels of any Secret, and nothing of its data.
	labelsOf func(ctx context.Context, namespace, name string) (map[string]string, error)
	// backoff delays writes that are undone again and again.
	backoff backoff
	// recreations are Secrets that are created again and again where nothing grants them.
	recreations recreations
	// expectations keep writes from being made twice.
	expectations expectations
	// doubts bound how long a status is waited for.
	doubts  doubts
	metrics recorded
}

// outcome is what could not be done in a Namespace for now.
type outcome struct {
	// conflicts are the names of copies under which the user has a Secret.
	conflicts []string
	// propagated are the names of labelled Secrets that nothing grants and that
	// somebody keeps making.
	propagated []string
	// again is when to look again, if ever.
	again time.Duration
	// referred are the names in the lists of all Revisions, once these were listed.
	referred sets.Set[string]
}

func (o *outcome) lookAgain(after time.Duration) {
	if o.again == 0 || after < o.again {
		o.again = after
	}
}

// converge decides what becomes of each copy, and does it, as far as each goes: one that
// fails keeps none of the others. It returns what the Namespace may have, also if
// something failed.
func (c *copies) converge(ctx context.Context, namespace *corev1.Namespace) (outcome, grant.Grants, error) {
	var o outcome
	// This comes before the first look at the cache: what the cache shows later brings
	// the Namespace back.
	c.expectations.await(namespace.Name)
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
		errs = append(errs, c.settle(ctx, name, s, &o))
	}
	for _, secret := range slices.Sorted(maps.Keys(have)) {
		name := types.NamespacedName{Namespace: namespace.Name, Name: secret}
		errs = append(errs, c.settle(ctx, name, c.situation(ctx, name, nil, have[secret]), &o))
	}
	o.propagated = c.recreations.contested(namespace.Name)
	return o, grants, errors.Join(errs...)
}

// situation is what is known of a copy without a request.
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

// settle decides what becomes of a copy, finds out what that takes, and does it.
func (c *copies) settle(ctx context.Context, name types.NamespacedName, s resources.Situation, o *outcome) error {
	for {
		action := resources.Decide(s)
		if action.Verb != resources.Ask {
			if action.After > 0 {
				o.lookAgain(action.After)
			}
			return c.apply(ctx, name, s, action.Verb, o)
		}
		if err := c.find(ctx, action.Fact, &s, o); err != nil {
			return err
		}
	}
}

// seen notes that the cache has something new of a copy, and returns whether its
// Namespace has to be looked at for that.
func (c *copies) seen(object any) bool {
	accessor, _ := kmeta.DeletionHandlingAccessor(object)
	secret, ok := accessor.(*corev1.Secret)
	return ok && c.expectations.seen(secret)
}

// forgetOthers drops what is known of ClusterPullSecrets that are gone, and of sources
// that none names any more.
func (c *copies) forgetOthers() {
	all, err := c.clusterPullSecrets.List(labels.Everything())
	if err != nil {
		return // A cache does not fail, and the next deletion makes up for it.
	}
	c.sources.Keep(source.Named(all))
	c.doubts.keep(all)
}

// existing are the Secrets of a namespace with both of our labels, by name.
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

// sourceReady reports whether the source that the spec names now was found good. The
// status of an earlier spec may be about another Secret, which nobody has judged.
func sourceReady(cps *v1alpha1.ClusterPullSecret) bool {
	return cps.Status.ObservedGeneration == cps.Generation && cps.Status.Source != nil &&
		cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady).IsTrue()
}

// stateOf names what a copy should be. A repair brings back the same state.
func stateOf(cps *v1alpha1.ClusterPullSecret) string {
	return fmt.Sprintf("%s/%d", versionOf(cps), cps.Generation)
}

func nameOf(secret *corev1.Secret) types.NamespacedName {
	return types.NamespacedName{Namespace: secret.Namespace, Name: secret.Name}
}
