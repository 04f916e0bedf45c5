// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// An image that is on the node stays usable after a rotation in place, even if the registry
// accepts no credential. Since Kubernetes 1.35 the kubelet asks the registry otherwise: the
// Secret must be the one of the pull, by its UID, or hold the same credential (KEP-2535). So
// what deletes and creates a Secret again loses the images on the nodes.
func TestPullOfCachedImageAfterRotation(t *testing.T) {
	t.Parallel()
	t.Run("in place", func(t *testing.T) {
		t.Parallel()
		p := newPuller(t, mainRegistry)
		p.grant()
		n := newTenant(t, p.granted(), optedIn(p.name))
		app := n.servePulled(p)

		p.keepSource(p.secret(p.name, "second"))
		n.waitForCopy(p.name, "second")
		before := len(app.requests(0))
		n.deletePods("app")
		n.waitForPod("app", "is Ready", isReady)
		app.checkNoReads(before)
	})
	t.Run("by another Secret of the same name", func(t *testing.T) {
		t.Parallel()
		p := newPuller(t, mainRegistry)
		n := newTenant(t)
		n.keepOwn(p.secret("own", "first"))
		app := n.servePulled(p, naming("own"))

		n.dropOwn("own")
		n.keepOwn(p.secret("own", "second"))
		before := len(app.requests(0))
		n.deletePods("app")
		if n.kubeletVerifies() {
			n.waitForPod("app", "cannot pull", cannotPull)
			app.waitForRejection(before, p.name, app.digestRead)
		} else {
			n.waitForPod("app", "is Ready", isReady)
		}
		app.checkNoReads(before)
	})
}

// servePulled creates the Service app, whose image the node has then, and removes the
// account at the registry.
func (n *tenant) servePulled(p *puller, edits ...func(*unstructured.Unstructured)) pushed {
	n.t.Helper()
	app := p.push("app")
	n.serve("app", []string{app.byTag()}, edits...)
	n.waitForReady("app")
	n.waitForPod("app", "is Ready", isReady)
	if err := p.registry.RemoveUser(n.t.Context(), p.name); err != nil {
		n.t.Fatal("remove the account: ", err)
	}
	return app
}

// kubeletVerifies reports whether the nodes verify credentials for images that they have.
func (n *tenant) kubeletVerifies() bool {
	n.t.Helper()
	nodes, err := n.Kube.CoreV1().Nodes().List(n.t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) == 0 {
		n.t.Fatalf("list the %d nodes: %v", len(nodes.Items), err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(nodes.Items[0].Status.NodeInfo.KubeletVersion, "v%d.%d", &major, &minor); err != nil {
		n.t.Fatal("read the kubelet's version: ", err)
	}
	return minor >= 35
}
