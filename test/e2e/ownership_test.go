// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// accountManifest returns the ServiceAccount robot with a list.
func accountManifest(list ...string) []byte {
	return encode(map[string]any{
		"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": "robot"}, "imagePullSecrets": refs(list),
	})
}

// A server-side apply of the list of a bound ServiceAccount makes the applied names the
// applier's, although the list is atomic and they were ours before: they stay when the
// Namespace no longer declares them. Entries that admission added are removed.
func TestAppliedEntriesOfServiceAccountBelongToTheApplier(t *testing.T) {
	t.Parallel()
	n := newTenant(t, optedIn("ghcr"))
	alice := n.person("alice")
	apply := func(list ...string) {
		t.Helper()
		alice.run(accountManifest(list...), "kubectl", "apply", "-f", "-", "--server-side", "--force-conflicts", "--field-manager=argocd-controller")
	}
	n.makeAccount("robot")
	n.annotateNamespace(pullsecrets.ServiceAccountsAnnotation, "robot")
	n.waitForAccount("robot", map[string]string{"ghcr": "namespace"}, "ghcr")

	apply("ghcr")
	n.waitForAccount("robot", nil, "ghcr")
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr, quay")
	n.waitForAccount("robot", map[string]string{"quay": "namespace"}, "ghcr", "quay")
	apply("ghcr")
	n.waitForAccount("robot", map[string]string{"quay": "namespace"}, "ghcr", "quay")
	n.annotateNamespace(pullsecrets.ServiceAccountsAnnotation, nil)
	n.waitForAccount("robot", nil, "ghcr")
	n.settle("ghcr", "quay")
	n.waitForAccount("robot", nil, "ghcr")
}

// The same if the apply bypassed admission.
func TestAppliedEntriesBelongToTheApplierWithoutAdmission(t *testing.T) {
	t.Parallel()
	n := newTenant(t, optedIn("ghcr"), withoutAdmission)
	alice := n.person("alice")
	n.makeAccount("robot")
	n.annotateNamespace(pullsecrets.ServiceAccountsAnnotation, "robot")
	n.waitForAccount("robot", map[string]string{"ghcr": "namespace"}, "ghcr")
	alice.run(accountManifest("ghcr"), "kubectl", "apply", "-f", "-", "--server-side", "--field-manager=argocd-controller")
	n.waitForAccount("robot", nil, "ghcr")
	n.annotateNamespace(pullsecrets.ServiceAccountsAnnotation, nil)
	n.settle("ghcr")
	n.waitForAccount("robot", nil, "ghcr")
}

// An entry that the controller added, and that its owner applied and later omitted again,
// belongs to the controller again, although the ledger lacked it in between: it stays
// while it is declared and is removed with the next change after that.
func TestEntryThatTheOwnerOmitsAgainIsManagedAgain(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	alice := n.person("alice")
	apply := func(own []string, version string) {
		t.Helper()
		kubectlApply(own, "--server-side", "--field-manager=argocd-controller")(alice, version)
	}
	apply(nil, first)
	n.waitForReady("app")
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
	n.waitForList("app", "ghcr") // written by the controller, which owns it
	n.checkLedger("app", map[string]string{"ghcr": "namespace"})

	apply([]string{"ghcr"}, second)
	n.checkList("app", "ghcr")
	n.checkLedger("app", nil)

	apply(nil, second)
	n.checkList("app", "ghcr")
	n.checkLedger("app", map[string]string{"ghcr": "namespace"})

	n.annotateNamespace(pullsecrets.SecretsAnnotation, nil)
	eventually(t, func(context.Context) error {
		apply(nil, first)
		apply(nil, second)
		if got := pullSecretsOf(n.get("app")); len(got) > 0 {
			return fmt.Errorf("Service app has imagePullSecrets %q after a change, want none", got)
		}
		return nil
	})
}
