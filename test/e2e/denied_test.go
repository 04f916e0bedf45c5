// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// An old Service that Knative no longer accepts cannot be changed. This is reported once
// for each state of the Service and not retried; the owner's next change triggers the
// next attempt.
func TestDenialIsReportedOnce(t *testing.T) {
	t.Parallel()
	n := newTenant(t, env.Labelled(exemptFromKnative, "true"))
	n.apply("obsolete.yaml")
	n.waitForReady("app")
	n.labelNamespace(exemptFromKnative, nil)
	tooLong := templateSpec(map[string]any{"timeoutSeconds": 86401})
	eventually(t, func(ctx context.Context) error {
		_, err := n.Dynamic.Resource(services).Namespace(n.ns).Patch(ctx, "app", types.MergePatchType, encode(tooLong),
			metav1.PatchOptions{FieldManager: user, DryRun: []string{metav1.DryRunAll}})
		if err == nil {
			return fmt.Errorf("Knative accepts an invalid Service")
		}
		return nil
	})
	counting := n.startCounting()

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
	n.waitForEvent(service("app"), "BackfillDenied", "ghcr (namespace)", "timeoutSeconds")
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr, quay")
	n.settle("ghcr", "quay")
	n.checkEvents(service("app"), "BackfillDenied", 1)
	n.checkUntouched("app")
	counting.checkWrites("app", 1)

	n.patch("app", templateSpec(map[string]any{"timeoutSeconds": 300}))
	n.waitForList("app", "ghcr", "quay")
	n.waitForReady("app")
}
