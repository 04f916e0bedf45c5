// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// A failing Revision that the controller caused pauses the backfill of its namespace
// until the Namespace changes.
func TestBackfillPausesWhenARevisionFails(t *testing.T) {
	env.Get(t).Need(t, env.RevisionOutcomes)
	o := newOperator(t)
	defer o.restore()
	n := newTenant(t)
	all := []string{"app-a", "app-b", "app-c", "app-d", "app-e"}
	for _, name := range all {
		n.applyAs("by-digest.yaml", name)
	}
	n.waitForReady(all...)
	elsewhere := newTenant(t)
	elsewhere.apply("by-digest.yaml")
	elsewhere.waitForReady("app")

	// One Service every ten seconds, so that the first Revision fails long before the last
	// Service has its turn, even on a busy machine.
	o.set(map[string]string{backfillPerMinute: "6"})
	n.labelNamespace(env.RevisionsLabel, env.RevisionsFail)
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "wrong")
	paused := n.waitForEvent(n.namespace(), "BackfillPaused", "is not Ready")
	// All others have had their turn when this one, the last in the queue, has had its.
	elsewhere.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
	elsewhere.waitForList("app", "ghcr")
	if got := len(n.changed(all)); got == 0 || got == len(all) {
		t.Errorf("%d of %d Services were changed although their Revisions fail, want the backfill to pause after the first (%s)", got, len(all), paused.Message)
	}
	n.checkEvents(n.namespace(), "BackfillPaused", 1)

	// Times are recorded in whole seconds, so a correction in the same second as the
	// mistake is not known to be later.
	n.waitForNextSecond(n.changed(all))
	o.set(nil)
	n.labelNamespace(env.RevisionsLabel, nil)
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "right")
	for _, name := range all {
		n.waitForEvent(service(name), "SecretsAdded", "right (namespace)")
	}
	n.waitForReady(all...)
}

// changed returns those of the Services that have pull secrets.
func (n *tenant) changed(names []string) []string {
	n.t.Helper()
	var changed []string
	for _, name := range names {
		if len(n.list(name)) > 0 {
			changed = append(changed, name)
		}
	}
	return changed
}

// waitForNextSecond waits for the second after the controller's last write to one of the
// Services.
func (n *tenant) waitForNextSecond(names []string) {
	n.t.Helper()
	var last metav1.Time
	for _, name := range names {
		for _, entry := range n.get(name).GetManagedFields() {
			if entry.Manager == pullsecrets.FieldManager && last.Before(entry.Time) {
				last = *entry.Time
			}
		}
	}
	waitForSecondAfter(n.t, last)
}
