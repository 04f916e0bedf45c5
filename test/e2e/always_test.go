// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/test/env"
)

// Each form of always is added and removed in turn. Each adds its part: the copy, the
// entry in Services, the entry in ServiceAccounts. Entries that end are removed from
// ServiceAccounts immediately, and from a Service with its next change, so that no
// Revision is created for it. The copy stays while a Revision refers to it.
func TestAlwaysAddsAndRemovesItsPart(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t, p.granted())
	n.makeAccount("robot", "own")
	n.apply("by-digest.yaml")
	n.waitForReady("app")
	change := func(form map[string]any) { p.patchGrant(map[string]any{"always": form}) }
	ours := map[string]string{p.name: "clusterpullsecret/" + p.name}

	p.grant(always)
	n.waitForCopy(p.name, "one")
	n.settle()
	n.checkUntouched("app")
	change(map[string]any{"services": true})
	n.waitForList("app", p.name)
	n.checkLedger("app", ours)
	n.waitForAccount("default", nil)
	change(map[string]any{"serviceAccounts": []string{"default"}})
	n.waitForAccount("default", ours, p.name)
	n.waitForAccount("robot", nil, "own")
	change(map[string]any{"serviceAccounts": []string{"*"}})
	n.waitForAccount("robot", ours, "own", p.name)
	n.waitForReady("app")
	n.checkRevisions("app", 2)

	change(map[string]any{"serviceAccounts": []string{"robot"}})
	n.waitForAccount("default", nil)
	change(map[string]any{"serviceAccounts": nil})
	n.waitForAccount("robot", nil, "own")
	change(map[string]any{"services": false})
	n.waitUntilDeclared()
	n.checkList("app", p.name)
	n.patch("app", labelled("changed"))
	n.checkList("app", p.name)
	p.patchGrant(map[string]any{"always": nil})
	p.rotate("two")
	n.waitForCopy(p.name, "two") // The controller has reconciled the Namespace again.
	n.waitForReady("app")
	n.checkRevisions("app", 2)

	n.patch("app", released())
	n.checkList("app")
	n.checkLedger("app", nil)
	n.deleteServices()
	n.labelNamespace("example.com/look", "again")
	n.waitForNoCopy(p.name)
}

// With all forms at once an entry appears once in each list. A Namespace that also asks,
// by name and by auto, gets the same as one that does not, and keeps the copy when always
// ends.
func TestAlwaysAndDeclaredNamesAddEachEntryOnce(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t, p.granted(), optedIn(p.name), binds("default"), env.Annotated(pullsecrets.InjectAnnotation, "auto"))
	n.makeAccount("robot")
	p.grant(func(spec *v1alpha1.ClusterPullSecretSpec) {
		always(spec)
		spec.Always.Services, spec.Always.ServiceAccounts = true, []string{"*"}
	})
	before := n.waitForCopy(p.name, "one")
	n.waitForAccount("default", map[string]string{p.name: "namespace"}, p.name)
	n.waitForAccount("robot", map[string]string{p.name: "clusterpullsecret/" + p.name}, p.name)
	n.waitUntilDeclared(p.name)
	n.apply("by-digest.yaml")
	n.checkList("app", p.name)
	n.checkLedger("app", map[string]string{p.name: "namespace"})
	n.waitForReady("app")

	p.patchGrant(map[string]any{"always": nil})
	n.waitForAccount("robot", nil)
	n.waitForAccount("default", map[string]string{p.name: "namespace"}, p.name)
	n.settle(p.name)
	if now := n.copyOf(p.name); now == nil || now.ResourceVersion != before.ResourceVersion {
		t.Errorf("the copy changed to %v, want it unchanged", now)
	}
	n.checkRevisions("app", 1)
}
