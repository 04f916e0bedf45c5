// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// A new Revision resolves its tags anew and could run code that nobody deployed.
// So a Service that works is changed only if that cannot be: its images are
// given by digest, or it asks itself. The owner of another is told, once, how to
// get it now.
func TestSafeBackfillShipsNoOtherCode(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	n.applyAs("by-tag.yaml", "tagged")
	n.applyAs("by-digest.yaml", "pinned")
	n.waitForReady("tagged", "pinned")

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")

	n.waitForList("pinned", "ghcr")
	n.waitForEvent(service("tagged"), "BackfillDeferred", "ghcr (namespace)", "by tag", "pullsecrets.dev/inject: declared")
	n.settle("ghcr")
	n.checkUntouched("tagged")
	n.checkEvents(service("tagged"), "BackfillDeferred", 1)

	// That is what the Event says.
	n.annotate("tagged", pullsecrets.InjectAnnotation, "declared")
	n.waitForList("tagged", "ghcr")
	n.checkLedger("tagged", map[string]string{"ghcr": "namespace"})
}

// Where no Revision works, there is nothing to lose.
func TestSafeBackfillMendsWhatDoesNotWork(t *testing.T) {
	t.Parallel()
	env.Get(t).Need(t, env.RevisionFates)
	n := newTenant(t, env.Labelled(env.RevisionsLabel, env.RevisionsFail))
	n.apply("by-tag.yaml")
	n.waitForFailed("app")
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
	n.waitForList("app", "ghcr")
}
