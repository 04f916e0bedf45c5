// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// Knative rejects every change of a template under an unchanged Revision name. So the
// controller leaves such a Service alone, reports how to get the pull secrets, and adds
// them once the template names no Revision.
func TestNamedTemplateIsLeftAlone(t *testing.T) {
	t.Parallel()
	n := newTenant(t, withoutAdmission)
	n.apply("named.yaml")
	n.waitForReady("app")
	counting := n.startCounting()

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
	n.waitForEvent(service("app"), "NamedRevision", "app-one", "ghcr (namespace)", "until the template has another name")
	n.settle("ghcr")
	n.checkUntouched("app")
	n.checkEvents(service("app"), "NamedRevision", 1)

	// The owner's workflow is not affected.
	n.apply("named-next.yaml")
	n.waitForReady("app")
	n.checkRevisions("app", 2)
	n.waitForEvent(service("app"), "NamedRevision", "app-two")
	n.settle("ghcr")
	n.checkList("app")
	counting.checkWrites("app", 0)

	n.apply("unnamed.yaml")
	n.waitForList("app", "ghcr")
	n.checkLedger("app", map[string]string{"ghcr": "namespace"})
	n.waitForReady("app")
}
