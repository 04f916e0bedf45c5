// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"reflect"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

var clusterPullSecrets = schema.GroupVersionResource{Group: pullsecrets.GroupName, Version: "v1alpha1", Resource: "clusterpullsecrets"}

// clusterPullSecret returns a valid ClusterPullSecret without optional fields.
func clusterPullSecret(name string, edits ...func(spec map[string]any)) *unstructured.Unstructured {
	spec := map[string]any{
		"secretRef":         map[string]any{"namespace": pullsecrets.SourcesNamespace, "name": "robot"},
		"namespaceSelector": map[string]any{"matchLabels": map[string]any{"e2e.test/nobody": "here"}},
	}
	for _, edit := range edits {
		edit(spec)
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": clusterPullSecrets.GroupVersion().String(), "kind": "ClusterPullSecret",
		"metadata": map[string]any{"name": name}, "spec": spec,
	}}
}

// Omitted fields are defaulted when a ClusterPullSecret is created, so that all clients
// read the same values.
func TestClusterPullSecretIsDefaulted(t *testing.T) {
	t.Parallel()
	e := env.Get(t)
	client, name := e.Dynamic.Resource(clusterPullSecrets), "e2e-"+rand.String(8)
	t.Cleanup(func() {
		if err := client.Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	check := func(made *unstructured.Unstructured, err error, want map[string]string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for field, want := range want {
			if got, _, _ := unstructured.NestedString(made.Object, "spec", field); got != want {
				t.Errorf("the ClusterPullSecret has spec.%s: %q, want %q", field, got, want)
			}
		}
	}
	made, err := client.Create(t.Context(), clusterPullSecret(name), metav1.CreateOptions{FieldManager: user})
	check(made, err, map[string]string{"secretName": name, "deletionPolicy": "Delete"})

	patch := func(spec map[string]any) (*unstructured.Unstructured, error) {
		return client.Patch(t.Context(), name, types.MergePatchType, encode(map[string]any{"spec": spec}), metav1.PatchOptions{FieldManager: user})
	}
	made, err = patch(map[string]any{"deletionPolicy": "Retain"})
	check(made, err, map[string]string{"deletionPolicy": "Retain"})
	made, err = patch(map[string]any{"secretName": nil, "deletionPolicy": nil})
	check(made, err, map[string]string{"secretName": name, "deletionPolicy": "Delete"})
	made, err = patch(map[string]any{"secretName": name})
	check(made, err, map[string]string{"secretName": name})
	if _, err := patch(map[string]any{"secretName": "ghcr.io"}); err == nil || !strings.Contains(err.Error(), "spec.secretName") || !strings.Contains(err.Error(), "immutable") {
		t.Errorf("change secretName: %v; want it rejected with a message that says so", err)
	}
}

// An invalid ClusterPullSecret is rejected at creation, and the message names the field:
// the object grants a credential.
func TestInvalidClusterPullSecretIsRejected(t *testing.T) {
	t.Parallel()
	e := env.Get(t)
	client, name := e.Dynamic.Resource(clusterPullSecrets), "e2e-"+rand.String(8)
	set := func(value any, fields ...string) func(map[string]any) {
		return func(spec map[string]any) {
			if err := unstructured.SetNestedField(spec, value, fields...); err != nil {
				panic(err)
			}
		}
	}
	long := "e2e-" + strings.Repeat("x", 60)
	for _, mistake := range []struct {
		what, name string
		edit       func(map[string]any)
		want       string
	}{
		{"a source in the installation's namespace", name, set(pullsecrets.SystemNamespace, "secretRef", "namespace"), "spec.secretRef.namespace"},
		{"no source", name, func(spec map[string]any) { delete(spec, "secretRef") }, "spec.secretRef"},
		{"a source without a name", name, set("", "secretRef", "name"), "spec.secretRef.name"},
		{"a source with an invalid name", name, set("Robot", "secretRef", "name"), "spec.secretRef.name"},
		{"no selector", name, func(spec map[string]any) { delete(spec, "namespaceSelector") }, "spec.namespaceSelector"},
		{"a selector with an invalid label value", name, set("not a value", "namespaceSelector", "matchLabels", "team"), "spec.namespaceSelector.matchLabels"},
		{"a selector with an unknown operator", name, set([]any{map[string]any{"key": "team", "operator": "Is"}}, "namespaceSelector", "matchExpressions"), "spec.namespaceSelector.matchExpressions[0].operator"},
		{"a selector without values", name, set([]any{map[string]any{"key": "team", "operator": "In"}}, "namespaceSelector", "matchExpressions"), "spec.namespaceSelector.matchExpressions[0].values"},
		{"a name of copies with capitals", name, set("GHCR", "secretName"), "spec.secretName"},
		{"a name of copies that is too long for a label", name, set(long, "secretName"), "spec.secretName"},
		{"a label of ours on the copies", name, set("x", "copyMetadata", "labels", "pullsecrets.dev/cluster-pull-secret"), "spec.copyMetadata.labels"},
		{"a label of Kubernetes on the copies", name, set("x", "copyMetadata", "labels", "app.kubernetes.io/managed-by"), "spec.copyMetadata.labels"},
		{"an annotation of kubectl on the copies", name, set("x", "copyMetadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration"), "spec.copyMetadata.annotations"},
		{"an invalid label on the copies", name, set("not a value", "copyMetadata", "labels", "team"), "spec.copyMetadata.labels"},
		{"a name that is too long for a label", long, func(map[string]any) {}, "metadata.name"},
		{"an unknown deletionPolicy", name, set("delete", "deletionPolicy"), "spec.deletionPolicy"},
		{"a ServiceAccount with an invalid name", name, set([]any{"build-*"}, "always", "serviceAccounts"), "spec.always.serviceAccounts[0]"},
		{"a ServiceAccount that is listed twice", name, set([]any{"default", "default"}, "always", "serviceAccounts"), "spec.always.serviceAccounts[1]"},
	} {
		t.Run(mistake.what, func(t *testing.T) {
			_, err := client.Create(t.Context(), clusterPullSecret(mistake.name, mistake.edit), metav1.CreateOptions{FieldManager: user, DryRun: dryRun})
			if !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), mistake.want) {
				t.Errorf("create: %v; want it rejected with a message that names %s", err, mistake.want)
			}
		})
	}
	if _, err := client.Create(t.Context(), clusterPullSecret(name), metav1.CreateOptions{FieldManager: user, DryRun: dryRun}); err != nil {
		t.Errorf("create without the mistake: %v", err)
	}
}

// A valid ClusterPullSecret cannot be made invalid later.
func TestInvalidUpdateOfClusterPullSecretIsRejected(t *testing.T) {
	t.Parallel()
	e := env.Get(t)
	client, name := e.Dynamic.Resource(clusterPullSecrets), "e2e-"+rand.String(8)
	t.Cleanup(func() {
		if err := client.Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	before, err := client.Create(t.Context(), clusterPullSecret(name), metav1.CreateOptions{FieldManager: user})
	if err != nil {
		t.Fatal(err)
	}
	for _, mistake := range []struct {
		change map[string]any
		want   string
	}{
		{map[string]any{"secretRef": map[string]any{"namespace": pullsecrets.SystemNamespace}}, "spec.secretRef.namespace"},
		{map[string]any{"namespaceSelector": nil}, "spec.namespaceSelector"},
		{map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]any{"team": "not a value"}}}, "spec.namespaceSelector.matchLabels"},
	} {
		_, err := client.Patch(t.Context(), name, types.MergePatchType, encode(map[string]any{"spec": mistake.change}), metav1.PatchOptions{FieldManager: user})
		if err == nil || !strings.Contains(err.Error(), mistake.want) {
			t.Errorf("update by %s: %v; want it rejected with a message that names %s", encode(mistake.change), err, mistake.want)
		}
	}
	after, err := client.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil || !reflect.DeepEqual(before.Object["spec"], after.Object["spec"]) {
		t.Errorf("after rejected updates it is %v, %v; want %v", after, err, before)
	}
}
