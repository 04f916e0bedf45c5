// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package oracles

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/e2e/pairs"
	"pullsecrets.dev/test/env"
)

// sides are two namespaces: here, where pull secrets can be declared, and there, without.
type sides struct {
	*env.Env
	t     *testing.T
	ns    [2]string
	users map[string]*env.Env
	// opted is set while the Namespace here declares a pull secret, and account is the
	// list of the ServiceAccount builder on both sides.
	opted   bool
	account string
}

const declaredName = "declared"

func newSides(t *testing.T) *sides {
	t.Helper()
	s := &sides{Env: env.Get(t), t: t, users: map[string]*env.Env{}}
	for _, name := range []string{"alice", "bob"} {
		e, err := s.As(name, "system:masters")
		if err != nil {
			t.Fatal(err)
		}
		s.users[name] = e
	}
	id := rand.String(6)
	for side, what := range []string{"here", "there"} {
		s.ns[side] = "pairs-" + id + "-" + what
		if _, err := s.Kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.ns[side]}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		builder := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "builder"}}
		if _, err := s.Kube.CoreV1().ServiceAccounts(s.ns[side]).Create(t.Context(), builder, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	s.accounts("acct-1")
	return s
}

func (s *sides) remove(ctx context.Context) {
	for _, ns := range s.ns {
		if err := s.Kube.CoreV1().Namespaces().Delete(ctx, ns, metav1.DeleteOptions{}); err != nil {
			s.t.Error(err)
		}
	}
}

// opt declares a pull secret in the Namespace here, or removes the declaration.
func (s *sides) opt(in bool) {
	s.t.Helper()
	s.opted = in
	var value any
	if in {
		value = declaredName
	}
	change := map[string]any{"metadata": map[string]any{"annotations": map[string]any{pullsecrets.SecretsAnnotation: value}}}
	if _, err := s.Kube.CoreV1().Namespaces().Patch(s.t.Context(), s.ns[0], types.MergePatchType, encode(change), metav1.PatchOptions{}); err != nil {
		s.t.Fatal(err)
	}
	s.waitForWebhook()
}

// accounts sets the list of the ServiceAccount builder.
func (s *sides) accounts(name string) {
	s.t.Helper()
	s.account = name
	for _, ns := range s.ns {
		change := map[string]any{"imagePullSecrets": refs([]string{name})}
		if _, err := s.Kube.CoreV1().ServiceAccounts(ns).Patch(s.t.Context(), "builder", types.MergePatchType, encode(change), metav1.PatchOptions{}); err != nil {
			s.t.Fatal(err)
		}
	}
	s.waitForWebhook()
}

// declared returns the entries that a Service here gets.
func (s *sides) declared(carried bool) []string {
	if !s.opted {
		return nil
	}
	if carried {
		return []string{declaredName, s.account}
	}
	return []string{declaredName}
}

// waitForWebhook waits until the webhook has observed the last change.
func (s *sides) waitForWebhook() {
	s.t.Helper()
	probe := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": map[string]any{"name": "probe"},
		"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
			"serviceAccountName": "builder", "containers": []any{map[string]any{"image": byDigest}},
		}}},
	}}
	err := wait.PollUntilContextTimeout(s.t.Context(), glance/4, timeout, true, func(ctx context.Context) (bool, error) {
		made, err := s.Dynamic.Resource(services).Namespace(s.ns[0]).Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return false, err
		}
		return slices.Equal(listOf(made), s.declared(true)), nil
	})
	if err != nil {
		s.t.Fatal("wait for the webhook: ", err)
	}
}

// send sends the manifest of a step to a side.
func (s *sides) send(side int, name string, step pairs.Step, previous map[string]any) (*unstructured.Unstructured, error) {
	ctx := s.t.Context()
	client := s.users[step.User].Dynamic.Resource(services).Namespace(s.ns[side])
	var dryRun []string
	if step.DryRun {
		dryRun = []string{metav1.DryRunAll}
	}
	object, err := named(step.Manifest, name)
	if err != nil {
		return nil, err
	}
	if previous == nil || step.Writer != "patch" && step.Writer != "json" {
		if write, known := byWriter[step.Writer]; known {
			return write(ctx, client, object, dryRun)
		}
		return client.Create(ctx, object, metav1.CreateOptions{FieldManager: "kubectl-create", DryRun: dryRun})
	}
	before, err := named(previous, name)
	if err != nil {
		return nil, err
	}
	if step.Writer == "json" {
		return jsonPatch(ctx, client, before, object, dryRun)
	}
	patch, err := jsonpatch.CreateMergePatch(encode(before), encode(object))
	if err != nil {
		return nil, err
	}
	return client.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "kubectl-patch", DryRun: dryRun})
}

// named returns the manifest with this name, which its Revision names use too.
func named(manifest map[string]any, name string) (*unstructured.Unstructured, error) {
	var object map[string]any
	if err := json.Unmarshal([]byte(strings.ReplaceAll(string(encode(manifest)), "NAME", name)), &object); err != nil {
		return nil, err
	}
	metadata, _ := object["metadata"].(map[string]any)
	if metadata == nil {
		metadata = map[string]any{}
	}
	metadata["name"] = name
	object["metadata"], object["apiVersion"], object["kind"] = metadata, "serving.knative.dev/v1", "Service"
	return &unstructured.Unstructured{Object: object}, nil
}

// jsonPatch sends the difference in the template's spec as a JSON patch, without the
// list, whose indexes differ between here and there.
func jsonPatch(ctx context.Context, client dynamic.ResourceInterface, before, after *unstructured.Unstructured, dryRun []string) (*unstructured.Unstructured, error) {
	was, _, _ := unstructured.NestedMap(before.Object, "spec", "template", "spec")
	is, _, _ := unstructured.NestedMap(after.Object, "spec", "template", "spec")
	patch := []any{}
	for _, key := range slices.Sorted(maps.Keys(is)) {
		if key != "imagePullSecrets" && !reflect.DeepEqual(was[key], is[key]) {
			patch = append(patch, map[string]any{"op": "add", "path": "/spec/template/spec/" + key, "value": is[key]})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(was)) {
		if _, kept := is[key]; key != "imagePullSecrets" && !kept {
			patch = append(patch, map[string]any{"op": "remove", "path": fmt.Sprintf("/spec/template/spec/%s", key)})
		}
	}
	return client.Patch(ctx, after.GetName(), types.JSONPatchType, encode(patch), metav1.PatchOptions{FieldManager: "kubectl-patch", DryRun: dryRun})
}
