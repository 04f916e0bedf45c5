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

// exemptFromKnative is a label on a Namespace by which Knative's own webhooks
// pass it over.
const exemptFromKnative = "webhooks.knative.dev/exclude"

// A field that a newer Knative added, and that the product was not compiled
// with, survives its writes.
func TestUnknownFieldsSurvive(t *testing.T) {
	e := env.Get(t)
	// It changes Knative's installation, which nobody wants on a cluster that
	// they need, and everybody's watches of Services restart.
	e.Need(t, env.ProcessControl)
	n := newTenant(t, env.Labelled(exemptFromKnative, "true"))
	defer teachField(t, e, "fieldOfTomorrow")()

	want := map[string]any{"mode": "careful"}
	app := manifests(t, e, "newer-field.yaml")[0]
	app.SetNamespace(n.ns)
	// The API server learns what it was taught in its own time, too.
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
		t.Error("After the product's write:", err)
	}
	n.annotate("app", pullsecrets.SecretsAnnotation, nil)
	n.waitForList("app")
	if err := fieldIs(n.get("app"), want); err != nil {
		t.Error("After the product's second write:", err)
	}
}

func fieldIs(service *unstructured.Unstructured, want map[string]any) error {
	got, _, _ := unstructured.NestedMap(service.Object, "spec", "template", "spec", "fieldOfTomorrow")
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Errorf("Service %s has fieldOfTomorrow %v, want %v", service.GetName(), got, want)
	}
	return nil
}

// teachField lets the API server keep one more field in the template's spec. The
// returned function ends that.
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
