// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Knative resolves a tag with the copy of the platform's credential. With a wrong password
// the owner sees the registry's error, and the same Revision becomes Ready after the source
// is corrected.
func TestTagIsResolvedWithTheCopy(t *testing.T) {
	t.Parallel()
	p := newResolver(t, mainRegistry)
	p.keepSource(p.secret(p.name, "wrong"))
	p.grant()
	n := newTenant(t, p.granted(), optedIn(p.name))
	app := p.push("app")

	n.serve("app", []string{app.byTag()})
	n.waitForMissing("app", "401 Unauthorized")
	app.checkNoReads(0)
	p.keepSource(p.secret(p.name, "first"))
	n.waitForReady("app")
	n.checkRevisions("app", 1)
	app.checkReads(0, "the tag", app.tagRead)
	revision, err := n.Serving.ServingV1().Revisions(n.ns).Get(t.Context(), "app-00001", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := revision.Status.ContainerStatuses; len(got) != 1 || got[0].ImageDigest != app.byDigest() {
		t.Errorf("tag was resolved to %+v, want %s", got, app.byDigest())
	}
}
