// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// A mistake, or a request for something impossible, causes a warning in the response, as
// kubectl and kn print it: short enough to be shown in full.
func TestMistakesCauseWarnings(t *testing.T) {
	t.Parallel()
	t.Run("an invalid item", func(t *testing.T) {
		t.Parallel()
		n := newTenant(t)
		a := n.askToCreate("by-digest.yaml", nil, annotated(pullsecrets.SecretsAnnotation, "ghcr, Not-A-Name")).succeeded(t)
		a.checkList(t, "ghcr")
		a.checkWarned(t, pullsecrets.SecretsAnnotation, `"Not-A-Name"`, "is not a DNS-1123 subdomain")
		n.checkWarnings(a)
	})
	t.Run("a Service's invalid inject", func(t *testing.T) {
		t.Parallel()
		n := newTenant(t, optedIn("ghcr"))
		a := n.askToCreate("by-digest.yaml", nil, annotated(pullsecrets.InjectAnnotation, "false"+strings.Repeat("\x1b", 100))).succeeded(t)
		a.checkList(t)
		a.checkWarned(t, pullsecrets.InjectAnnotation, `"false`)
		n.checkWarnings(a)
	})
	t.Run("a Namespace's invalid inject", func(t *testing.T) {
		t.Parallel()
		n := newTenant(t, optedIn("ghcr"), env.Annotated(pullsecrets.InjectAnnotation, "true"))
		a := n.askToCreate("by-digest.yaml", nil).succeeded(t)
		a.checkList(t)
		a.checkWarned(t, "Namespace "+n.ns, pullsecrets.InjectAnnotation)
		n.checkWarnings(a)
	})
	t.Run("a Revision name that is unchanged", func(t *testing.T) {
		t.Parallel()
		n := newTenant(t)
		n.apply("named.yaml")
		n.waitForReady("app")
		n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
		n.waitUntilDeclared("ghcr")
		a := n.askToPatch("app", labelled("one")).succeeded(t)
		a.checkList(t)
		a.checkWarned(t, "Revision name app-one is unchanged", "change it", "ghcr")
		n.checkWarnings(a)

		many := numbered(strings.Repeat("long-", 40)+"%d", 20)
		n.annotateNamespace(pullsecrets.SecretsAnnotation, strings.Join(many, ","))
		n.waitUntilDeclared(many...)
		a = n.askToPatch("app", labelled("two")).succeeded(t)
		a.checkWarned(t, "Revision name app-one is unchanged")
		n.checkWarnings(a)
	})
}
