// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// With inject: disabled, on a Service or on its Namespace, nothing is injected and
// nothing is removed.
func TestInjectDisabledAddsAndRemovesNothing(t *testing.T) {
	t.Parallel()
	n := newTenant(t, withoutAdmission)
	n.applyAs("by-digest.yaml", "opted-out", annotated(pullsecrets.InjectAnnotation, "disabled"))
	n.applyAs("by-digest.yaml", "app")
	n.waitForReady("opted-out", "app")

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
	n.waitForList("app", "ghcr")
	n.settle("ghcr")
	n.checkUntouched("opted-out")

	// The Namespace's value takes precedence over the Service's.
	n.waitForReady("app")
	counting := n.startCounting()
	n.annotateNamespace(pullsecrets.InjectAnnotation, "disabled")
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr, quay")
	n.annotate("opted-out", pullsecrets.InjectAnnotation, "declared")
	n.annotate("opted-out", pullsecrets.SecretsAnnotation, "partner, Not-A-Name")
	n.waitForEvent(service("opted-out"), "InvalidAnnotation", "Not-A-Name")
	n.checkUntouched("opted-out")
	n.checkList("app", "ghcr")
	counting.checkWrites("app", 0)

	n.annotateNamespace(pullsecrets.InjectAnnotation, nil)
	n.waitForList("app", "ghcr", "quay")
	n.waitForList("opted-out", "partner", "ghcr", "quay")
}

// An invalid inject value adds nothing, removes nothing, and is reported on its object.
func TestInvalidInjectIsReported(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{"capital": "Disabled", "false": "false", "empty": ""} {
		t.Run(name+" on a Service", func(t *testing.T) {
			t.Parallel()
			n := newTenant(t, withoutAdmission)
			n.applyAs("by-digest.yaml", "app", annotated(pullsecrets.SecretsAnnotation, "ghcr"))
			n.waitForList("app", "ghcr")
			n.waitForReady("app")
			counting := n.startCounting()

			n.patch("app", map[string]any{"metadata": map[string]any{"annotations": map[string]any{
				pullsecrets.InjectAnnotation: value, pullsecrets.SecretsAnnotation: "quay",
			}}})
			n.waitForEvent(service("app"), "InvalidAnnotation", pullsecrets.InjectAnnotation, `"`+value+`"`, "declared, auto and disabled")
			n.settle()
			n.checkList("app", "ghcr")
			n.checkLedger("app", map[string]string{"ghcr": "service"})
			counting.checkWrites("app", 0)

			n.annotate("app", pullsecrets.InjectAnnotation, nil)
			n.waitForList("app", "quay")
		})
		t.Run(name+" on a Namespace", func(t *testing.T) {
			t.Parallel()
			n := newTenant(t, withoutAdmission, optedIn("ghcr"))
			n.apply("by-digest.yaml")
			n.waitForList("app", "ghcr")
			n.waitForReady("app")
			counting := n.startCounting()

			n.patchNamespace(map[string]any{"metadata": map[string]any{"annotations": map[string]any{
				pullsecrets.InjectAnnotation: value, pullsecrets.SecretsAnnotation: "quay",
			}}})
			n.waitForEvent(n.namespace(), "InvalidAnnotation", pullsecrets.InjectAnnotation, `"`+value+`"`, "declared, auto and disabled")
			// A Service with its own value shows that the change was observed.
			n.applyAs("by-digest.yaml", "marker", annotated(pullsecrets.InjectAnnotation, "declared"))
			n.waitForList("marker", "quay")
			n.checkList("app", "ghcr")
			counting.checkWrites("app", 0)

			n.annotateNamespace(pullsecrets.InjectAnnotation, nil)
			n.waitForList("app", "quay", "ghcr")
		})
	}
}
