// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
)

// always grants the copy to every selected Namespace, whether or not it asks.
func always(spec *v1alpha1.ClusterPullSecretSpec) { spec.Always = &v1alpha1.Always{} }

// hold adds a finalizer to a copy, which also delays the deletion of its Namespace.
func (n *tenant) hold(copied string) {
	n.t.Helper()
	n.patchSecret(copied, map[string]any{"metadata": map[string]any{"finalizers": []any{"e2e.test/hold"}}})
	n.t.Cleanup(func() {
		_, err := n.Kube.CoreV1().Secrets(n.ns).Patch(context.WithoutCancel(n.t.Context()), copied, "application/merge-patch+json",
			[]byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{FieldManager: user})
		if err != nil {
			n.t.Error("release the copy: ", err)
		}
	})
}

// deleteNamespace is "kubectl delete namespace --wait=false".
func (n *tenant) deleteNamespace() {
	n.t.Helper()
	if err := n.Kube.CoreV1().Namespaces().Delete(n.t.Context(), n.ns, metav1.DeleteOptions{}); err != nil {
		n.t.Fatal(err)
	}
}

// selects reports whether the status counts this number of Namespaces, all with copies.
func selects(count int32) func(*v1alpha1.ClusterPullSecret) bool {
	return func(c *v1alpha1.ClusterPullSecret) bool {
		n := c.Status.Namespaces
		return c.IsReady() && n != nil && n.Selected == count && n.Wanted == count && n.Synced == count && len(c.Status.Failures) == 0
	}
}

// A Namespace that is being deleted takes its objects with it. Nothing is written there,
// and neither a rotation nor a revocation waits for it, although it still has a copy.
func TestTerminatingNamespaceIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	staying, other, going := newTenant(t, p.granted()), newTenant(t, p.granted()), newTenant(t, p.granted())
	p.grant(always)
	p.waitForStatus("3/3", selects(3))
	going.hold(p.name)
	going.deleteNamespace()
	p.waitForStatus("2/2", selects(2))
	left := going.copyOf(p.name)
	counting := going.startCounting()

	p.rotate("two")
	staying.waitForCopy(p.name, "two")
	other.waitForCopy(p.name, "two")
	late := newTenant(t, p.granted())
	late.waitForCopy(p.name, "two")
	rotated := late.copyOf(p.name).Annotations[pullsecrets.SourceResourceVersionAnnotation]
	p.waitForStatus("the rotation in 3/3", func(c *v1alpha1.ClusterPullSecret) bool {
		return selects(3)(c) && c.Status.Source.ResourceVersion == rotated
	})
	p.withdraw()
	for _, n := range []*tenant{staying, other, late} {
		if n.copyOf(p.name) != nil {
			t.Errorf("copy in Namespace %s outlives the ClusterPullSecret", n.ns)
		}
	}

	if now := going.copyOf(p.name); now == nil || now.UID != left.UID || string(now.Data[".dockerconfigjson"]) != string(left.Data[".dockerconfigjson"]) {
		t.Errorf("copy in the Namespace that is being deleted has changed: %v", now)
	}
	if requests, known := counting.requests(); known && len(requests.Writes()) > 0 {
		t.Errorf("controller wrote to the Namespace that is being deleted:\n%s", requests.Writes())
	}
}

// A Namespace is deleted before its copy is created, and is held by a finalizer: the
// others get their copies, the status counts only these, and nothing fails.
func TestNamespaceIsDeletedBeforeTheGrant(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	going, staying := newTenant(t, p.granted()), newTenant(t, p.granted())
	if err := going.makeSecret(t.Context(), pullSecret("own", "own.example.com", "own")); err != nil {
		t.Fatal(err)
	}
	going.hold("own")
	going.deleteNamespace()
	counting := going.startCounting()
	p.grant(always)
	staying.waitForCopy(p.name, "one")
	p.waitForStatus("1/1", selects(1))
	if requests, known := counting.requests(); known && len(requests.Writes()) > 0 {
		t.Errorf("controller wrote to the Namespace that is being deleted:\n%s", requests.Writes())
	}
	eventually(t, func(ctx context.Context) error { // It has been terminating all along.
		found, err := going.Kube.CoreV1().Namespaces().Get(ctx, going.ns, metav1.GetOptions{})
		if err == nil && found.DeletionTimestamp == nil {
			err = fmt.Errorf("Namespace %s is not being deleted", going.ns)
		}
		return err
	})
}
