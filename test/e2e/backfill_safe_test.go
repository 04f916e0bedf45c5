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
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

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

// While the newest Revision fails, an older one serves. The owner has asked for another one
// than that, so a new Revision takes nothing away, whatever its tag is by now, and the older
// one serves until the new one is Ready.
func TestSafeBackfillReplacesAFailedRevisionWhileAnOlderOneServes(t *testing.T) {
	t.Parallel()
	env.Get(t).Need(t, env.RevisionOutcomes)
	n := newTenant(t)
	n.apply("by-tag.yaml")
	n.waitForReady("app")
	serves := n.get("app").Object["status"].(map[string]any)["latestReadyRevisionName"]
	n.labelNamespace(env.RevisionsLabel, env.RevisionsFail)
	n.patch("app", map[string]any{"spec": map[string]any{"template": annotations("example.com/edit", "1")}})
	n.waitForFailed()
	n.checkTraffic("app", serves)

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
	n.waitForList("app", "ghcr")
	n.checkEvents(service("app"), "BackfillDeferred", 0)
	n.waitForFailed()
	n.checkTraffic("app", serves)

	// With the credential, the Revision of the controller would become Ready. The stand-in for
	// the data plane leaves a failed one alone, so the owner deploys another.
	n.labelNamespace(env.RevisionsLabel, nil)
	n.patch("app", map[string]any{"spec": map[string]any{"template": annotations("example.com/edit", "2")}})
	n.waitForReady("app")
	n.checkRevisions("app", 4)
	n.checkTraffic("app", n.latestCreated("app"))
}

// checkTraffic checks that one Revision gets all requests to a Service.
func (n *tenant) checkTraffic(service string, revision any) {
	n.t.Helper()
	traffic, _, err := unstructured.NestedSlice(n.get(service).Object, "status", "traffic")
	if err != nil {
		n.t.Fatal(err)
	}
	if len(traffic) != 1 || traffic[0].(map[string]any)["revisionName"] != revision {
		n.t.Errorf("requests to Service %s go to %v, want Revision %v", service, traffic, revision)
	}
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
