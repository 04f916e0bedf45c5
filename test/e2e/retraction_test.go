// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// Entries that a Service no longer declares are removed immediately, because its owner
// asked for it, and no others.
func TestEntriesThatServiceNoLongerDeclaresAreRemoved(t *testing.T) {
	t.Parallel()
	n := newTenant(t, withoutAdmission)
	n.apply("own-entries.yaml")
	n.waitForReady("app")
	n.annotate("app", pullsecrets.SecretsAnnotation, "ghcr, own-a, quay")
	n.waitForList("app", "own-b", "own-a", "ghcr", "quay")
	n.waitForReady("app")

	counting := n.startCounting()
	n.annotate("app", pullsecrets.SecretsAnnotation, "quay")
	n.waitForList("app", "own-b", "own-a", "quay")
	n.checkLedger("app", map[string]string{"quay": "service"})
	n.waitForEvent(service("app"), "SecretsRetracted", "ghcr (service)")
	counting.checkWrites("app", 1)

	n.annotate("app", pullsecrets.SecretsAnnotation, nil)
	n.waitForList("app", "own-b", "own-a")
	n.checkLedger("app", nil)
}

// Entries that a Namespace no longer declares stay in existing Services: removing them
// would create Revisions without a benefit.
func TestEntriesThatNamespaceNoLongerDeclaresStay(t *testing.T) {
	t.Parallel()
	n := newTenant(t, withoutAdmission, optedIn("ghcr, quay"))
	n.apply("by-digest.yaml")
	n.waitForList("app", "ghcr", "quay")
	n.waitForReady("app")
	counting, generation := n.startCounting(), n.get("app").GetGeneration()

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "quay")
	n.settle("quay")
	n.annotateNamespace(pullsecrets.SecretsAnnotation, nil)
	n.settle()

	n.checkList("app", "ghcr", "quay")
	n.checkLedger("app", map[string]string{"ghcr": "namespace", "quay": "namespace"})
	n.checkEvents(service("app"), "SecretsRetracted", 0)
	if got := n.get("app").GetGeneration(); got != generation {
		t.Errorf("Service app went from generation %d to %d, want no Revision for a retraction by the Namespace", generation, got)
	}
	counting.checkWrites("app", 0)
}
