// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// Kubernetes adds a ServiceAccount's pull secrets only to Pods that name none. So they
// are added with the first entry, which would otherwise hide them.
func TestServiceAccountEntriesAreAddedWithTheFirst(t *testing.T) {
	t.Parallel()
	n := newTenant(t, withoutAdmission)
	n.apply("service-accounts.yaml")
	n.waitForReady("on-default", "on-robot", "with-own")
	counting := n.startCounting()

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr, of-robot-a")

	n.waitForList("on-default", "ghcr", "of-robot-a", "of-default")
	n.checkLedger("on-default", map[string]string{"ghcr": "namespace", "of-robot-a": "namespace", "of-default": "serviceaccount/default"})
	n.waitForEvent(service("on-default"), "SecretsAdded", "of-default (serviceaccount/default)")

	n.waitForList("on-robot", "ghcr", "of-robot-a", "of-robot-b")
	n.checkLedger("on-robot", map[string]string{"ghcr": "namespace", "of-robot-a": "namespace", "of-robot-b": "serviceaccount/robot"})

	// Its Pods never got the ServiceAccount's.
	n.waitForList("with-own", "own", "ghcr", "of-robot-a")
	n.checkLedger("with-own", map[string]string{"ghcr": "namespace", "of-robot-a": "namespace"})
	for _, name := range []string{"on-default", "on-robot", "with-own"} {
		counting.checkWrites(name, 1)
	}
}

// They are removed with the last injected entry: then Kubernetes adds them to the Pods
// again.
func TestServiceAccountEntriesAreRemovedWithTheLast(t *testing.T) {
	t.Parallel()
	n := newTenant(t, withoutAdmission)
	n.apply("service-accounts.yaml")
	n.waitForReady("on-robot")

	n.annotate("on-robot", pullsecrets.SecretsAnnotation, "ghcr, quay")
	n.waitForList("on-robot", "ghcr", "quay", "of-robot-b", "of-robot-a")

	n.annotate("on-robot", pullsecrets.SecretsAnnotation, "quay")
	n.waitForList("on-robot", "quay", "of-robot-b", "of-robot-a")

	n.annotate("on-robot", pullsecrets.SecretsAnnotation, nil)
	n.waitForList("on-robot")
	n.checkLedger("on-robot", nil)
}

// A ServiceAccount that enforces mountable secrets rejects Pods that name a Secret it
// does not list. So no other Secret is injected, which is reported.
func TestServiceAccountThatEnforcesSecretsLimitsInjection(t *testing.T) {
	t.Parallel()
	n := newTenant(t, withoutAdmission)
	n.apply("enforced-account.yaml")
	n.waitForReady("app")

	n.annotateNamespace(pullsecrets.SecretsAnnotation, "forbidden, allowed")

	n.waitForList("app", "allowed")
	n.checkLedger("app", map[string]string{"allowed": "namespace"})
	n.waitForEvent(service("app"), "NotGranted", "ServiceAccount strict", "forbidden (namespace)")
	n.waitForReady("app")
}

// The same for credentials of ClusterPullSecrets, by always and by auto. A Secret that is
// bound to the ServiceAccount may be named, and is injected.
func TestServiceAccountThatEnforcesSecretsLimitsGrants(t *testing.T) {
	t.Parallel()
	platforms := covering(t, imageHere(t), imageHere(t))
	always, auto := platforms[0], platforms[1]
	always.patchGrant(map[string]any{"always": map[string]any{"services": true}})
	n := newTenant(t, always.granted(), env.Annotated(pullsecrets.InjectAnnotation, "auto"))
	n.apply("enforced-account.yaml")
	n.waitForCopy(always.name, "one")
	n.waitForCopy(auto.name, "one")
	n.waitUntilDeclared(always.name, auto.name) // for Services with another ServiceAccount

	a := n.askToCreate("by-digest.yaml", nil, named("new"), strict).succeeded(t)
	a.checkList(t)
	a.checkLedger(t, "")
	a.checkWarned(t, "ServiceAccount strict", always.name)
	for _, name := range []string{"app", "new"} {
		n.waitForEvent(service(name), "NotGranted", "ServiceAccount strict", always.name+" (clusterpullsecret/"+always.name+")", auto.name+" (clusterpullsecret/"+auto.name+")")
		n.checkList(name)
	}

	always.patchGrant(map[string]any{"always": map[string]any{"services": true, "serviceAccounts": []string{"strict"}}})
	n.waitForAccount("strict", map[string]string{always.name: "clusterpullsecret/" + always.name}, "allowed", always.name)
	n.waitForList("app", always.name, "allowed")
	n.annotateNamespace(pullsecrets.ServiceAccountsAnnotation, "strict")
	n.annotateNamespace(pullsecrets.SecretsAnnotation, auto.name)
	n.waitForAccount("strict", map[string]string{always.name: "clusterpullsecret/" + always.name, auto.name: "namespace"}, "allowed", always.name, auto.name)
	eventually(t, func(context.Context) error { // The webhook has its own watches.
		a = n.askToCreate("by-digest.yaml", dryRun, named("late"), strict).succeeded(t)
		if want := []string{auto.name, always.name, "allowed"}; !slices.Equal(pullSecretsOf(a.object), want) {
			return fmt.Errorf("a new Service gets %q at admission, want %q", pullSecretsOf(a.object), want)
		}
		return nil
	})
	n.waitForReady("app")
	n.waitForList("app", auto.name, always.name, "allowed")
	n.waitForReady("app")
	n.checkPods(auto.name, always.name, "allowed")
	n.checkPodSecrets("strict", "allowed", always.name, auto.name)
}

// strict is an edit that runs a Service as the ServiceAccount of that name.
func strict(object *unstructured.Unstructured) {
	if err := unstructured.SetNestedField(object.Object, "strict", "spec", "template", "spec", "serviceAccountName"); err != nil {
		panic(err)
	}
}
