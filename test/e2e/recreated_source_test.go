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

// makeSource creates the source again, of a kind that can be changed in no other way.
func (p *platform) makeSource(password string) {
	p.t.Helper()
	source := pullSecret(p.name, "registry.example.com", password)
	source.Immutable = new(true)
	if _, err := p.Kube.CoreV1().Secrets(pullsecrets.SourcesNamespace).Create(p.t.Context(), source, metav1.CreateOptions{FieldManager: user}); err != nil {
		p.t.Fatal("create the source: ", err)
	}
}

// An immutable source is rotated by deleting and making it again. While it is gone the
// last good copies stay and the status says so; the same credential costs no write,
// and another one reaches the copies in place, with a pause between or without.
func TestSourceIsMadeAnew(t *testing.T) {
	t.Parallel()
	p := barePlatform(t)
	p.makeSource("one")
	n := newTenant(t, optedIn(p.name), p.granted())
	p.grant()
	before := n.waitForCopy(p.name, "one")
	if before.Immutable != nil {
		t.Error("The copy is immutable too, want it written in place later")
	}
	p.waitForStatus("1/1", selects(1))
	unwritten := func(when string) {
		t.Helper()
		// The controller tells of a later mistake, so it has come to the Namespace again.
		n.annotateNamespace(pullsecrets.SecretsAnnotation, p.name+", Not-"+when)
		n.waitForEvent(n.namespace(), "InvalidAnnotation", "Not-"+when)
		if now := n.copyOf(p.name); now == nil || now.ResourceVersion != before.ResourceVersion {
			t.Errorf("The copy has become %v, want it left alone", now)
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
		t.Errorf("The copy has become %v, want it written in place", after.ObjectMeta)
	}
}
