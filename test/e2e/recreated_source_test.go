// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
)

// dropSource deletes the source.
func (p *platform) dropSource() {
	p.t.Helper()
	if err := p.Kube.CoreV1().Secrets(pullsecrets.SourcesNamespace).Delete(p.t.Context(), p.name, metav1.DeleteOptions{}); err != nil {
		p.t.Fatal("delete the source: ", err)
	}
}

// makeSource recreates the source as an immutable Secret.
func (p *platform) makeSource(password string) {
	p.t.Helper()
	source := pullSecret(p.name, "registry.example.com", password)
	source.Immutable = new(true)
	if _, err := p.Kube.CoreV1().Secrets(pullsecrets.SourcesNamespace).Create(p.t.Context(), source, metav1.CreateOptions{FieldManager: user}); err != nil {
		p.t.Fatal("create the source: ", err)
	}
}

// An immutable source is rotated by deleting and recreating it. While it is missing, the
// last good copies are kept and the status reports it. The same credential causes no
// write, and a new one is written to the copies in place, with and without a pause in
// between.
func TestRecreatedSourceUpdatesCopiesInPlace(t *testing.T) {
	t.Parallel()
	p := barePlatform(t)
	p.makeSource("one")
	n := newTenant(t, optedIn(p.name), p.granted())
	p.grant()
	before := n.waitForCopy(p.name, "one")
	if before.Immutable != nil {
		t.Error("copy is immutable too, so it cannot be updated in place")
	}
	p.waitForStatus("1/1", selects(1))
	unwritten := func(when string) {
		t.Helper()
		// The controller has reported a later mistake, so it has reconciled the Namespace
		// again.
		n.annotateNamespace(pullsecrets.SecretsAnnotation, p.name+", Not-"+when)
		n.waitForEvent(n.namespace(), "InvalidAnnotation", "Not-"+when)
		if now := n.copyOf(p.name); now == nil || now.ResourceVersion != before.ResourceVersion {
			t.Errorf("copy has changed: %v", now)
		}
	}

	p.dropSource()
	p.waitForSource(v1alpha1.ReasonSourceNotFound, p.name)
	unwritten("while-gone")
	p.makeSource("one")
	p.waitForStatus("1/1", selects(1))
	unwritten("when-back")

	p.dropSource()
	p.waitForSource(v1alpha1.ReasonSourceNotFound)
	p.makeSource("two")
	checkInPlace(t, before, n.waitForCopy(p.name, "two"))
	p.dropSource()
	p.makeSource("three")
	checkInPlace(t, before, n.waitForCopy(p.name, "three"))
	p.waitForStatus("1/1", selects(1))
}

func checkInPlace(t *testing.T, before, after *corev1.Secret) {
	t.Helper()
	if after.UID != before.UID || after.Immutable != nil {
		t.Errorf("copy is %v, want it updated in place", after.ObjectMeta)
	}
}
