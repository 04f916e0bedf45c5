// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/reconciler/namespace/resources"
	"pullsecrets.dev/pkg/source"
)

// apply carries out a decision, with at most one write.
func (c *copies) apply(ctx context.Context, name types.NamespacedName, s resources.Situation, verb resources.Verb, o *outcome) error {
	switch verb {
	case resources.Create, resources.Update:
		return c.write(ctx, name, s, o)
	case resources.Replace:
		return c.remove(ctx, s.Have)
	case resources.Remove:
		c.backoff.reset(name)
		return c.remove(ctx, s.Have)
	case resources.Revoke:
		err := c.remove(ctx, s.Have)
		if err == nil {
			c.recreations.removed(name)
		}
		return err
	case resources.Release:
		return c.patch(ctx, s.Have, resources.MakeRelease(s.Have))
	case resources.Retain, resources.Disown:
		c.backoff.reset(name)
		err := c.patch(ctx, s.Have, resources.MakeDisown(s.Have))
		c.metrics.attempt(ctx, retained, err)
		return err
	}
	return nil
}

// expect makes one write of a copy and records an expectation for it. Until the cache
// shows the write, the copy is not written again. The event of a copy that meets the
// expectation requires no reconciliation.
func (c *copies) expect(name types.NamespacedName, met func(*corev1.Secret) bool, write func() error) error {
	c.expectations.begin(name, met)
	err := write()
	if err != nil {
		c.expectations.end(name)
	}
	return err
}

// neverMet is the expectation of a write that removes a copy or our labels: any later
// event of the Secret requires a reconciliation.
func neverMet(*corev1.Secret) bool { return false }

// write creates the copy, or updates it in place.
func (c *copies) write(ctx context.Context, name types.NamespacedName, s resources.Situation, o *outcome) error {
	w, copied := s.WantedCopy(), s.Have
	config, facts, release, err := c.sources.Hold(ctx, source.ScopeOf(w.ClusterPullSecret), w.Version)
	if err != nil {
		return fmt.Errorf("failed to read the source of ClusterPullSecret %s: %w", w.ClusterPullSecret.Name, err)
	}
	defer release()
	if facts.Digest != w.Digest {
		// The source has changed since the status was written. The update of the status
		// will enqueue the Namespace.
		o.requeueAfter(statusTimeout)
		return nil
	}
	secrets, done := c.kube.CoreV1().Secrets(name.Namespace), created
	write := func() error {
		_, err := secrets.Create(ctx, resources.MakeCopy(name.Namespace, w, config), metav1.CreateOptions{FieldManager: pullsecrets.FieldManager})
		return err
	}
	if copied != nil {
		done, write = updated, func() error {
			_, err := secrets.Update(ctx, resources.MakeUpdate(copied, w, config), metav1.UpdateOptions{FieldManager: pullsecrets.FieldManager})
			return err
		}
	}
	err = c.expect(name, func(copied *corev1.Secret) bool { return resources.IsWritten(copied, w) }, write)
	if copied == nil && apierrors.IsAlreadyExists(err) {
		return c.conflict(ctx, name, o)
	}
	c.metrics.attempt(ctx, done, err)
	if err != nil {
		return fmt.Errorf("failed to write the copy %s: %w", name, err)
	}
	c.backoff.wrote(name, stateOf(w.ClusterPullSecret))
	return nil
}

// conflict handles a create that failed because a Secret of that name exists.
func (c *copies) conflict(ctx context.Context, name types.NamespacedName, o *outcome) error {
	found, err := c.labelsOf(ctx, name.Namespace, name.Name)
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("failed to create the copy %s: a Secret of that name was deleted meanwhile", name)
	case err != nil:
		return fmt.Errorf("failed to read the labels of Secret %s: %w", name, err)
	case grant.Owner(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Labels: found}}) != "":
		// It is a copy that the cache does not show yet. Its event enqueues the Namespace.
		return nil
	}
	c.metrics.count(ctx, conflict)
	o.conflicts = append(o.conflicts, name.Name)
	o.requeueAfter(retryInterval)
	return nil
}

// remove deletes a copy, unless it has changed since it was read.
func (c *copies) remove(ctx context.Context, copied *corev1.Secret) error {
	err := c.expect(nameOf(copied), neverMet, func() error {
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

func (c *copies) patch(ctx context.Context, copied *corev1.Secret, patch string) error {
	err := c.expect(nameOf(copied), neverMet, func() error {
		_, err := c.kube.CoreV1().Secrets(copied.Namespace).Patch(ctx, copied.Name, types.MergePatchType, []byte(patch),
			metav1.PatchOptions{FieldManager: pullsecrets.FieldManager})
		return err
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("failed to patch the copy %s/%s: %w", copied.Namespace, copied.Name, err)
	}
	return nil
}
