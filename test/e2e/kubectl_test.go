// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
)

// row returns the platform's line of "kubectl get cps", by column.
func (p *platform) row(alice *person) map[string]string {
	p.t.Helper()
	header, line, _ := strings.Cut(strings.TrimSpace(alice.run(nil, "kubectl", "get", "cps", p.name)), "\n")
	columns := strings.Fields(header)
	if want := []string{"NAME", "READY", "REASON", "SOURCE", "REGISTRIES", "SYNCED", "AGE"}; !slices.Equal(columns, want) {
		p.t.Fatalf("kubectl prints the columns %q, want %q", columns, want)
	}
	row := make(map[string]string, len(columns))
	for i, column := range columns {
		from, to := strings.Index(header, column), len(line)
		if i+1 < len(columns) {
			to = strings.Index(header, columns[i+1])
		}
		row[column] = strings.TrimSpace(line[from:to])
	}
	return row
}

// checkInOrder checks that a text contains these parts in this order.
func checkInOrder(t *testing.T, text string, parts ...string) {
	t.Helper()
	rest := text
	for _, part := range parts {
		_, after, found := strings.Cut(rest, part)
		if !found {
			t.Errorf("%q does not follow the parts before it, of %q, in\n%s", part, parts, text)
			return
		}
		rest = after
	}
}

// kubectl alone shows the state of each ClusterPullSecret and its history in order, with
// remedies and never a credential.
func TestKubectlShowsStateAndHistoryOfClusterPullSecret(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	n, conflicted := newTenant(t, p.granted(), optedIn(p.name)), newTenant(t, optedIn(p.name))
	alice := n.person("alice")
	distributed := func(password string) (event string) {
		t.Helper()
		version := n.waitForCopy(p.name, password).Annotations[pullsecrets.SourceResourceVersionAnnotation]
		p.waitForStatus("the distribution", func(c *v1alpha1.ClusterPullSecret) bool {
			return selects(1)(c) && c.Status.Source.ResourceVersion == version
		})
		waitForSecondAfter(t, metav1.Now())
		return "1 of 1 namespaces have a copy of the source at resourceVersion " + version
	}
	p.grant()
	first := distributed("one")
	row := p.row(alice)
	if row["READY"] != "True" || row["REASON"] != "" || row["SOURCE"] != p.name || row["REGISTRIES"] != `["registry.example.com"]` || row["SYNCED"] != "1/1" || row["AGE"] == "" {
		t.Errorf("with a good source kubectl prints %q", row)
	}
	p.rotate("two")
	second := distributed("two")

	bad := pullSecret(p.name, "registry.example.com", "three")
	bad.Data[".dockerconfigjson"] = []byte(`{"auths":{"registry.example.com":{"username":"robot"}}}`)
	p.keepSource(bad)
	p.waitForSource(v1alpha1.ReasonSourceInvalid)
	if row := p.row(alice); row["READY"] != "False" || row["REASON"] != v1alpha1.ReasonSourceInvalid || row["SYNCED"] != "1/1" {
		t.Errorf("with a broken source kubectl prints %q", row)
	}
	waitForSecondAfter(t, metav1.Now())
	p.rotate("three")
	third := distributed("three")

	if err := conflicted.makeSecret(t.Context(), pullSecret(p.name, "own.example.com", "own")); err != nil {
		t.Fatal(err)
	}
	conflicted.labelNamespace(teamLabel, p.name)
	p.waitForConflict(conflicted, conflicted.copyOf(p.name), 1)
	if row := p.row(alice); row["READY"] != "True" || row["SYNCED"] != "1/2" {
		t.Errorf("with a conflicting Secret kubectl prints %q", row)
	}
	text := alice.run(nil, "kubectl", "describe", "cps", p.name)
	checkInOrder(t, text, "Failures:", conflicted.ns, "NameConflict",
		"Events:", "Distributed", first, "Distributed", second, v1alpha1.ReasonSourceInvalid, "registry.example.com", "existing copies are kept", "Distributed", third)
	checkInOrder(t, alice.run(nil, "kubectl", "-n", conflicted.ns, "events", "--for", "namespace/"+conflicted.ns),
		"Warning", "NameConflict", p.name, "rename them, or label them")
	for _, password := range []string{"one", "two", "three", "own"} {
		if strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(p.name+":"+password))) {
			t.Errorf("kubectl describe shows the credential with the password %s:\n%s", password, text)
		}
	}
}

// kubectl shows the owner of a Service which entries were added and why, which are
// missing, and which were removed.
func TestKubectlShowsHistoryOfService(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	p.grant()
	p.waitForStatus("Ready", (*v1alpha1.ClusterPullSecret).IsReady)
	n := newTenant(t, withoutAdmission)
	n.applyAs("by-digest.yaml", "app", annotated(pullsecrets.SecretsAnnotation, p.name))
	n.waitForEvent(service("app"), "NotGranted", p.name)
	n.waitForList("app", p.name)
	waitForSecondAfter(t, metav1.Now())
	n.labelNamespace(teamLabel, p.name)
	n.waitForCopy(p.name, "one")
	n.annotate("app", pullsecrets.SecretsAnnotation, p.name+", Quay")
	n.waitForEvent(service("app"), "InvalidAnnotation", "Quay")
	waitForSecondAfter(t, metav1.Now())
	n.annotate("app", pullsecrets.SecretsAnnotation, nil)
	n.waitForEvent(service("app"), "SecretsRetracted", p.name)
	text := n.person("alice").run(nil, "kubectl", "describe", "ksvc", "app")
	checkInOrder(t, text, "Events:", "Warning", "InvalidAnnotation", `"Quay" is not`, "SecretsRetracted", p.name+" (service)")
	checkInOrder(t, text, "Events:", "SecretsAdded", p.name+" (service)", "SecretsRetracted")
	checkInOrder(t, text, "Events:", "NotGranted", p.name, "InvalidAnnotation")
}
