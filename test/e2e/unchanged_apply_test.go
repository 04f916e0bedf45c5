// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/yaml"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// normalized are specs with values that Knative does not store: to Knative they equal an
// absent field and its default.
var normalized = map[string]string{
	"value":    `{containers: [{image: %s, env: [{name: A, value: ""}]}]}`,
	"delay":    `{containers: [{image: %s, livenessProbe: {httpGet: {path: /}, initialDelaySeconds: 0}}]}`,
	"name":     `{containers: [{image: %s, name: ""}]}`,
	"readonly": `{containers: [{image: %s, volumeMounts: [{name: t, mountPath: /t, readOnly: false}]}], volumes: [{name: t, emptyDir: {}}]}`,
}

// specOf returns a manifest of a Service with this template spec.
func (p *person) specOf(name, spec string) []byte {
	p.t.Helper()
	var template map[string]any
	if err := yaml.Unmarshal(fmt.Appendf(nil, spec, image(p.t, p.Env, "IMAGE_BY_TAG")), &template); err != nil {
		p.t.Fatal(err)
	}
	object := templateSpec(template)
	object["apiVersion"], object["kind"] = "serving.knative.dev/v1", "Service"
	object["metadata"] = map[string]any{"name": name, "namespace": p.ns}
	return encode(object)
}

// An unchanged apply by another user is no change, whatever is due: as without the
// webhook it is accepted, creates no Revision, and changes no last modifier.
func TestUnchangedApplyWhileSomethingIsDue(t *testing.T) {
	t.Parallel()
	for _, due := range []struct {
		what   string
		before string
		after  []string
		make   func(n *tenant)
	}{
		{"an opt-in", "", []string{"ghcr"}, func(n *tenant) { n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr") }},
		{"a withdrawn annotation", "ghcr", nil, func(n *tenant) { n.annotateNamespace(pullsecrets.SecretsAnnotation, nil) }},
		{"a changed ServiceAccount", "ghcr", []string{"ghcr", "sa"}, func(n *tenant) {
			eventually(n.t, func(ctx context.Context) error {
				accounts := n.Kube.CoreV1().ServiceAccounts(n.ns)
				account, err := accounts.Get(ctx, "default", metav1.GetOptions{})
				if err != nil {
					return err
				}
				account.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "sa"}}
				_, err = accounts.Update(ctx, account, metav1.UpdateOptions{})
				return err
			})
		}},
	} {
		t.Run(due.what, func(t *testing.T) {
			t.Parallel()
			n := newTenant(t, optedIn(due.before))
			alice, bob := n.person("alice"), n.person("bob")
			for name, spec := range normalized {
				alice.run(alice.specOf(name, spec), "kubectl", "apply", "-f", "-")
			}
			for name := range normalized {
				n.waitForReady(name)
			}
			due.make(n)
			n.settle(due.after...)
			for name, spec := range normalized {
				was := n.get(name)
				for _, flags := range [][]string{
					{"--dry-run=server"}, nil, {"--server-side", "--field-manager=argocd-controller", "--force-conflicts"},
				} {
					output, err := bob.try(bob.specOf(name, spec), "kubectl", append([]string{"apply", "-f", "-"}, flags...)...)
					if err != nil {
						t.Errorf("%s %q: %s", name, flags, output)
					}
				}
				is := n.get(name)
				if is.GetGeneration() != was.GetGeneration() {
					t.Errorf("Service %s has generation %d, want %d", name, is.GetGeneration(), was.GetGeneration())
				}
				if got := is.GetAnnotations()["serving.knative.dev/lastModifier"]; got != "alice" {
					t.Errorf("Service %s has lastModifier %q, want alice", name, got)
				}
			}
		})
	}
}

// A change that only removes fields is a change: its Revision gets what is due.
func TestRemovalIsAChange(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	alice := n.person("alice")
	alice.run(alice.specOf("app", `{containers: [{image: %s, env: [{name: DEBUG, value: "1"}]}]}`), "kubectl", "apply", "-f", "-")
	n.waitForReady("app")
	n.annotateNamespace(pullsecrets.SecretsAnnotation, "ghcr")
	n.waitForEvent(service("app"), "BackfillDeferred")
	alice.run(alice.specOf("app", `{containers: [{image: %s}]}`), "kubectl", "apply", "-f", "-")
	n.checkList("app", "ghcr")
	n.waitFor("app", "at Revision 2", func(svc *servingv1.Service) bool { return svc.Status.LatestCreatedRevisionName == "app-00002" })
	n.checkRevisions("app", 2)
}
