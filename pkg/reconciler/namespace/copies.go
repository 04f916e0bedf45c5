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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"knative.dev/pkg/kmeta"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/catalog"
	"pullsecrets.dev/pkg/client/clientset/versioned"
	listers "pullsecrets.dev/pkg/client/listers/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/reconciler/namespace/resources"
	"pullsecrets.dev/pkg/source"
)

// later is when a Namespace is looked at again where something is in the way that
// nothing tells of when it goes: a Secret of the user's under the name of a copy,
// or a Revision that still refers to a copy which nobody asks for any more.
const later = 10 * time.Minute

// unheard is when a Namespace is looked at again that waits for a status which should
// have woken it by then.
const unheard = 30 * time.Second

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
	// repairs slows down where somebody keeps undoing them.
	repairs repairs
	// pending keeps writes from being made twice.
	pending pending
	// doubts bound how long a status is waited for.
	doubts  doubts
	metrics recorded
}

// outcome is what could not be done in a Namespace for now.
type outcome struct {
	// conflicts are the names of copies under which the user has a Secret.
	conflicts []string
	// again is when to look again, if ever.
	again time.Duration
}

func (o *outcome) lookAgain(after time.Duration) {
	if o.again == 0 || after < o.again {
		o.again = after
	}
}

// converge writes, updates and removes copies, as far as each goes: one that fails
// keeps none of the others. It returns what the Namespace may have, also if
// something failed.
func (c *copies) converge(ctx context.Context, namespace *corev1.Namespace) (outcome, grant.Grants, error) {
	var o outcome
	// This comes before the first look at the cache: what the cache shows later brings
	// the Namespace back.
	c.pending.await(namespace.Name)
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
		name := grant.SecretName(cps)
		copied := have[name]
		delete(have, name)
		if grant.IsSource(cps, namespace.Name, name) || c.awaited(namespace.Name, name, &o) {
			continue
		}
		errs = append(errs, c.serve(ctx, namespace.Name, cps, copied, slices.Contains(wanted, cps), &o))
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if !c.awaited(namespace.Name, name, &o) {
			errs = append(errs, c.revoke(ctx, have[name]))
		}
	}
	return o, grants, errors.Join(errs...)
}

// awaited tells whether a write of the copy is yet to be seen in the cache. Its event
// brings the Namespace back here.
func (c *copies) awaited(namespace, name string, o *outcome) bool {
	left := c.pending.left(types.NamespacedName{Namespace: namespace, Name: name})
	if left > 0 {
		o.lookAgain(left)
	}
	return left > 0
}

// do makes one write of a copy. Whoever looks at its state before the write, in the
// cache, is kept from writing again. A copy that is then seen to be what the write
// makes is nothing to look into.
func (c *copies) do(name types.NamespacedName, makes func(*corev1.Secret) bool, write func() error) error {
	c.pending.begin(name, makes)
	err := write()
	if err != nil {
		c.pending.end(name)
	}
	return err
}

// goes is what a write makes that takes a copy away: whatever is seen after it is news.
func goes(*corev1.Secret) bool { return false }

// seen notes that the cache has something new of a copy, and returns whether its
// Namespace has to be looked at for that.
func (c *copies) seen(object any) bool {
	accessor, _ := kmeta.DeletionHandlingAccessor(object)
	secret, ok := accessor.(*corev1.Secret)
	return ok && c.pending.seen(secret)
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

// serve keeps the copy of a ClusterPullSecret that the namespace may have. One that
// nobody asks for goes when nothing refers to it any more, and is kept up to date
// until then.
func (c *copies) serve(ctx context.Context, namespace string, cps *v1alpha1.ClusterPullSecret, copied *corev1.Secret, wanted bool, o *outcome) error {
	if copied != nil && copied.DeletionTimestamp != nil {
		return c.release(ctx, copied)
	}
	if !wanted {
		if copied == nil {
			return nil
		}
		if c.leftBehind(cps, copied) {
			return c.revoke(ctx, copied)
		}
		used, err := c.used(ctx, namespace, copied.Name)
		if err != nil {
			return err
		}
		if !used {
			c.repairs.reset(nameOf(copied))
			return c.remove(ctx, copied)
		}
		o.lookAgain(later)
	}
	if !sourceReady(cps) || !config.FromContext(ctx).AllowsSource(cps.Spec.SecretRef.Namespace) {
		if copied != nil && grant.Owner(copied) != cps.Name {
			// It is the copy of one that served here before. Where that grants it no
			// longer, it goes, and does not wait for what comes in its place.
			return c.revoke(ctx, copied)
		}
		// Worse never replaces good: what is there stays as it is.
		return nil
	}
	version := cps.Status.Source.ResourceVersion
	facts, err := c.sources.Facts(ctx, cps.Spec.SecretRef, version)
	if err != nil {
		return fmt.Errorf("failed to read the source of ClusterPullSecret %s: %w", cps.Name, err)
	}
	if unjudged, err := c.unjudged(cps, facts); unjudged || err != nil {
		o.lookAgain(unheard)
		return err
	}
	return c.write(ctx, namespace, resources.Wanted{ClusterPullSecret: cps, Version: version, Digest: facts.Digest}, copied, o)
}

// leftBehind tells whether a copy is that of another ClusterPullSecret, which is being
// deleted. Where the one that serves now has no use for a copy, what becomes of it is
// for the deletionPolicy of the other to say.
func (c *copies) leftBehind(cps *v1alpha1.ClusterPullSecret, copied *corev1.Secret) bool {
	owner := grant.Owner(copied)
	if owner == cps.Name {
		return false
	}
	other, err := c.clusterPullSecrets.Get(owner)
	return err == nil && !other.DeletionTimestamp.IsZero()
}

// unjudged tells whether the source has changed since the status was written, which
// then tells so in a moment and wakes the Namespace. A process that has just started
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

// sourceReady tells whether the source that the spec names now was found good. The
// status of an earlier spec may be about another Secret, which nobody has judged.
func sourceReady(cps *v1alpha1.ClusterPullSecret) bool {
	return cps.Status.ObservedGeneration == cps.Generation && cps.Status.Source != nil &&
		cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady).IsTrue()
}

// write makes the copy what it should be, by one request where there is a
// difference.
func (c *copies) write(ctx context.Context, namespace string, w resources.Wanted, copied *corev1.Secret, o *outcome) error {
	verdict := resources.Update
	if copied != nil {
		verdict = resources.Judge(copied, w)
	}
	if verdict == resources.Good {
		return nil
	}
	name := types.NamespacedName{Namespace: namespace, Name: grant.SecretName(w.ClusterPullSecret)}
	if wait := c.repairs.wait(name, w.Version); wait > 0 {
		o.lookAgain(wait)
		return nil
	}
	if verdict == resources.Replace {
		// The event of its deletion brings the Namespace back here.
		return c.remove(ctx, copied)
	}
	config, facts, release, err := c.sources.Hold(ctx, w.ClusterPullSecret.Spec.SecretRef, w.Version)
	if err != nil {
		return fmt.Errorf("failed to read the source of ClusterPullSecret %s: %w", w.ClusterPullSecret.Name, err)
	}
	defer release()
	if facts.Digest != w.Digest {
		// It has changed since it was judged. The status will name the new version, and
		// wake the Namespace.
		o.lookAgain(unheard)
		return nil
	}
	secrets, done := c.kube.CoreV1().Secrets(namespace), created
	write := func() error {
		_, err := secrets.Create(ctx, resources.MakeCopy(namespace, w, config), metav1.CreateOptions{FieldManager: pullsecrets.FieldManager})
		return err
	}
	if copied != nil {
		done, write = updated, func() error {
			_, err := secrets.Update(ctx, resources.MakeUpdate(copied, w, config), metav1.UpdateOptions{FieldManager: pullsecrets.FieldManager})
			return err
		}
	}
	isWritten := func(copied *corev1.Secret) bool {
		return copied.DeletionTimestamp == nil && resources.Judge(copied, w) == resources.Good
	}
	err = c.do(name, isWritten, write)
	if copied == nil && apierrors.IsAlreadyExists(err) {
		return c.conflict(ctx, name, o)
	}
	c.metrics.attempt(ctx, done, err)
	if err != nil {
		return fmt.Errorf("failed to write the copy %s: %w", name, err)
	}
	c.repairs.wrote(name, w.Version)
	return nil
}

// conflict finds out whose the Secret is that stands where a copy should.
func (c *copies) conflict(ctx context.Context, name types.NamespacedName, o *outcome) error {
	found, err := c.labelsOf(ctx, name.Namespace, name.Name)
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("copy %s was there and is not any more", name)
	case err != nil:
		return fmt.Errorf("failed to look at Secret %s: %w", name, err)
	case grant.Owner(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Labels: found}}) != "":
		// Ours, and new to the cache, which brings the Namespace back here.
		return nil
	}
	c.metrics.count(ctx, conflict)
	o.conflicts = append(o.conflicts, name.Name)
	o.lookAgain(later)
	return nil
}

// revoke takes away a labelled Secret that nothing grants, references or not.
func (c *copies) revoke(ctx context.Context, copied *corev1.Secret) error {
	all, err := c.clusterPullSecrets.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("failed to list ClusterPullSecrets: %w", err)
	}
	if slices.ContainsFunc(all, func(cps *v1alpha1.ClusterPullSecret) bool { return grant.IsSource(cps, copied.Namespace, copied.Name) }) {
		// Whoever put our labels on a source has made no copy of it.
		return nil
	}
	retain, granted, err := c.grantedNow(ctx, copied)
	if err != nil || granted {
		return err
	}
	c.repairs.reset(nameOf(copied))
	switch {
	case copied.DeletionTimestamp != nil:
		return c.release(ctx, copied)
	case retain:
		return c.retain(ctx, copied)
	}
	return c.remove(ctx, copied)
}

// grantedNow tells whether anything grants a copy, and whether it is to be left behind
// if nothing does. A deletion is final, and its copies are many, so it is believed of
// the cache. Anything else is read from the API server, because a cache that is a
// moment old could take away what is granted.
func (c *copies) grantedNow(ctx context.Context, copied *corev1.Secret) (retain, granted bool, err error) {
	cps, err := c.clusterPullSecrets.Get(grant.Owner(copied))
	if err == nil && !cps.DeletionTimestamp.IsZero() {
		return cps.Spec.DeletionPolicy == v1alpha1.DeletionPolicyRetain, false, nil
	}
	return c.live(ctx, copied)
}

// live is what the API server says of it.
func (c *copies) live(ctx context.Context, copied *corev1.Secret) (retain, granted bool, err error) {
	namespace, err := c.kube.CoreV1().Namespaces().Get(ctx, copied.Namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && !namespace.DeletionTimestamp.IsZero() {
		return false, true, nil // It goes with all that is in it.
	}
	if err != nil {
		return false, false, fmt.Errorf("failed to read Namespace %s: %w", copied.Namespace, err)
	}
	cps, err := c.client.PullsecretsV1alpha1().ClusterPullSecrets().Get(ctx, grant.Owner(copied), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, false, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("failed to read ClusterPullSecret %s: %w", grant.Owner(copied), err)
	}
	retain = !cps.DeletionTimestamp.IsZero() && cps.Spec.DeletionPolicy == v1alpha1.DeletionPolicyRetain
	if config.FromContext(ctx).Excludes(namespace.Name, namespace.Labels) {
		return retain, false, nil
	}
	serving := grant.NewCatalog([]*v1alpha1.ClusterPullSecret{cps}).For(namespace.Labels)
	return retain, serving.Named(copied.Name) != nil, nil
}

// used tells whether anything of the namespace refers to a pull secret.
func (c *copies) used(ctx context.Context, namespace, name string) (bool, error) {
	refers := func(refs []corev1.LocalObjectReference) bool { return slices.Contains(merge.NamesOf(refs), name) }
	services, err := c.services.Services(namespace).List(labels.Everything())
	if err != nil {
		return false, fmt.Errorf("failed to list the Services of namespace %s: %w", namespace, err)
	}
	for _, svc := range services {
		if refers(svc.Spec.Template.Spec.ImagePullSecrets) {
			return true, nil
		}
	}
	accounts, err := c.accounts.ServiceAccounts(namespace).List(labels.Everything())
	if err != nil {
		return false, fmt.Errorf("failed to list the ServiceAccounts of namespace %s: %w", namespace, err)
	}
	for _, account := range accounts {
		if refers(account.ImagePullSecrets) {
			return true, nil
		}
	}
	// Revisions are asked for here alone, so they are not worth a cache.
	revisions, err := c.serving.ServingV1().Revisions(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, fmt.Errorf("failed to list the Revisions of namespace %s: %w", namespace, err)
	}
	for i := range revisions.Items {
		if refers(revisions.Items[i].Spec.ImagePullSecrets) {
			return true, nil
		}
	}
	return false, nil
}

// remove deletes a copy, unless it has changed since it was looked at.
func (c *copies) remove(ctx context.Context, copied *corev1.Secret) error {
	err := c.do(nameOf(copied), goes, func() error {
		return c.kube.CoreV1().Secrets(copied.Namespace).Delete(ctx, copied.Name, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &copied.UID, ResourceVersion: &copied.ResourceVersion},
		})
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	c.metrics.attempt(ctx, removed, err)
	if err != nil {
		return fmt.Errorf("failed to delete the copy %s/%s: %w", copied.Namespace, copied.Name, err)
	}
	return nil
}

// release takes off what keeps a deleted copy from going: nobody may hold a
// credential, or the platform's object, by a finalizer.
func (c *copies) release(ctx context.Context, copied *corev1.Secret) error {
	return c.patch(ctx, copied, fmt.Sprintf(`{"metadata":{"uid":%q,"finalizers":null}}`, copied.UID))
}

// retain makes a copy an ordinary Secret of the namespace.
func (c *copies) retain(ctx context.Context, copied *corev1.Secret) error {
	err := c.patch(ctx, copied, fmt.Sprintf(`{"metadata":{"resourceVersion":%q,"labels":{%q:null,%q:null},"annotations":{%q:null}}}`,
		copied.ResourceVersion, pullsecrets.ManagedByLabel, pullsecrets.ClusterPullSecretLabel, pullsecrets.SourceResourceVersionAnnotation))
	c.metrics.attempt(ctx, retained, err)
	return err
}

func (c *copies) patch(ctx context.Context, copied *corev1.Secret, patch string) error {
	err := c.do(nameOf(copied), goes, func() error {
		_, err := c.kube.CoreV1().Secrets(copied.Namespace).Patch(ctx, copied.Name, types.MergePatchType, []byte(patch),
			metav1.PatchOptions{FieldManager: pullsecrets.FieldManager})
		return err
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("failed to patch the copy %s/%s: %w", copied.Namespace, copied.Name, err)
	}
	return nil
}

func nameOf(secret *corev1.Secret) types.NamespacedName {
	return types.NamespacedName{Namespace: secret.Namespace, Name: secret.Name}
}
