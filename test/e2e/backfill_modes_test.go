// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// The backfill mode of existing Services can be changed without a restart: report reports
// what would change, disabled reports nothing, and all changes even Services whose images
// are given by tag.
func TestBackfillModes(t *testing.T) {
	o := newOperator(t)
	defer o.restore()
	reported, silent := newTenant(t, withoutAdmission), newTenant(t, withoutAdmission)
	for _, n := range []*tenant{reported, silent} {
		n.applyAs("by-digest.yaml", "pinned")
		n.applyAs("by-tag.yaml", "tagged")
		n.waitForReady("pinned", "tagged")
	}

	o.set(map[string]string{backfill: "report"})
	reported.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
	for _, name := range []string{"pinned", "tagged"} {
		reported.waitForEvent(service(name), "BackfillDeferred", "ghcr (namespace)", "backfill: report")
		reported.checkUntouched(name)
		reported.checkEvents(service(name), "BackfillDeferred", 1)
	}

	o.set(map[string]string{backfill: "disabled"})
	for _, name := range []string{"pinned", "tagged"} {
		// The report of the mistake shows that the Service was reconciled.
		silent.annotate(name, pullsecrets.SecretsAnnotation, "ghcr, Not-A-Name")
		silent.waitForEvent(service(name), "InvalidAnnotation", "Not-A-Name")
		silent.checkUntouched(name)
		silent.checkEvents(service(name), "BackfillDeferred", 0)
	}

	o.set(map[string]string{backfill: "all"})
	for _, n := range []*tenant{reported, silent} {
		for _, name := range []string{"pinned", "tagged"} {
			n.waitForList(name, "ghcr")
		}
	}
}
