// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/test/env"
)

func alwaysServices(spec *v1alpha1.ClusterPullSecretSpec) {
	spec.Always = &v1alpha1.Always{Services: true}
}

// A ClusterPullSecret with always.services is injected into every Service of the selected
// Namespaces without an annotation, existing or new, except Services that want only what
// is declared.
func TestAlwaysServicesReachesEveryService(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t, p.granted())
	n.applyAs("by-digest.yaml", "existing")
	n.applyAs("by-digest.yaml", "apart", annotated(pullsecrets.InjectAnnotation, "declared"))
	n.waitForReady("existing", "apart")
	p.grant(alwaysServices)
	ledger := map[string]string{p.name: "clusterpullsecret/" + p.name}
	n.waitForList("existing", p.name)
	n.checkLedger("existing", ledger)
	if n.copyOf(p.name) == nil {
		t.Error("Service refers to a copy that does not exist")
	}

	n.applyAs("by-tag.yaml", "new")
	n.checkList("new", p.name)
	n.checkLedger("new", ledger)
	n.checkList("apart")

	// A withdrawn entry stays in Services until they change, and is removed then.
	p.withdraw()
	n.waitForNoCopy(p.name)
	n.checkList("new", p.name)
	n.patch("new", templateSpec(map[string]any{"timeoutSeconds": 60}))
	n.checkList("new")
}

// The controller adds no name before its copy exists: a Revision that starts without it
// would fail. Here the source is invalid at first.
func TestCopyComesBeforeTheReference(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	bad := pullSecret(p.name, "registry.example.com", "one")
	bad.Data[".dockerconfigjson"] = []byte(`{}`)
	p.keepSource(bad)
	n := newTenant(t, p.granted())
	n.apply("by-digest.yaml")
	n.waitForReady("app")
	p.grant(alwaysServices)
	p.waitForSource(v1alpha1.ReasonSourceInvalid)
	n.annotateNamespace(pullsecrets.SecretsAnnotation, p.name+", Not-A-Name")
	n.waitForEvent(n.namespace(), "InvalidAnnotation", "Not-A-Name")
	n.waitForEvent(service("app"), "SecretMissing", p.name)
	n.checkUntouched("app")

	p.rotate("two")
	n.waitForList("app", p.name)
	n.waitForCopy(p.name, "two")
	n.waitForReady("app")
	n.checkRevisions("app", 2)
}

// With inject: auto a Service gets the credentials that cover its images, in the request
// that sets the image.
func TestAutoFollowsTheImages(t *testing.T) {
	t.Parallel()
	platforms := covering(t, imageHere(t), imageElsewhere(t))
	ours, theirs := platforms[0], platforms[1]
	n := newTenant(t, ours.granted(), env.Annotated(pullsecrets.InjectAnnotation, "auto"))
	n.waitForCopy(ours.name, "one")
	n.waitForCopy(theirs.name, "one")
	eventually(t, func(context.Context) error { // The webhook has its own watch.
		a := n.askToCreate("by-digest.yaml", dryRun, named("probe"))
		if a.err == nil && len(pullSecretsOf(a.object)) == 0 {
			return fmt.Errorf("the webhook has not observed the grants")
		}
		return a.err
	})
	n.apply("by-digest.yaml")
	n.checkList("app", ours.name)
	n.checkLedger("app", map[string]string{ours.name: "clusterpullsecret/" + ours.name})
	n.patch("app", templateSpec(map[string]any{"containers": []any{map[string]any{"image": imageElsewhere(t)}}}))
	n.checkList("app", theirs.name)
	n.checkLedger("app", map[string]string{theirs.name: "clusterpullsecret/" + theirs.name})
	n.waitForReady("app")
}

// A request for a credential that is granted only to others is reported, by a warning and
// by an Event.
func TestNotGrantedIsReported(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.grant()
	p.waitForStatus("Ready", (*v1alpha1.ClusterPullSecret).IsReady)
	n := newTenant(t)
	eventually(t, func(context.Context) error {
		a := n.askToCreate("by-digest.yaml", dryRun, named("probe"), annotated(pullsecrets.SecretsAnnotation, p.name))
		if a.err == nil && !a.warned(p.name) {
			return fmt.Errorf("the warnings are %q, want one about %s", a.warnings, p.name)
		}
		return a.err
	})
	a := n.askToCreate("by-digest.yaml", nil, annotated(pullsecrets.SecretsAnnotation, p.name)).succeeded(t)
	a.checkList(t, p.name) // It may be the name of a user's Secret.
	n.checkWarnings(a)
	n.waitForEvent(service("app"), "NotGranted", p.name)
	if n.copyOf(p.name) != nil {
		t.Error("a copy exists")
	}
}
