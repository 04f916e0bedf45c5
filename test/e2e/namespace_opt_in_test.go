// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// An annotation on the Namespace adds the pull secrets to every existing Service, with
// one write and one Revision each.
func TestNamespaceOptInReachesExistingServices(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	n.apply("by-digest.yaml")
	n.waitForReady("app")
	n.checkRevisions("app", 1)
	counting := n.startCounting()

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr, quay")

	n.waitForList("app", "ghcr", "quay")
	n.checkLedger("app", map[string]string{"ghcr": "namespace", "quay": "namespace"})
	n.waitForEvent(service("app"), "SecretsAdded", "ghcr (namespace)", "quay (namespace)")
	n.checkFieldManager("app")

	n.waitForReady("app")
	n.settle("ghcr", "quay")
	n.checkRevisions("app", 2)
	n.checkPods("ghcr", "quay")
	n.checkEvents(service("app"), "SecretsAdded", 1)
	counting.checkWrites("app", 1)
}

// A Service that is created after the opt-in gets them too.
func TestNamespaceOptInReachesNewServices(t *testing.T) {
	t.Parallel()
	n := newTenant(t, optedIn("ghcr"))
	n.apply("by-tag.yaml")
	n.waitForList("app", "ghcr")
	n.checkLedger("app", map[string]string{"ghcr": "namespace"})
	n.waitForReady("app")
	n.checkPods("ghcr")
}

// checkFieldManager checks that the controller's field manager owns the list's entries
// and the ledger, and nothing else of the Service.
func (n *tenant) checkFieldManager(service string) {
	n.t.Helper()
	for _, entry := range n.get(service).GetManagedFields() {
		if entry.Manager != pullsecrets.FieldManager {
			continue
		}
		const want = `{"f:metadata":{"f:annotations":{"f:pullsecrets.dev/added":{}}},` +
			`"f:spec":{"f:template":{"f:spec":{"f:imagePullSecrets":{".":{},"k:{\"name\":\"ghcr\"}":{},"k:{\"name\":\"quay\"}":{}}}}}}`
		if got := string(entry.FieldsV1.Raw); got != want {
			n.t.Errorf("Field manager %s owns %s of Service %s, want %s", entry.Manager, got, service, want)
		}
		return
	}
	n.t.Errorf("Service %s has no fields of the manager %s", service, pullsecrets.FieldManager)
}

// checkPods checks that the Pods of the newest Revision of Service app have these pull
// secrets. The Service must be Ready.
func (n *tenant) checkPods(want ...string) {
	n.t.Helper()
	s, err := n.Serving.ServingV1().Services(n.ns).Get(n.t.Context(), "app", metav1.GetOptions{})
	if err != nil {
		n.t.Fatal(err)
	}
	revision := s.Status.LatestCreatedRevisionName
	eventually(n.t, func(ctx context.Context) error {
		deployments, err := n.Kube.AppsV1().Deployments(n.ns).List(ctx, metav1.ListOptions{LabelSelector: "serving.knative.dev/revision=" + revision})
		if err != nil {
			return err
		}
		if len(deployments.Items) != 1 {
			return fmt.Errorf("Revision %s has %d Deployments, want 1", revision, len(deployments.Items))
		}
		var got []string
		for _, ref := range deployments.Items[0].Spec.Template.Spec.ImagePullSecrets {
			got = append(got, ref.Name)
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("Pods of Revision %s have imagePullSecrets %q, want %q", revision, got, want)
		}
		return nil
	})
}
