// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

// A Revision that was Ready and fails now, for want of capacity, may come back by itself.
// Another one in its place could run what its tag means by now.
func TestSafeBackfillLeavesWhatWasReady(t *testing.T) {
	t.Parallel()
	env.Get(t).Need(t, env.RevisionFates)
	n := newTenant(t)
	n.apply("by-tag.yaml")
	n.waitForReady("app")
	revision := n.get("app").Object["status"].(map[string]any)["latestReadyRevisionName"]
	n.takeCapacity()
	n.waitForFailed("app")

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
	n.waitForEvent(service("app"), "BackfillDeferred", "ghcr (namespace)", "by tag", "pullsecrets.dev/inject: declared")
	n.settle("ghcr")
	n.checkUntouched("app")
	n.checkRevisions("app", 1)
	if now := n.get("app").Object["status"].(map[string]any)["latestReadyRevisionName"]; now != revision {
		t.Errorf("The Revision that was Ready last is %v, want %v as before", now, revision)
	}
}

// takeCapacity deletes the Pods of the namespace and lets no other one come.
func (n *tenant) takeCapacity() {
	n.t.Helper()
	quotas := n.Kube.CoreV1().ResourceQuotas(n.ns)
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "no-pods"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: apiresource.MustParse("0")}},
	}
	if _, err := quotas.Create(n.t.Context(), quota, metav1.CreateOptions{FieldManager: user}); err != nil {
		n.t.Fatal(err)
	}
	eventually(n.t, func(ctx context.Context) error {
		quota, err := quotas.Get(ctx, quota.Name, metav1.GetOptions{})
		if err == nil && len(quota.Status.Hard) == 0 {
			err = fmt.Errorf("quota %s is not in force yet", quota.Name)
		}
		return err
	})
	if err := n.Kube.CoreV1().Pods(n.ns).DeleteCollection(n.t.Context(), metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}, metav1.ListOptions{}); err != nil {
		n.t.Fatal(err)
	}
}
