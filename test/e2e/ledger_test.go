// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// An injected entry that the owner later writes into the manifest belongs to the owner
// from then on and is never removed.
func TestEntryInTheOwnersManifestBelongsToTheOwner(t *testing.T) {
	t.Parallel()
	n := newTenant(t, withoutAdmission)
	n.applyAs("by-digest.yaml", "app", annotated(pullsecrets.SecretsAnnotation, "ghcr, quay"))
	n.waitForList("app", "ghcr", "quay")
	n.checkLedger("app", map[string]string{"ghcr": "service", "quay": "service"})
	n.waitForReady("app")

	generation := n.get("app").GetGeneration()
	n.apply("written-down.yaml")
	n.settle()
	n.checkList("app", "ghcr", "quay")
	if got := n.get("app").GetGeneration(); got != generation {
		t.Errorf("Service app went from generation %d to %d although its list is the same", generation, got)
	}

	n.annotate("app", pullsecrets.SecretsAnnotation, nil)
	n.waitForList("app", "ghcr")
	n.checkLedger("app", nil)
}
