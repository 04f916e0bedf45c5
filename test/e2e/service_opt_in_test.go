// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// An annotation on a Service adds the pull secrets although its image is given by tag:
// its owner asked for the Revision.
func TestServiceOptIn(t *testing.T) {
	t.Parallel()
	n := newTenant(t, withoutAdmission)
	n.apply("by-tag.yaml")
	n.applyAs("by-tag.yaml", "neighbour")
	n.waitForReady("app", "neighbour")
	counting := n.startCounting()

	n.annotate("app", pullsecrets.SecretsAnnotation, "ghcr")

	n.waitForList("app", "ghcr")
	n.checkLedger("app", map[string]string{"ghcr": "service"})
	n.waitForEvent(service("app"), "SecretsAdded", "ghcr (service)")
	n.waitForReady("app")
	n.settle()
	n.checkRevisions("app", 2)
	n.checkPods("ghcr")
	counting.checkWrites("app", 1)
	n.checkUntouched("neighbour")
}
