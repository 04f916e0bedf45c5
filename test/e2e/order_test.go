// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"slices"
	"testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// The list has the order of the layers: the owner's own entries as they are, those that
// the Service declares, those that the Namespace declares, each name once.
func TestListHasTheOrderOfTheLayers(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	n.apply("own-entries.yaml")
	n.waitForReady("app")
	n.annotate("app", pullsecrets.SecretsAnnotation, "svc-b, svc-a, own-a")
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ns-b,,svc-a , ns-a, own-b,ns-b")

	n.waitForList("app", "own-b", "own-a", "svc-b", "svc-a", "ns-b", "ns-a")
	n.checkLedger("app", map[string]string{"svc-b": "service", "svc-a": "service", "ns-b": "namespace", "ns-a": "namespace"})
}

// A different order would be a new Revision, so it is never a reason to write: neither
// when the annotations change their order nor when the owner reorders the list.
func TestOrderAloneIsNeverWritten(t *testing.T) {
	t.Parallel()
	n := newTenant(t, withoutAdmission, optedIn("ns-a, ns-b"))
	n.applyAs("own-entries.yaml", "app", annotated(pullsecrets.SecretsAnnotation, "svc-a, svc-b"))
	n.waitForList("app", "own-b", "own-a", "svc-a", "svc-b", "ns-a", "ns-b")
	n.waitForReady("app")

	counting, generation := n.startCounting(), n.get("app").GetGeneration()
	n.annotate("app", pullsecrets.SecretsAnnotation, "svc-b, svc-a")
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ns-b, ns-a")
	n.settle("ns-b", "ns-a")
	n.checkList("app", "own-b", "own-a", "svc-a", "svc-b", "ns-a", "ns-b")
	if got := n.get("app").GetGeneration(); got != generation {
		t.Errorf("Service app went from generation %d to %d although only the order of its annotations differs", generation, got)
	}
	counting.checkWrites("app", 0)

	turned := n.list("app")
	slices.Reverse(turned)
	var refs []any
	for _, name := range turned {
		refs = append(refs, map[string]any{"name": name})
	}
	counting = n.startCounting()
	n.patch("app", templateSpec(map[string]any{"imagePullSecrets": refs}))
	n.settle("ns-b", "ns-a")
	n.checkList("app", turned...)
	counting.checkWrites("app", 0)
}
