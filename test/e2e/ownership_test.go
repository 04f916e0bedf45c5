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

// accountManifest is a ServiceAccount with a list.
func accountManifest(name string, list ...string) []byte {
	return encode(map[string]any{
		"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": name}, "imagePullSecrets": refs(list),
	})
}

// Whoever applies the list of a bound ServiceAccount on the server owns the names that
// they apply, although the list is atomic and they were ours before: they stay when
// the Namespace stops declaring them. What admission has put beside them goes.
func TestAppliedAccountIsItsOwners(t *testing.T) {
	t.Parallel()
	n := newTenant(t, optedIn("ghcr"))
	alice := n.person("alice")
	apply := func(list ...string) {
		t.Helper()
		alice.run(accountManifest("robot", list...), "kubectl", "apply", "-f", "-", "--server-side", "--force-conflicts", "--field-manager=argocd-controller")
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

// So it is where admission was not asked about the apply.
func TestAppliedAccountIsItsOwnersWithoutAdmission(t *testing.T) {
	t.Parallel()
	n := newTenant(t, optedIn("ghcr"), withoutAdmission)
	alice := n.person("alice")
	n.makeAccount("robot")
	n.annotateNamespace(pullsecrets.ServiceAccountsAnnotation, "robot")
	n.waitForAccount("robot", map[string]string{"ghcr": "namespace"}, "ghcr")
	alice.run(accountManifest("robot", "ghcr"), "kubectl", "apply", "-f", "-", "--server-side", "--field-manager=argocd-controller")
	n.waitForAccount("robot", nil, "ghcr")
	n.annotateNamespace(pullsecrets.ServiceAccountsAnnotation, nil)
	n.settle("ghcr")
	n.waitForAccount("robot", nil, "ghcr")
}

// An entry that the controller added, and that its owner applied and then left out
// again, is the controller's again, although it left the ledger in between: it stays
// as long as it is declared, and goes with the next change after that.
func TestEntryThatTheOwnerWithdraws(t *testing.T) {
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
	n.waitForList("app", "ghcr") // Owned by the controller, which wrote it.
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
