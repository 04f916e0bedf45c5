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

// A Service with a private image becomes Ready with its first and only Revision: its tag
// is resolved and its layers are pulled with the platform's credential.
func TestPullOfPrivateImageIsOneRevision(t *testing.T) {
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
		t.Errorf("tag was resolved to %+v, want %s", got, app.byDigest())
	}
	app.checkReads(0, "the tag", app.tagRead)
	app.checkReads(0, "the digest", app.digestRead)
}

// With a wrong password users see the registry's error in their Revision. After the
// platform corrects the source, the same Revision becomes Ready.
func TestPullAfterRotationAtTheSource(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		reference func(pushed) string
		seen      func(*tenant)
	}{
		// Knative's controller is rejected before there is a Pod.
		"tag": {pushed.byTag, func(n *tenant) { n.waitForMissing("app", "401 Unauthorized") }},
		// The node is rejected. Knative does not report a failure before its progress
		// deadline, so users find it in the Pod.
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
			app.waitForRejection(0, p.name, func(env.RegistryRequest) bool { return true })
			app.checkNoReads(0)

			p.keepSource(p.secret(p.name, "second"))
			n.waitForReady("app")
			n.checkRevisions("app", 1)
			n.waitForPod("app", "is Ready", isReady)
			if after := n.waitForAnyCopy(p.name); after.UID != before.UID {
				t.Error("the copy was recreated, want it rotated in place")
			}
			app.checkReads(0, "the digest", app.digestRead)
		})
	}
}

// A Revision from before the opt-in is immutable and names no pull secret. When it scales
// from zero, its Pod pulls with the entries that the controller added to its
// ServiceAccount.
func TestPullOfAnOldRevisionThroughItsServiceAccount(t *testing.T) {
	t.Parallel()
	p := newPuller(t, mainRegistry)
	n := newTenant(t, p.granted())
	app := p.push("app")
	// A user's own credential in the ServiceAccount.
	n.keepOwn(p.secret("by-hand", "first"))
	n.setAccountSecrets("by-hand")
	n.serve("app", []string{app.byTag()}, scalesToZeroSoon)
	n.waitForReady("app")
	n.waitForZero("app")

	// It is deleted, and so is its password at the registry.
	n.setAccountSecrets()
	n.dropOwn("by-hand")
	p.setPassword("second")
	p.keepSource(p.secret(p.name, "second"))
	p.grant()
	// This mode concerns only ServiceAccounts and creates no Revision.
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

// A Revision from before the opt-in that names a Secret pulls with the copy that replaced
// this Secret.
func TestPullOfAnOldRevisionThroughTheCopyOfTheSameName(t *testing.T) {
	t.Parallel()
	p := newPuller(t, mainRegistry)
	n := newTenant(t, p.granted())
	app := p.push("app")
	n.keepOwn(p.secret(p.name, "first"))
	n.serve("app", []string{app.byTag()}, scalesToZeroSoon, naming(p.name))
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

// A Pod gets the pull secrets of its ServiceAccount only if it names none. So the first
// one for the app hides the sidecar's, and Knative does not notice: it resolves tags with
// both.
func TestPullFromTwoRegistriesAvoidsTheServiceAccountTrap(t *testing.T) {
	t.Parallel()
	apps, sidecars := newPuller(t, mainRegistry), newPuller(t, otherRegistry)
	apps.grant()

	t.Run("without injection", func(t *testing.T) {
		n := newTenant(t, env.Labelled(pullsecrets.ExcludeLabel, "true"))
		n.keepOwn(apps.secret("apps", "first"))
		n.keepOwn(sidecars.secret("sidecars", "first"))
		n.setAccountSecrets("sidecars")

		app, sidecar := apps.push("without"), sidecars.push("without")
		n.serve("two", []string{app.byTag(), sidecar.byTag()}, naming("apps"))
		n.waitForPod("two", "cannot pull", cannotPull)
		n.checkList("two", "apps")
		sidecar.checkReads(0, "the tag", sidecar.tagRead)
		sidecar.waitForRejection(0, "", sidecar.digestRead)
		for _, r := range sidecar.requests(0) {
			if r.Granted() && sidecar.digestRead(r) {
				t.Errorf("node pulled the sidecar: %s; so this test shows nothing", r)
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

// The kubelet uses a credential for "docker.io" for Docker Hub, but Knative's tag
// resolution does not find it: it uses index.docker.io.
func TestPullFromDockerHubByItsAlias(t *testing.T) {
	t.Parallel()
	env.Get(t).Need(t, env.DockerHub)
	p := newPuller(t, dockerHub)
	p.grant()

	t.Run("without injection", func(t *testing.T) {
		n := newTenant(t, env.Labelled(pullsecrets.ExcludeLabel, "true"))
		n.keepOwn(p.secret("hub", "first"))
		app := p.push("without")
		n.serve("app", []string{app.byTag()}, naming("hub"))
		n.waitForMissing("app", "401 Unauthorized")
		app.waitForRejection(0, "", app.tagRead)
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

// After a revocation no new pull succeeds: neither of a Revision that was Ready and whose
// image is on the node, nor of a new one.
func TestPullAfterRevocationIsRejected(t *testing.T) {
	t.Parallel()
	for name, revoke := range map[string]func(*puller, *tenant){
		"the ClusterPullSecret is deleted": func(p *puller, _ *tenant) { p.withdraw() },
		"the namespace is no longer selected": func(p *puller, _ *tenant) {
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
			n.waitForMissing("new", "401 Unauthorized")
			old.waitForRejection(beforeOld, "", old.digestRead)
			old.checkNoReads(beforeOld)
			fresh.checkNoReads(beforeNew)
		})
	}
}
