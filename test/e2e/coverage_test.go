// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// broken returns a Secret that the API server accepts and no reader can use.
func broken(name string) *corev1.Secret {
	secret := pullSecret(name, "registry.example.com", "x")
	secret.Data[corev1.DockerConfigJsonKey] = []byte(`{"auths":[]}`)
	return secret
}

// An image that a named Secret should cover and does not is reported once, also of a Revision
// that is Ready now, and of one that is not the newest. What is wrong with a Secret of the
// tenant's own is noticed when it changes.
func TestUncoveredImagesAreReported(t *testing.T) {
	t.Parallel()
	n := newTenant(t, optedIn("own"))
	n.keepOwn(pullSecret("own", "registry.example.com", "x"))
	n.apply("by-digest.yaml")
	n.waitForReady("app")
	n.checkList("app", "own")

	if err := n.writeSecret(t.Context(), broken("own")); err != nil {
		t.Fatal(err)
	}
	event := n.waitForEvent(service("app"), "NotCovered", "Secret own is invalid", "correct Secret own")
	if event.Type != corev1.EventTypeWarning {
		t.Errorf("Event is %s, want a Warning", event.Type)
	}

	if err := n.writeSecret(t.Context(), pullSecret("own", "elsewhere.example.com", "x")); err != nil {
		t.Fatal(err)
	}
	n.applyAs("by-digest.yaml", "gone", annotated(pullsecrets.SecretsAnnotation, "gone"))
	n.waitForEvent(service("gone"), "NotCovered", "Secret gone does not exist", "create it, or remove it from the list")
	n.keepOwn(broken("gone"))
	n.waitForEvent(service("gone"), "NotCovered", "Secret gone is invalid")
	n.settle("own")
	n.checkEvents(service("gone"), "NotCovered", 2)
	n.checkEvents(service("app"), "NotCovered", 1)
}

// Nothing is said of an image that no Secret is meant for, of a Service that has not opted in,
// or of a Service that is created before its Secret.
func TestCoveredImagesAreNotReported(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n := newTenant(t, p.granted())
	n.keepOwn(broken("own"))
	n.applyAs("by-digest.yaml", "not-opted-in", annotated(pullsecrets.InjectAnnotation, "disabled"), naming("nowhere"))
	n.applyAs("by-digest.yaml", "public", annotated(pullsecrets.SecretsAnnotation, "other"))
	n.applyAs("by-digest.yaml", "early", annotated(pullsecrets.SecretsAnnotation, "later, "+p.name))
	n.keepOwn(pullSecret("other", "registry.example.com", "x"))
	n.keepOwn(pullSecret("later", "registry.example.com", "x"))
	p.grant()
	n.waitForReady("not-opted-in", "public", "early")

	// This is reported as early as the others would be.
	n.applyAs("by-digest.yaml", "last", annotated(pullsecrets.SecretsAnnotation, "own"))
	n.waitForEvent(service("last"), "NotCovered", "Secret own is invalid")
	for _, name := range []string{"not-opted-in", "public", "early"} {
		n.checkEvents(service(name), "NotCovered", 0)
	}
}
