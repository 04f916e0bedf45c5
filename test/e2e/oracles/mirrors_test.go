// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package oracles

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// withoutPolicies is the label of namespaces to which the policies do not apply.
const withoutPolicies = "e2e.test/policies"

var mutatingPolicies = schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingadmissionpolicies"}

// exemptFromPolicies makes the policies not apply to namespaces with the label, until the
// test ends.
func exemptFromPolicies(t *testing.T, e *env.Env) {
	t.Helper()
	change := func(ctx context.Context, change func([]any) []any) {
		t.Helper()
		list, err := e.Dynamic.Resource(mutatingPolicies).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=pullsecrets"})
		if err != nil || len(list.Items) != 2 {
			t.Fatalf("found %d policies, want 2: %v", len(list.Items), err)
		}
		for _, policy := range list.Items {
			path := []string{"spec", "matchConstraints", "namespaceSelector", "matchExpressions"}
			expressions, _, err := unstructured.NestedSlice(policy.Object, path...)
			if err == nil {
				err = unstructured.SetNestedSlice(policy.Object, change(expressions), path...)
			}
			if err == nil {
				_, err = e.Dynamic.Resource(mutatingPolicies).Update(ctx, &policy, metav1.UpdateOptions{})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	without := func(expressions []any) []any {
		return slices.DeleteFunc(expressions, func(e any) bool { return e.(map[string]any)["key"] == withoutPolicies })
	}
	change(t.Context(), func(expressions []any) []any {
		return append(without(expressions), map[string]any{"key": withoutPolicies, "operator": "DoesNotExist"})
	})
	t.Cleanup(func() { change(context.WithoutCancel(t.Context()), without) })

	// Only while the webhook is down, the two namespaces differ.
	m := newMirrors(t, e)
	defer m.remove()
	if err := e.Processes.Stop(t.Context(), "webhook"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Processes.Start(context.WithoutCancel(t.Context()), "webhook", nil); err != nil {
			t.Fatal(err)
		}
	}()
	for side, want := range []int{1, 0} {
		accounts := e.Kube.CoreV1().ServiceAccounts(m.ns[side])
		account := &corev1.ServiceAccount{
			ObjectMeta:       metav1.ObjectMeta{Name: "probe", Annotations: map[string]string{pullsecrets.AddedAnnotation: `{"probe":"namespace"}`}},
			ImagePullSecrets: []corev1.LocalObjectReference{{Name: "probe"}},
		}
		if _, err := accounts.Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		err := wait.PollUntilContextTimeout(t.Context(), glance/4, timeout, true, func(ctx context.Context) (bool, error) {
			changed, err := accounts.Patch(ctx, "probe", types.MergePatchType, []byte(`{"imagePullSecrets":null}`), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
			return err == nil && len(changed.ImagePullSecrets) == want, err
		})
		if err != nil {
			t.Fatalf("wait until the policies apply only to one side: %v", err)
		}
	}
}

// mirrors are two namespaces with the same declarations: here with the policies, there
// without.
type mirrors struct {
	*env.Env
	t  *testing.T
	id string
	ns [2]string
}

func newMirrors(t *testing.T, e *env.Env) *mirrors {
	t.Helper()
	m := &mirrors{Env: e, t: t, id: utilrand.String(6)}
	for side, labels := range []map[string]string{nil, {withoutPolicies: "true"}} {
		// Names of the same length, because messages may contain them.
		m.ns[side] = "mirror-" + m.id + "-" + strconv.Itoa(side)
		_, err := e.Kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: m.ns[side], Labels: labels, Annotations: map[string]string{pullsecrets.ServiceAccountsAnnotation: "*"},
		}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		// Afterwards it would be bound, and only perhaps on both sides.
		err = wait.PollUntilContextTimeout(t.Context(), glance/4, timeout, true, func(ctx context.Context) (bool, error) {
			_, err := e.Kube.CoreV1().ServiceAccounts(m.ns[side]).Get(ctx, "default", metav1.GetOptions{})
			return err == nil, nil
		})
		if err != nil {
			t.Fatal("wait for the default ServiceAccount: ", err)
		}
	}
	return m
}

func (m *mirrors) remove() {
	for _, ns := range m.ns {
		if err := m.Kube.CoreV1().Namespaces().Delete(context.WithoutCancel(m.t.Context()), ns, metav1.DeleteOptions{}); err != nil {
			m.t.Error(err)
		}
	}
}

// declare sets the secrets annotation of both Namespaces, and waits for the webhook.
func (m *mirrors) declare(names string) {
	m.t.Helper()
	change := map[string]any{"metadata": map[string]any{"annotations": map[string]any{pullsecrets.SecretsAnnotation: names}}}
	var want []string
	for name := range strings.SplitSeq(names, ", ") {
		if name != "" {
			want = append(want, name)
		}
	}
	for _, ns := range m.ns {
		if _, err := m.Kube.CoreV1().Namespaces().Patch(m.t.Context(), ns, types.MergePatchType, encode(change), metav1.PatchOptions{}); err != nil {
			m.t.Fatal(err)
		}
		probe := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": map[string]any{"name": "probe"},
			"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"image": byDigest}}}}},
		}}
		err := wait.PollUntilContextTimeout(m.t.Context(), glance/4, timeout, true, func(ctx context.Context) (bool, error) {
			made, err := m.Dynamic.Resource(services).Namespace(ns).Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return err == nil && slices.Equal(listOf(made), want), err
		})
		if err != nil {
			m.t.Fatal("wait for the webhook: ", err)
		}
	}
}
