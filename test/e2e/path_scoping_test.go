// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/test/env"
)

// forNamespace selects the tenant's Namespace by name, so that several platforms can grant it
// something, and restricts the copies to registries.
func forNamespace(n *tenant, registries ...string) func(*v1alpha1.ClusterPullSecretSpec) {
	return func(spec *v1alpha1.ClusterPullSecretSpec) {
		spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": n.ns}}
		spec.Registries = registries
	}
}

// waitForDigest waits until Knative has resolved the tag of a Service's first Revision.
func (n *tenant) waitForDigest(service, want string) {
	n.t.Helper()
	eventually(n.t, func(ctx context.Context) error {
		revision, err := n.Serving.ServingV1().Revisions(n.ns).Get(ctx, service+"-00001", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if got := revision.Status.ContainerStatuses; len(got) != 1 || got[0].ImageDigest != want {
			return fmt.Errorf("the tag of Revision %s was resolved to %+v, want %s: %v", revision.Name, got, want, revision.Status.Conditions)
		}
		return nil
	})
}

// Two deploy tokens for one host, each for the path of its project: Knative's tag resolution,
// which takes the first match alone, finds the right one for both.
func TestTwoTokensForOneHost(t *testing.T) {
	t.Parallel()
	registry := newLoopbackRegistry(t)
	first, second := barePlatform(t), barePlatform(t)
	n := newTenant(t, optedIn(first.name+", "+second.name))
	for _, p := range []*platform{first, second} {
		registry.setPassword(p.name, "deploy")
		p.keepSource(pullSecret(p.name, registry.host, "deploy"))
		p.grant(forNamespace(n, registry.host+"/"+p.name+"/"))
		p.waitForStatus("its registry", func(c *v1alpha1.ClusterPullSecret) bool {
			return c.IsReady() && slices.Equal(c.Status.Registries, []string{registry.host + "/" + p.name + "/"})
		})
		n.waitForLogins(p.name, map[string]string{registry.host + "/" + p.name + "/": p.name + ":deploy"})
	}
	for service, p := range map[string]*platform{"one": first, "two": second} {
		image := registry.host + "/" + p.name + "/app"
		n.serve(service, []string{image + ":v1"})
		n.waitForDigest(service, image+"@"+imageDigest)
		n.checkRevisions(service, 1)
	}
}

// A change of spec.registries rotates the copies in place, without a change of the source, and
// a registry that the source does not cover leaves them as they are.
func TestRegistriesRotateCopies(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t, optedIn(p.name), p.granted())
	p.grant()
	whole := p.waitForStatus("Ready", (*v1alpha1.ClusterPullSecret).IsReady)
	before := n.waitForCopy(p.name, "one")

	p.patchGrant(map[string]any{"registries": []string{p.host + "/acme"}})
	n.waitForLogins(p.name, map[string]string{p.host + "/acme": p.name + ":one"})
	scoped := p.waitForStatus("the path", func(c *v1alpha1.ClusterPullSecret) bool {
		return c.IsReady() && slices.Equal(c.Status.Registries, []string{p.host + "/acme"}) && c.Status.Namespaces.Summary == "1/1"
	})
	if scoped.Status.Source.ResourceVersion != whole.Status.Source.ResourceVersion {
		t.Errorf("the source changed from %s to %s", whole.Status.Source.ResourceVersion, scoped.Status.Source.ResourceVersion)
	}

	p.patchGrant(map[string]any{"registries": []string{p.host + "/acme", "other.example.com"}})
	p.waitForSource(v1alpha1.ReasonSourceInvalid, "other.example.com")
	if got := n.copyOf(p.name); got == nil || !hasPassword(got, "one") || got.UID != before.UID {
		t.Errorf("the copy is %v, want the same one", got)
	}

	p.patchGrant(map[string]any{"registries": nil})
	n.waitForLogins(p.name, map[string]string{p.host: p.name + ":one"})
	p.waitForStatus("Ready", (*v1alpha1.ClusterPullSecret).IsReady)
	if after := n.copyOf(p.name); after == nil || after.UID != before.UID {
		t.Error("the copy was recreated, want it rotated in place")
	}
}

// The same with Pods, on a node that pulls, where each account may read its own repositories
// alone.
func TestPullWithTwoTokensForOneHost(t *testing.T) {
	t.Parallel()
	env.Get(t).Need(t, env.Pulls)
	first, second := newPuller(t, mainRegistry), newPuller(t, mainRegistry)
	n := newTenant(t, optedIn(first.name+", "+second.name))
	for service, p := range map[string]*puller{"one": first, "two": second} {
		p.grant(forNamespace(n, p.registry.Host+"/"+p.name+"/"))
		p.waitForStatus("Ready", (*v1alpha1.ClusterPullSecret).IsReady)
		n.waitForAnyCopy(p.name)
		app := p.push("app")
		n.serve(service, []string{app.byTag()})
		defer func() {
			n.waitForReady(service)
			app.checkReads(0, "the tag", app.tagRead)
			app.checkReads(0, "the digest", app.digestRead)
		}()
	}
}

// The expiry of a source is in the status and in Events, also when its annotation alone
// changes, and an expired source replaces no copy.
func TestExpiryOfASource(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t, optedIn(p.name), p.granted())
	p.grant()
	n.waitForCopy(p.name, "one")
	expires := func(password, at string) {
		source := pullSecret(p.name, p.host, password)
		source.Annotations = map[string]string{pullsecrets.ExpiresAnnotation: at}
		p.keepSource(source)
	}

	expires("one", "2126-01-31T12:00:00Z")
	p.waitForStatus("its expiry", func(c *v1alpha1.ClusterPullSecret) bool {
		return c.IsReady() && c.Status.Expires != nil && c.Status.Expires.Year() == 2126
	})
	expires("two", "2020-01-31T12:00:00Z")
	p.waitForSource(v1alpha1.ReasonSourceExpired, "expired at 2020-01-31T12:00:00Z; existing copies are kept")
	p.waitForEvent("CredentialExpires", "expired at 2020-01-31T12:00:00Z; existing copies are kept")
	n.waitForCopy(p.name, "one")

	expires("two", "tomorrow")
	n.waitForCopy(p.name, "two")
	p.waitForStatus("an invalid annotation", func(c *v1alpha1.ClusterPullSecret) bool {
		condition := c.Status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady)
		return condition.IsTrue() && condition.Reason == v1alpha1.ReasonSourceQuestionable && c.Status.Expires == nil
	})
}
