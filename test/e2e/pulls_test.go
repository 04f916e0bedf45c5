// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/test/env"
)

// A private image becomes a Ready Revision, the first and only one: its tag is
// resolved and its layers are pulled with the one credential of the platform.
func TestPullOfAPrivateImageIsOneRevision(t *testing.T) {
	t.Parallel()
	p := newPuller(t, mainRegistry)
	p.grant()
	n := newTenant(t, p.granted(), optedIn(p.name))
	app := p.push("app")

	n.serve("app", []string{app.byTag()})
	n.waitForReady("app")
	n.checkRevisions("app", 1)
	n.checkList("app", p.name)
	n.waitForPod("app", "is Ready", isReady)

	revision, err := n.Serving.ServingV1().Revisions(n.ns).Get(t.Context(), "app-00001", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := revision.Status.ContainerStatuses; len(got) != 1 || got[0].ImageDigest != app.byDigest() {
		t.Errorf("The tag was resolved to %+v, want %s", got, app.byDigest())
	}
	app.checkReads(0, "the tag", app.tagRead)
	app.checkReads(0, "the digest", app.digestRead)
}

// With a wrong password users see the registry's rejection in their Revision. When
// the platform corrects the source, the same Revision comes up.
func TestPullAfterRotationAtTheSource(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		reference func(pushed) string
		seen      func(*tenant)
	}{
		// Knative's controller is rejected, before there is any Pod.
		"tag": {pushed.byTag, func(n *tenant) { n.waitForRevision("app", "ContainerMissing", "401 Unauthorized") }},
		// The node is. Knative does not call that a failure before its
		// progress deadline has passed, so users find it in the Pod.
		"digest": {pushed.byDigest, func(n *tenant) { n.waitForPod("app", "cannot pull", cannotPull) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPuller(t, mainRegistry)
			p.setPassword("second")
			p.grant()
			n := newTenant(t, p.granted(), optedIn(p.name))
			before := n.waitForAnyCopy(p.name)
			app := p.push("app")

			n.serve("app", []string{test.reference(app)})
			test.seen(n)
			app.waitForRefusal(0, p.name, func(env.RegistryRequest) bool { return true })
			app.checkNoReads(0)

			p.keepSource(p.secret(p.name, "second"))
			n.waitForReady("app")
			n.checkRevisions("app", 1)
			n.waitForPod("app", "is Ready", isReady)
			if after := n.waitForAnyCopy(p.name); after.UID != before.UID {
				t.Error("The copy was recreated, want it rotated in place")
			}
			app.checkReads(0, "the digest", app.digestRead)
		})
	}
}

// A Revision of before the opt-in is immutable and names no pull secret. Scaled
// from zero, its Pod pulls through the ServiceAccount that the product has bound.
func TestPullOfAnOldRevisionThroughItsServiceAccount(t *testing.T) {
	t.Parallel()
	p := newPuller(t, mainRegistry)
	n := newTenant(t, p.granted())
	app := p.push("app")
	// Somebody's own credential, by hand in the ServiceAccount.
	n.keepOwn(p.secret("by-hand", "first"))
	n.setAccountSecrets("by-hand")
	n.serve("app", []string{app.byTag()}, soonZero)
	n.waitForReady("app")
	n.waitForZero("app")

	// It goes, and at the registry its password, too.
	n.setAccountSecrets()
	n.dropOwn("by-hand")
	p.setPassword("second")
	p.keepSource(p.secret(p.name, "second"))
	p.grant()
	// The mode that concerns ServiceAccounts alone and creates no Revision.
	n.annotateNamespace(pullsecrets.InjectAnnotation, "disabled")
	n.annotateNamespace(pullsecrets.ServiceAccountsAnnotation, "default")
	n.annotateNamespace(pullsecrets.SecretsAnnotation, p.name)
	n.waitForAnyCopy(p.name)
	n.waitForAccount("default", map[string]string{p.name: "namespace"}, p.name)

	before := len(app.requests(0))
	n.scaleFromZero("app")
	n.waitForPod("app", "is Ready", isReady)
	app.checkReads(before, "the digest", app.digestRead)
	n.checkRevisions("app", 1)
	n.checkList("app")
}

// A Revision of before the opt-in that names a Secret pulls through the copy of
// that name, which has taken the place of the Secret.
func TestPullOfAnOldRevisionThroughTheCopyOfTheSameName(t *testing.T) {
	t.Parallel()
	p := newPuller(t, mainRegistry)
	n := newTenant(t, p.granted())
	app := p.push("app")
	n.keepOwn(p.secret(p.name, "first"))
	n.serve("app", []string{app.byTag()}, soonZero, naming(p.name))
	n.waitForReady("app")
	n.waitForZero("app")

	n.dropOwn(p.name)
	p.setPassword("second")
	p.keepSource(p.secret(p.name, "second"))
	p.grant()
	n.annotateNamespace(pullsecrets.SecretsAnnotation, p.name)
	n.waitForAnyCopy(p.name)

	before := len(app.requests(0))
	n.scaleFromZero("app")
	n.waitForPod("app", "is Ready", isReady)
	app.checkReads(before, "the digest", app.digestRead)
	n.checkRevisions("app", 1)
}

// Kubernetes lets a Pod use the pull secrets of its ServiceAccount only if the
// Pod names none. So the first one that is named for the app takes the
// sidecar's away, and Knative does not notice: it resolves tags with both.
func TestPullFromTwoRegistriesAvoidsTheServiceAccountTrap(t *testing.T) {
	t.Parallel()
	apps, sidecars := newPuller(t, mainRegistry), newPuller(t, otherRegistry)
	apps.grant()

	t.Run("without the product", func(t *testing.T) {
		n := newTenant(t, env.Labelled(pullsecrets.ExcludeLabel, "true"))
		n.keepOwn(apps.secret("apps", "first"))
		n.keepOwn(sidecars.secret("sidecars", "first"))
		n.setAccountSecrets("sidecars")

		app, sidecar := apps.push("without"), sidecars.push("without")
		n.serve("two", []string{app.byTag(), sidecar.byTag()}, naming("apps"))
		n.waitForPod("two", "cannot pull", cannotPull)
		n.checkList("two", "apps")
		sidecar.checkReads(0, "the tag", sidecar.tagRead)
		sidecar.waitForRefusal(0, "", sidecar.digestRead)
		for _, r := range sidecar.requests(0) {
			if r.Granted() && sidecar.digestRead(r) {
				t.Errorf("The node has pulled the sidecar: %s; then this shows no trap", r)
			}
		}
	})
	t.Run("with it", func(t *testing.T) {
		n := newTenant(t, apps.granted(), optedIn(apps.name))
		n.keepOwn(sidecars.secret("sidecars", "first"))
		n.setAccountSecrets("sidecars")

		app, sidecar := apps.push("with"), sidecars.push("with")
		n.serve("two", []string{app.byTag(), sidecar.byTag()})
		n.waitForReady("two")
		n.checkRevisions("two", 1)
		n.checkList("two", apps.name, "sidecars")
		n.waitForPod("two", "is Ready", isReady)
		app.checkReads(0, "the digest", app.digestRead)
		sidecar.checkReads(0, "the digest", sidecar.digestRead)
	})
}

// A credential for "docker.io" is one that a node uses for Docker Hub, and that
// Knative's tag resolution never finds: it asks index.docker.io.
func TestPullFromDockerHubByItsAlias(t *testing.T) {
	t.Parallel()
	env.Get(t).Need(t, env.DockerHub)
	p := newPuller(t, dockerHub)
	p.grant()

	t.Run("without the product", func(t *testing.T) {
		n := newTenant(t, env.Labelled(pullsecrets.ExcludeLabel, "true"))
		n.keepOwn(p.secret("hub", "first"))
		app := p.push("without")
		n.serve("app", []string{app.byTag()}, naming("hub"))
		n.waitForRevision("app", "ContainerMissing", "401 Unauthorized")
		app.waitForRefusal(0, "", app.tagRead)
		app.checkNoReads(0)
	})
	t.Run("with it", func(t *testing.T) {
		n := newTenant(t, p.granted(), optedIn(p.name))
		app := p.push("with")
		n.serve("app", []string{app.byTag()})
		n.waitForReady("app")
		n.checkRevisions("app", 1)
		n.waitForPod("app", "is Ready", isReady)
		app.checkReads(0, "the tag", app.tagRead)
		app.checkReads(0, "the digest", app.digestRead)
	})
}

// After a revocation no new pull succeeds: not of a Revision that was Ready
// before and whose image is on the node, and not of a new one.
func TestPullAfterRevocationIsRejected(t *testing.T) {
	t.Parallel()
	for name, revoke := range map[string]func(*puller, *tenant){
		"the ClusterPullSecret is deleted": func(p *puller, _ *tenant) { p.withdraw() },
		"the namespace is not selected any more": func(p *puller, _ *tenant) {
			p.patchGrant(map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]any{teamLabel: "others"}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPuller(t, mainRegistry)
			p.grant(func(spec *v1alpha1.ClusterPullSecretSpec) { spec.DeletionPolicy = v1alpha1.DeletionPolicyDelete })
			n := newTenant(t, p.granted(), optedIn(p.name))
			old, fresh := p.push("old"), p.push("new")
			n.serve("old", []string{old.byTag()})
			n.waitForReady("old")

			revoke(p, n)
			n.waitForNoCopy(p.name)
			beforeOld, beforeNew := len(old.requests(0)), len(fresh.requests(0))
			n.deletePods("old")
			n.serve("new", []string{fresh.byTag()})
			n.waitForPod("old", "cannot pull", cannotPull)
			n.waitForRevision("new", "ContainerMissing", "401 Unauthorized")
			old.waitForRefusal(beforeOld, "", old.digestRead)
			old.checkNoReads(beforeOld)
			fresh.checkNoReads(beforeNew)
		})
	}
}
