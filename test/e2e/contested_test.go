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

// The controller backs off when another writer keeps removing its entry, because each
// round is two Revisions: after three rounds it leaves the Service alone and reports it,
// until the Service's annotations change.
func TestContestedServiceIsLeftAlone(t *testing.T) {
	t.Parallel()
	n := newTenant(t, withoutAdmission)
	counting := n.startCounting()
	n.applyAs("by-digest.yaml", "app", annotated(pullsecrets.SecretsAnnotation, "ghcr"))
	removals := 0
	eventually(t, func(context.Context) error {
		if len(n.list("app")) > 0 {
			n.patch("app", templateSpec(map[string]any{"imagePullSecrets": nil}))
			removals++
		}
		if len(n.events(service("app"), "InjectionContested")) == 0 {
			return fmt.Errorf("no Event InjectionContested after %d removals", removals)
		}
		return nil
	})
	if want := 4; removals != want {
		t.Errorf("entry was removed %d times until the controller stopped, want %d: once, and after each of three rounds", removals, want)
	}
	n.waitForEvent(service("app"), "InjectionContested", "ghcr (service)", "will not add them again")

	n.patch("app", map[string]any{"metadata": map[string]any{"labels": map[string]any{"team": "shop"}}})
	n.settle()
	n.checkList("app")
	n.checkEvents(service("app"), "InjectionContested", 1)

	n.annotate("app", pullsecrets.SecretsAnnotation, "ghcr, quay")
	n.waitForList("app", "ghcr", "quay")
	counting.checkWrites("app", removals+1)
}
