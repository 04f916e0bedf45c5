// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"
	"time"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// atRest is how long nothing may happen.
const atRest = 30 * time.Second

// While nothing changes, the controller writes nothing, whatever the state of Services.
// The test is not parallel, because other tests cause changes.
func TestControllerWritesNothingAtRest(t *testing.T) {
	env.Get(t).Need(t, env.RequestCounts)
	n := newTenant(t)
	n.applyAs("by-digest.yaml", "converged")
	n.applyAs("by-tag.yaml", "deferred")
	n.apply("named.yaml")
	n.applyAs("by-digest.yaml", "mistaken", annotated(pullsecrets.InjectAnnotation, "false"))
	n.waitForReady("converged", "deferred", "app", "mistaken")
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr, Not-A-Name")
	n.waitForList("converged", "ghcr")
	n.waitForReady("converged")
	for _, name := range []string{"converged", "deferred", "app"} {
		// The Services share a read of the Secrets, so some of them wait for the next one.
		n.waitForEvent(service(name), "SecretMissing")
	}
	n.waitForEvent(service("converged"), "NotCovered")
	n.waitForEvent(service("deferred"), "BackfillDeferred")
	n.waitForEvent(service("app"), "NamedRevision")
	n.waitForEvent(service("mistaken"), "InvalidAnnotation")
	n.waitForEvent(n.namespace(), "InvalidAnnotation")

	mark, err := n.Audit.Mark()
	if err != nil {
		t.Fatal(err)
	}
	// The passage of time is what is tested here.
	select {
	case <-time.After(atRest):
	case <-t.Context().Done():
	}
	requests, err := n.Audit.Since(mark)
	if err != nil {
		t.Fatal(err)
	}
	if writes := requests.By(pullsecrets.ControllerUser).Writes(); len(writes) > 0 {
		t.Errorf("in %s at rest the controller wrote:\n%s\nwant only leases", atRest, writes)
	}
}
