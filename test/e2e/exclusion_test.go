// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// A labelled Namespace is left alone until the label is removed.
func TestExcludedByLabel(t *testing.T) {
	t.Parallel()
	n := newTenant(t, optedIn("ghcr, Not-A-Name"), env.Labelled(pullsecrets.ExcludeLabel, "true"))
	n.applyAs("by-digest.yaml", "app", annotated(pullsecrets.SecretsAnnotation, "quay"))
	n.waitForReady("app")
	// The controller handles the other Namespace no earlier than this one.
	newTenant(t).settle()
	n.checkUntouched("app")
	n.checkEvents(n.namespace(), "InvalidAnnotation", 0)

	// The only value that does not exclude.
	n.labelNamespace(pullsecrets.ExcludeLabel, "false")
	n.waitForList("app", "quay", "ghcr")
	n.waitForEvent(n.namespace(), "InvalidAnnotation", "Not-A-Name")
}

// Operators exclude namespaces by name, without a restart.
func TestExcludedByName(t *testing.T) {
	o := newOperator(t)
	defer o.restore()
	n := newTenant(t, optedIn("ghcr"))
	n.apply("by-digest.yaml")
	n.waitForList("app", "ghcr")
	n.waitForReady("app")
	counting := n.startCounting()

	o.set(map[string]string{excludedNamespaces: "other-*, " + n.ns[:len(n.ns)-2] + "*"})
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr, quay")
	newTenant(t, optedIn("ghcr")).settle("ghcr")
	n.checkList("app", "ghcr")
	counting.checkWrites("app", 0)
	n.waitForEvent(n.namespace(), "InvalidAnnotation", "is excluded by excluded-namespaces", n.ns[:len(n.ns)-2]+"*")

	o.set(nil)
	n.waitForList("app", "ghcr", "quay")
}
