// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// exemptFromKnative is a Namespace label that exempts it from Knative's own webhooks.
const exemptFromKnative = "webhooks.knative.dev/exclude"

// A field of a newer Knative, which our compiled types do not know, survives the
// controller's writes.
func TestUnknownFieldsSurvive(t *testing.T) {
	e := env.Get(t)
	// The test changes Knative's CRD, which is unwanted on a user's cluster and restarts
	// all watches of Services.
	e.Need(t, env.ProcessControl)
	n := newTenant(t, env.Labelled(exemptFromKnative, "true"))
	defer teachField(t, e, "fieldOfTomorrow")()

	want := map[string]any{"mode": "careful"}
	app := manifests(t, e, "newer-field.yaml")[0]
	app.SetNamespace(n.ns)
	// The API server applies a changed CRD asynchronously.
	eventually(t, func(ctx context.Context) error {
		if err := apply(ctx, e, app); err != nil {
			return err
		}
		return fieldIs(n.get("app"), want)
	})
	n.waitForReady("app")

	n.annotate("app", pullsecrets.SecretsAnnotation, "ghcr")
	n.waitForList("app", "ghcr")
	if err := fieldIs(n.get("app"), want); err != nil {
		t.Error("after the controller's write:", err)
	}
	n.annotate("app", pullsecrets.SecretsAnnotation, nil)
	n.waitForList("app")
	if err := fieldIs(n.get("app"), want); err != nil {
		t.Error("after the controller's second write:", err)
	}
}

func fieldIs(service *unstructured.Unstructured, want map[string]any) error {
	got, _, _ := unstructured.NestedMap(service.Object, "spec", "template", "spec", "fieldOfTomorrow")
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Errorf("Service %s has fieldOfTomorrow %v, want %v", service.GetName(), got, want)
	}
	return nil
}

// teachField adds a field to the template's spec in the CRD. The returned function
// removes it.
func teachField(t *testing.T, e *env.Env, field string) (forget func()) {
	t.Helper()
	definitions := e.Dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	change := func(operation map[string]any) {
		operation["path"] = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/template/properties/spec/properties/" + field
		_, err := definitions.Patch(t.Context(), servicesResource, types.JSONPatchType, encode([]any{operation}), metav1.PatchOptions{FieldManager: user})
		if err != nil {
			t.Errorf("update the definition of Knative Services: %v", err)
		}
	}
	change(map[string]any{"op": "add", "value": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}})
	return func() { change(map[string]any{"op": "remove"}) }
}
