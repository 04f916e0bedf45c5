// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// An excluded Namespace is excluded from admission too, whatever it declares, until the
// label is removed.
func TestExcludedNamespaceIsNotAdmitted(t *testing.T) {
	t.Parallel()
	n := newTenant(t, optedIn("ghcr"), env.Labelled(pullsecrets.ExcludeLabel, pullsecrets.ExcludeValue))
	a := n.askToCreate("by-digest.yaml", nil, annotated(pullsecrets.SecretsAnnotation, "quay, Not-A-Name")).succeeded(t)
	a.checkList(t)
	if a.warned("Not-A-Name") {
		t.Errorf("in an excluded Namespace the webhook warned %q", a.warnings)
	}
	n.labelNamespace(pullsecrets.ExcludeLabel, nil)
	n.waitUntilDeclared("ghcr")
}

// The API server does not call the webhook for the platform's own namespaces, which must
// start while the webhook is down, without waiting for it. It calls the webhook for all
// others.
func TestWebhookIsNotCalledForExcludedNamespaces(t *testing.T) {
	t.Parallel()
	n := newTenant(t, env.Labelled(pullsecrets.ExcludeLabel, "false"))
	excluded := newTenant(t, env.Labelled(pullsecrets.ExcludeLabel, pullsecrets.ExcludeValue))
	configuration, err := n.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), injectWebhook, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	selector, err := metav1.LabelSelectorAsSelector(configuration.Webhooks[0].NamespaceSelector)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		n.ns: true, metav1.NamespaceDefault: true, excluded.ns: false,
		pullsecrets.SystemNamespace: false, pullsecrets.SourcesNamespace: false,
		"kube-system": false, "knative-serving": false,
	} {
		namespace, err := n.Kube.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Error(err)
			continue
		}
		if got := selector.Matches(labels.Set(namespace.Labels)); got != want {
			t.Errorf("the API server calls the webhook for Services in %s: %t, want %t; the selector is %s", name, got, want, selector)
		}
	}
	for _, name := range []string{pullsecrets.SystemNamespace, pullsecrets.SourcesNamespace} {
		own := &tenant{Env: n.Env, t: t, ns: name}
		own.askToCreate("by-digest.yaml", dryRun, annotated(pullsecrets.SecretsAnnotation, "ghcr"), restricted).succeeded(t).checkList(t)
	}
}
