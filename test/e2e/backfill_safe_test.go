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

// A new Revision resolves its tags again and could deploy an image that nobody chose. So
// a working Service is changed only if its images are given by digest or if its own
// annotation asks for it. The owner of any other Service gets one Event that says how to
// get the pull secrets now.
func TestSafeBackfillDeploysNoOtherImage(t *testing.T) {
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

	// As the Event recommends.
	n.annotate("tagged", pullsecrets.InjectAnnotation, "declared")
	n.waitForList("tagged", "ghcr")
	n.checkLedger("tagged", map[string]string{"ghcr": "namespace"})
}

// A Service without a working Revision has nothing to lose.
func TestSafeBackfillChangesServicesThatWereNeverReady(t *testing.T) {
	t.Parallel()
	env.Get(t).Need(t, env.RevisionOutcomes)
	n := newTenant(t, env.Labelled(env.RevisionsLabel, env.RevisionsFail))
	n.apply("by-tag.yaml")
	n.waitForFailed()
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
	n.waitForList("app", "ghcr")
}

// A Revision that was Ready and now fails for lack of capacity may recover by itself. A
// new Revision could resolve its tag to another image.
func TestSafeBackfillLeavesServicesThatWereReady(t *testing.T) {
	t.Parallel()
	env.Get(t).Need(t, env.RevisionOutcomes)
	n := newTenant(t)
	n.apply("by-tag.yaml")
	n.waitForReady("app")
	revision := n.get("app").Object["status"].(map[string]any)["latestReadyRevisionName"]
	n.takeCapacity()
	n.waitForFailed()

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
	n.waitForEvent(service("app"), "BackfillDeferred", "ghcr (namespace)", "by tag", "pullsecrets.dev/inject: declared")
	n.settle("ghcr")
	n.checkUntouched("app")
	n.checkRevisions("app", 1)
	if now := n.get("app").Object["status"].(map[string]any)["latestReadyRevisionName"]; now != revision {
		t.Errorf("latest ready Revision is %v, want %v as before", now, revision)
	}
}

// takeCapacity deletes the Pods of the namespace and prevents new ones.
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
