// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// Kubernetes gives a ServiceAccount's pull secrets only to Pods that name none.
// So they come along with the first entry, or that would take them away.
func TestServiceAccountEntriesAreCarried(t *testing.T) {
	t.Parallel()
	n := newTenant(t, withoutAdmission)
	n.apply("service-accounts.yaml")
	n.waitForReady("on-default", "on-robot", "with-own")
	counting := n.startTally()

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr, of-robot-a")

	n.waitForList("on-default", "ghcr", "of-robot-a", "of-default")
	n.checkLedger("on-default", map[string]string{"ghcr": "namespace", "of-robot-a": "namespace", "of-default": "serviceaccount/default"})
	n.waitForEvent(service("on-default"), "SecretsAdded", "of-default (serviceaccount/default)")

	n.waitForList("on-robot", "ghcr", "of-robot-a", "of-robot-b")
	n.checkLedger("on-robot", map[string]string{"ghcr": "namespace", "of-robot-a": "namespace", "of-robot-b": "serviceaccount/robot"})

	// Its Pods never had the ServiceAccount's.
	n.waitForList("with-own", "own", "ghcr", "of-robot-a")
	n.checkLedger("with-own", map[string]string{"ghcr": "namespace", "of-robot-a": "namespace"})
	for _, name := range []string{"on-default", "on-robot", "with-own"} {
		counting.checkWrites(name, 1)
	}
}

// They leave with the last entry for whose sake they came: Kubernetes gives them
// to the Pods again.
func TestServiceAccountEntriesLeaveWithTheLast(t *testing.T) {
	t.Parallel()
	n := newTenant(t, withoutAdmission)
	n.apply("service-accounts.yaml")
	n.waitForReady("on-robot")

	n.annotate("on-robot", pullsecrets.SecretsAnnotation, "ghcr, quay")
	n.waitForList("on-robot", "ghcr", "quay", "of-robot-b", "of-robot-a")

	n.annotate("on-robot", pullsecrets.SecretsAnnotation, "quay")
	n.waitForList("on-robot", "quay", "of-robot-b", "of-robot-a")

	n.annotate("on-robot", pullsecrets.SecretsAnnotation, nil)
	n.waitForList("on-robot")
	n.checkLedger("on-robot", nil)
}

// A ServiceAccount that enforces mountable secrets refuses Pods that name
// anything else than it lists. So nothing else is injected, and that is told.
func TestEnforcedServiceAccount(t *testing.T) {
	t.Parallel()
	n := newTenant(t, withoutAdmission)
	n.apply("enforced-account.yaml")
	n.waitForReady("app")

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "forbidden, allowed")

	n.waitForList("app", "allowed")
	n.checkLedger("app", map[string]string{"allowed": "namespace"})
	n.waitForEvent(service("app"), "NotGranted", "ServiceAccount strict", "forbidden (namespace)")
	n.waitForReady("app")
}
