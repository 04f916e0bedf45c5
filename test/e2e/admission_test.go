// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// A new Service has its pull secrets from its first Revision on, in the order of the
// layers, and Knative records only its owner as creator and modifier.
func TestFirstRevisionHasPullSecrets(t *testing.T) {
	t.Parallel()
	n := newTenant(t, optedIn("ghcr, quay"))
	n.apply("service-accounts.yaml")
	counting := n.startCounting()
	alice := n.person("alice")
	alice.run(manifest(alice, []string{"own"}, first), "kubectl", "apply", "-f", "-")
	n.checkList("app", "own", "ghcr", "quay")
	n.checkLedger("app", map[string]string{"ghcr": "namespace", "quay": "namespace"})
	n.checkUsers("alice", "alice")
	n.waitForReady("app")
	n.checkPods("own", "ghcr", "quay")
	n.settle("ghcr", "quay", "of-default")
	n.checkRevisions("app", 1)
	counting.checkWrites("app", 0)
	n.checkEvents(service("app"), "SecretsAdded", 0)
}

// Changes of a Service's own annotation take effect in the same request, so each is one
// Revision, made by the owner.
func TestServiceAnnotationTakesEffectAtAdmission(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	counting := n.startCounting()
	alice, bob := n.person("alice"), n.person("bob")
	alice.run(manifest(alice, nil, first), "kubectl", "apply", "-f", "-")
	n.checkList("app")

	bob.run(nil, "kubectl", "annotate", "kservice", "app", pullsecrets.SecretsAnnotation+"=ghcr,quay")
	n.checkList("app", "ghcr", "quay")
	n.checkLedger("app", map[string]string{"ghcr": "service", "quay": "service"})
	n.checkUsers("alice", "bob")

	alice.run(nil, "kubectl", "annotate", "--overwrite", "kservice", "app", pullsecrets.SecretsAnnotation+"=quay")
	n.checkList("app", "quay")
	n.checkUsers("alice", "alice")

	bob.run(nil, "kubectl", "annotate", "kservice", "app", pullsecrets.InjectAnnotation+"=disabled")
	n.checkList("app")
	n.checkLedger("app", nil)

	bob.run(nil, "kubectl", "annotate", "kservice", "app", pullsecrets.InjectAnnotation+"-")
	n.checkList("app", "quay")
	n.waitForReady("app")
	n.settle()
	counting.checkWrites("app", 0)
	if got := n.get("app").GetGeneration(); got != 5 {
		t.Errorf("Service app has generation %d after five changes of its list, want 5", got)
	}
}

// A Pod that names pull secrets does not get those of its ServiceAccount. So these are
// added with the first entry and removed with the last.
func TestServiceAccountEntriesAreKept(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	n.apply("service-accounts.yaml")
	n.applyAs("by-digest.yaml", "app", annotated(pullsecrets.SecretsAnnotation, "ghcr"))
	account := n.list("app")[1:]
	if len(account) == 0 {
		t.Fatal("the ServiceAccount's pull secrets were not carried over")
	}
	n.annotate("app", pullsecrets.SecretsAnnotation, "quay")
	n.checkList("app", append([]string{"quay"}, account...)...)
	n.annotate("app", pullsecrets.SecretsAnnotation, nil)
	n.checkList("app")
}

// Knative rejects every change of a template under an unchanged Revision name. Such a
// Service gets its pull secrets with the next name; the owner gets a warning and is never
// rejected.
func TestNamedTemplateGetsPullSecretsWithTheNextName(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	alice := n.person("alice")
	named := func(name string) {
		alice.run(encode(namedManifest(alice, name)), "kubectl", "apply", "-f", "-")
	}
	named("app-one")
	n.checkList("app")
	n.waitForReady("app")

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
	n.waitForEvent(service("app"), "NamedRevision", "app-one", "ghcr (namespace)")
	// A change of a label calls the webhook and leaves the template alone.
	output := alice.run(nil, "kubectl", "label", "kservice", "app", "example.com/team=blue")
	checkContains(t, output, "Warning: Revision name app-one is unchanged", "ghcr")
	n.checkList("app")

	named("app-two")
	n.checkList("app", "ghcr")
	n.checkLedger("app", map[string]string{"ghcr": "namespace"})
	n.waitForReady("app")
	// Written again, with the injected entry and without it.
	named("app-two")
	alice.run(encode(namedManifest(alice, "app-two")), "kubectl", "apply", "--server-side", "--force-conflicts", "-f", "-")
	n.patch("app", templateSpec(map[string]any{"imagePullSecrets": []any{}}))
	n.checkList("app", "ghcr")
	n.patch("app", templateSpec(map[string]any{"imagePullSecrets": refs([]string{"ghcr"})}))
	n.checkList("app", "ghcr")

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr, quay")
	n.waitForEvent(service("app"), "NamedRevision", "app-two", "quay (namespace)")
	// A return to an earlier Revision name keeps that Revision's list, whatever is
	// declared since.
	named("app-one")
	n.checkList("app")
	n.waitForReady("app")
	named("app-two")
	n.checkList("app", "ghcr")
	n.checkLedger("app", map[string]string{"ghcr": "namespace"})
	n.waitForReady("app")
	named("app-three")
	n.checkList("app", "ghcr", "quay")
	n.waitForReady("app")
	n.checkRevisions("app", 3)
	n.checkUsers("alice", "alice")
}

// namedManifest is the Service app with a name for its Revision and a template of its own
// for each name. It contains Knative's defaults, because Knative does not default a
// template under an unchanged name and would take the difference for a change.
func namedManifest(p *person, name string) map[string]any {
	whole := container(p, name)
	whole["name"], whole["resources"] = "user-container", map[string]any{}
	whole["readinessProbe"] = map[string]any{"successThreshold": 1, "tcpSocket": map[string]any{"port": 0}}
	object := templateSpec(map[string]any{"containers": []any{whole}})
	object["apiVersion"], object["kind"] = "serving.knative.dev/v1", "Service"
	object["metadata"] = map[string]any{"name": "app", "namespace": p.ns}
	object["spec"].(map[string]any)["template"].(map[string]any)["metadata"] = map[string]any{"name": name}
	return object
}
