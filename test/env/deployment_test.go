// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const webhookManifests = `# Only a comment.
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: webhook, namespace: system}
spec:
  template:
    metadata: {labels: {app: webhook, role: server}}
    spec:
      serviceAccountName: webhook
      containers:
      - name: webhook
        image: ko://example.com/cmd/webhook
        args: [--verbose]
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: SYSTEM_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
        - {name: WEBHOOK_PORT, value: "8443"}
        - {name: KUBE_API_QPS, value: "100"}
        ports:
        - {name: https-webhook, containerPort: 8443}
        - {name: probes, containerPort: 8080}
        readinessProbe: {httpGet: {path: /readiness, port: probes}}
---
apiVersion: v1
kind: Service
metadata: {name: webhook, namespace: system}
spec:
  selector: {app: webhook}
  ports: [{port: 443, targetPort: 8443}]
---
apiVersion: v1
kind: Service
metadata: {name: metrics, namespace: system}
spec:
  selector: {app: webhook}
  ports: [{port: 9090}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: webhook, namespace: system}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: mutating}
webhooks:
- name: one.example.com
  clientConfig: {service: {name: webhook, namespace: system}}
- name: two.example.com
  clientConfig: {service: {name: webhook, namespace: system}}
`

func readWebhookManifests(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	file := filepath.Join(t.TempDir(), "all.yaml")
	if err := os.WriteFile(file, []byte(webhookManifests), 0o600); err != nil {
		t.Fatal(err)
	}
	objects, err := readManifests(file)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func TestInstallation(t *testing.T) {
	in := &installation{processPrefix: "knative-", programPrefix: "built-", extra: map[string]string{"KUBE_API_QPS": "200"}}
	if err := in.divide(readWebhookManifests(t), portBook{}); err != nil {
		t.Fatal(err)
	}

	if got, want := names(in.objects), []string{"Service webhook", "Service metrics", "MutatingWebhookConfiguration mutating"}; !slices.Equal(got, want) {
		t.Errorf("applied are %q, want %q", got, want)
	}
	if len(in.deployments) != 1 || in.deployments[0].name != "knative-webhook" {
		t.Fatalf("processes are %+v, want one knative-webhook", in.deployments)
	}
	d := in.deployments[0]

	// Both webhooks are redirected to the process.
	webhooks, _, _ := unstructured.NestedSlice(in.objects[2].Object, "webhooks")
	for _, w := range webhooks {
		port, _, _ := unstructured.NestedInt64(w.(map[string]any), "clientConfig", "service", "port")
		if int(port) != d.ports["https-webhook"] {
			t.Errorf("webhook %v calls port %d, want the process's port %d", w, port, d.ports["https-webhook"])
		}
	}
	for i, want := range []string{"ExternalName", ""} {
		if got, _, _ := unstructured.NestedString(in.objects[i].Object, "spec", "type"); got != want {
			t.Errorf("Service %s has type %q, want %q: only Services of webhooks are redirected", in.objects[i].GetName(), got, want)
		}
	}

	process := d.process(&connection{layout: layout{dir: "dir"}}, "bin")
	if want := filepath.Join("bin", "built-webhook"); process.program != want {
		t.Errorf("the program is %q, want %q", process.program, want)
	}
	if !slices.Equal(process.args, []string{"--verbose"}) {
		t.Errorf("arguments are %q, want those of the container", process.args)
	}
	for _, want := range []string{
		"POD_NAME=knative-webhook-0",
		"SYSTEM_NAMESPACE=system",
		"KUBE_API_QPS=200",
		"WEBHOOK_PORT=" + strconv.Itoa(d.ports["https-webhook"]),
		"PROBES_HOST=127.0.0.1",
		"KUBECONFIG=" + filepath.Join("dir", "kubeconfigs", "knative-webhook"),
	} {
		name, _, _ := strings.Cut(want, "=")
		got := slices.DeleteFunc(slices.Clone(process.env), func(v string) bool { return !strings.HasPrefix(v, name+"=") })
		if !slices.Equal(got, []string{want}) {
			t.Errorf("environment has %q, want %q", got, want)
		}
	}
}

func TestReplica(t *testing.T) {
	in, ports := &installation{}, portBook{}
	if err := in.divide(readWebhookManifests(t), ports); err != nil {
		t.Fatal(err)
	}
	first := in.deployments[0]
	before := maps.Clone(first.ports)
	second, err := first.replica(1, ports)
	if err != nil {
		t.Fatal(err)
	}
	if second.name != "webhook-1" || second.program != first.program || second.Deployment != first.Deployment {
		t.Errorf("the second replica is %+v", second)
	}
	if !maps.Equal(first.ports, before) {
		t.Errorf("the first replica has got the ports %v, had %v", first.ports, before)
	}
	for name, port := range second.ports {
		if port == first.ports[name] {
			t.Errorf("both replicas have the port %d for %s", port, name)
		}
	}
}

func TestInstallationRejectsWebhookWithoutDeployment(t *testing.T) {
	manifests := readWebhookManifests(t)
	manifests = slices.DeleteFunc(manifests, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Deployment" })
	in := &installation{}
	if err := in.divide(manifests, portBook{}); err == nil || !strings.Contains(err.Error(), "system/webhook") {
		t.Errorf("divide() = %v, want an error that names the Service", err)
	}
}

func TestReadyCallsTheReadinessProbe(t *testing.T) {
	status := http.StatusServiceUnavailable
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readiness" {
			t.Errorf("got a request for %s", r.URL)
		}
		w.WriteHeader(status)
	}))
	defer server.Close()
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(at.Port())
	if err != nil {
		t.Fatal(err)
	}
	in := &installation{}
	if err := in.divide(readWebhookManifests(t), portBook{"webhook probes": port}); err != nil {
		t.Fatal(err)
	}

	if err := in.deployments[0].ready(t.Context()); err == nil {
		t.Error("a process that returns 503 counts as ready")
	}
	status = http.StatusOK
	if err := in.deployments[0].ready(t.Context()); err != nil {
		t.Error(err)
	}
}
