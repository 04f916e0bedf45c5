// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package merge

import (
	"testing"

	"sigs.k8s.io/yaml"
)

func template(t *testing.T, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

const (
	plain   = "{spec: {containers: [{image: ghcr.io/acme/app:v1}]}}"
	another = "{spec: {containers: [{image: ghcr.io/acme/app:v2}]}}"
	named1  = "{metadata: {name: app-1}, spec: {containers: [{image: ghcr.io/acme/app:v1}]}}"
	named2  = "{metadata: {name: app-2}, spec: {containers: [{image: ghcr.io/acme/app:v1}]}}"
)

func TestAdmitUpdate(t *testing.T) {
	declaresMore := Declared{Namespace: list("n more")}
	tests := []struct {
		reason         string
		old, requested string
		oldTemplate    string
		newTemplate    string
		secrets        string
		inject         string
		declared       Declared
		taken          *Revision
		verdict        Verdict
		want           string
	}{
		{
			reason: "nothing changed: what was dropped is put back, and nothing that is due comes with it",
			old:    "n=namespace", requested: "", oldTemplate: plain, newTemplate: plain, declared: declaresMore, verdict: Restore,
		},
		{
			reason: "the template changed",
			old:    "n=namespace", requested: "", oldTemplate: plain, newTemplate: another, declared: declaresMore,
			verdict: Renew, want: "n=namespace more=namespace",
		},
		{
			reason: "the user's own entries changed",
			old:    "n=namespace", requested: "mine", oldTemplate: plain, newTemplate: plain, declared: declaresMore,
			verdict: Renew, want: "mine n=namespace more=namespace",
		},
		{
			reason: "the Service's secrets annotation changed",
			old:    "n=namespace", requested: "n", oldTemplate: plain, newTemplate: plain, secrets: "s", declared: Declared{Service: list("s")},
			verdict: Renew, want: "s=service",
		},
		{
			reason: "the Service's inject annotation changed",
			old:    "n=namespace", requested: "n", oldTemplate: plain, newTemplate: plain, inject: "disabled",
			verdict: Renew, want: "",
		},
		{
			reason: "an unchanged name: nothing new",
			old:    "n=namespace", requested: "", oldTemplate: named1, newTemplate: named1, declared: declaresMore, verdict: Restore,
		},
		{
			reason: "an unchanged name and a changed template: Knative refuses it, the list is not ours to change",
			old:    "n=namespace", requested: "n", oldTemplate: named1,
			newTemplate: "{metadata: {name: app-1}, spec: {containers: [{image: ghcr.io/acme/app:v2}]}}", declared: declaresMore, verdict: Restore,
		},
		{
			reason: "an unchanged name and other own entries: Knative refuses it and must see it",
			old:    "n=namespace", requested: "mine n", oldTemplate: named1, newTemplate: named1, declared: declaresMore, verdict: Leave,
		},
		{
			reason: "the next name",
			old:    "n=namespace", requested: "", oldTemplate: named1, newTemplate: named2, declared: declaresMore,
			verdict: Renew, want: "n=namespace more=namespace",
		},
		{
			reason: "the name is dropped",
			old:    "n=namespace", requested: "", oldTemplate: named1, newTemplate: plain, declared: declaresMore,
			verdict: Renew, want: "n=namespace more=namespace",
		},
		{
			reason: "an earlier name: that Revision's list",
			old:    "n=namespace more=namespace", requested: "", oldTemplate: named2, newTemplate: named1, declared: declaresMore,
			taken: &Revision{List: list("n")}, verdict: Renew, want: "n=namespace",
		},
		{
			reason: "an earlier name from before the opt-in",
			old:    "n=namespace", requested: "", oldTemplate: named2, newTemplate: named1, declared: declaresMore,
			taken: &Revision{}, verdict: Renew, want: "",
		},
		{
			reason: "an earlier name with other own entries is not ours to mend",
			old:    "n=namespace", requested: "mine", oldTemplate: named2, newTemplate: named1, declared: declaresMore,
			taken: &Revision{List: list("other n")}, verdict: Renew, want: "mine n=namespace more=namespace",
		},
		{
			reason: "an earlier name from before a retraction",
			old:    "n=namespace", requested: "mine n", oldTemplate: named2, newTemplate: named1, declared: declaresMore,
			taken: &Revision{List: list("mine gone n")}, verdict: Renew, want: "mine gone n=namespace",
		},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			old := Side{Current: current(tt.old, ""), Template: template(t, tt.oldTemplate)}
			requested := Side{Current: current(tt.requested, ""), Template: template(t, tt.newTemplate), Secrets: tt.secrets, Inject: tt.inject}
			verdict, got := AdmitUpdate(old, requested, tt.declared, tt.taken)
			if verdict != tt.verdict {
				t.Fatalf("verdict = %s, want %s", verdict, tt.verdict)
			}
			if verdict == Renew && render(got) != tt.want {
				t.Errorf("list = %q, want %q", render(got), tt.want)
			}
		})
	}
}

func TestTemplateChanged(t *testing.T) {
	const stored = `
metadata: {annotations: {a: b}}
spec:
  containerConcurrency: 0
  timeoutSeconds: 300
  imagePullSecrets: [{name: x}]
  containers:
  - name: user-container
    image: ghcr.io/acme/app:v1
    resources: {}
    readinessProbe: {successThreshold: 1, tcpSocket: {port: 0}}
    env: [{name: A, value: "1"}]
  - image: ghcr.io/acme/sidecar:v1
    resources: {requests: {cpu: "1", memory: 1Gi}}
`
	tests := []struct {
		reason string
		text   string
		want   bool
	}{
		{"the same", stored, false},
		{"without defaults", "{metadata: {annotations: {a: b}}, spec: {containers: [{image: ghcr.io/acme/app:v1, env: [{name: A, value: '1'}]}, {}]}}", false},
		{"quantities in another form", "{spec: {containers: [{}, {resources: {requests: {cpu: 1000m, memory: 1024Mi}}}]}}", false},
		{"a quantity as a number", "{spec: {containers: [{}, {resources: {requests: {cpu: 1}}}]}}", false},
		{"another quantity", "{spec: {containers: [{}, {resources: {requests: {cpu: 1001m}}}]}}", true},
		{"no quantity", "{spec: {containers: [{}, {resources: {requests: {cpu: much}}}]}}", true},
		{"a quantity elsewhere is text", "{spec: {containers: [{env: [{name: A, value: 1000m}]}, {}]}}", true},
		{"other pull secrets", "{spec: {imagePullSecrets: [{name: y}], containers: [{image: ghcr.io/acme/app:v1}, {}]}}", false},
		{"empty objects and nulls say nothing", "{metadata: {creationTimestamp: null, labels: {}}, spec: {containers: [{image: ghcr.io/acme/app:v1, securityContext: {}}, {}]}}", false},
		{"another image", "{spec: {containers: [{image: ghcr.io/acme/app:v2}, {}]}}", true},
		{"a new annotation", "{metadata: {annotations: {c: d}}, spec: {containers: [{image: ghcr.io/acme/app:v1}, {}]}}", true},
		{"a container less", "{spec: {containers: [{image: ghcr.io/acme/app:v1}]}}", true},
		{"an environment variable less", "{spec: {containers: [{image: ghcr.io/acme/app:v1, env: []}, {}]}}", true},
		{"a value of another type", "{spec: {containers: {}}}", true},
		{"a number", "{spec: {timeoutSeconds: 301}}", true},
		{"a field that we do not know", "{spec: {fieldOfTomorrow: true}}", true},
		{"nothing at all", "{}", false},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			if got := TemplateChanged(template(t, stored), template(t, tt.text)); got != tt.want {
				t.Errorf("TemplateChanged() = %v, want %v", got, tt.want)
			}
		})
	}
	t.Run("decoders differ in the type of numbers", func(t *testing.T) {
		a := map[string]any{"spec": map[string]any{"timeoutSeconds": int64(300)}}
		b := map[string]any{"spec": map[string]any{"timeoutSeconds": float64(300)}}
		if TemplateChanged(a, b) {
			t.Error("TemplateChanged() = true, want false")
		}
	})
}
