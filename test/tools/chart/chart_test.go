// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/lint"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
)

// "helm lint" finds nothing.
func TestLint(t *testing.T) {
	for _, values := range []map[string]any{
		nil,
		{"namespaces": map[string]any{"system": true}, "outagePolicies": "enabled", "monitoring": map[string]any{"enabled": true}},
	} {
		for _, message := range lint.AllWithKubeVersion(filepath.Join(root, chartFolder), values, namespace, nil).Messages {
			// The project has no icon.
			if !strings.HasSuffix(message.Err.Error(), "icon is recommended") {
				t.Errorf("helm lint: %v", message)
			}
		}
	}
}

// "helm upgrade" sends the result of a three-way merge of the last release, the next one and
// the live object. What the programs wrote into objects of the installation is in neither
// release, so it stays.
func TestUpgradeKeepsWhatProgramsWrite(t *testing.T) {
	caBundles := func(webhooks any) {
		for _, webhook := range webhooks.([]any) {
			client, _ := webhook.(map[string]any)["clientConfig"].(map[string]any)
			client["caBundle"] = "Y2E="
		}
	}
	rendered := mustRender(t, "")
	for name, write := range map[string]func(map[string]any){
		"Secret pullsecrets-webhook-certs": func(object map[string]any) {
			object["type"] = "Opaque"
			object["data"] = map[string]any{"server-key.pem": "a2V5", "server-cert.pem": "Y2VydA==", "ca-cert.pem": "Y2E="}
		},
		"MutatingWebhookConfiguration inject.pullsecrets.dev":       func(object map[string]any) { caBundles(object["webhooks"]) },
		"MutatingWebhookConfiguration bind.pullsecrets.dev":         func(object map[string]any) { caBundles(object["webhooks"]) },
		"MutatingWebhookConfiguration defaulting.pullsecrets.dev":   func(object map[string]any) { caBundles(object["webhooks"]) },
		"ValidatingWebhookConfiguration validation.pullsecrets.dev": func(object map[string]any) { caBundles(object["webhooks"]) },
		"ValidatingWebhookConfiguration config.pullsecrets.dev":     func(object map[string]any) { caBundles(object["webhooks"]) },
		"Deployment webhook": func(object map[string]any) { object["spec"].(map[string]any)["replicas"] = 4 },
	} {
		manifest, err := json.Marshal(rendered[name])
		if err != nil || rendered[name] == nil {
			t.Fatalf("chart lacks %s (%v)", name, err)
		}
		write(rendered[name])
		live, err := json.Marshal(rendered[name])
		if err != nil {
			t.Fatal(err)
		}
		kind, _ := rendered[name]["kind"].(string)
		version, _ := rendered[name]["apiVersion"].(string)
		typed, err := scheme.Scheme.New(schema.FromAPIVersionAndKind(version, kind))
		if err != nil {
			t.Fatal(err)
		}
		meta, err := strategicpatch.NewPatchMetaFromStruct(typed)
		if err != nil {
			t.Fatal(err)
		}
		// As createPatch of helm.sh/helm/v3/pkg/kube does.
		patch, err := strategicpatch.CreateThreeWayMergePatch(manifest, manifest, live, meta, true)
		if err != nil || string(patch) != "{}" {
			t.Errorf("an upgrade changes %s by %s (%v)", name, patch, err)
		}
	}
}

// A release has its images by digest as defaults, and its version in Chart.yaml and labels.
func TestRelease(t *testing.T) {
	out := t.TempDir()
	images := filepath.Join(t.TempDir(), "images.txt")
	refs := []string{"127.0.0.1:5000/acme/pullsecrets/controller:v1.2.3-rc.1@" + digest, "127.0.0.1:5000/acme/pullsecrets/webhook@" + digest}
	if err := write(images, []byte(strings.Join(refs, "\n")+"\n")); err != nil {
		t.Fatal(err)
	}
	if err := run(root, out, "v1.2.3-rc.1", images); err != nil {
		t.Fatal(err)
	}
	got, err := render(out, namespace, "")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, line := range changes(mustRender(t, ""), got) {
		path, version, _ := strings.Cut(line, ": ")
		if !strings.HasSuffix(path, ".labels.app.kubernetes.io/version") {
			lines = append(lines, line)
		} else if line[0] == '+' && version != "v1.2.3-rc.1" {
			t.Errorf("label of the version: %s", line)
		}
	}
	if diff := cmp.Diff([]string{
		"-" + inController + "containers[0].image: ko://pullsecrets.dev/cmd/controller",
		"+" + inController + "containers[0].image: " + refs[0],
		"-" + inWebhook + "containers[0].image: ko://pullsecrets.dev/cmd/webhook",
		"+" + inWebhook + "containers[0].image: " + refs[1],
	}, lines); diff != "" {
		t.Error("a release changes (-want, +got):", diff)
	}
	for name, object := range got {
		metadata, _ := object["metadata"].(map[string]any)
		labels, _ := metadata["labels"].(map[string]any)
		if labels["app.kubernetes.io/version"] != "v1.2.3-rc.1" {
			t.Errorf("%s has the labels %v", name, labels)
		}
	}
}

// Images that do not fit values.yaml are an error, not a chart with other images.
func TestReleaseRefusesImages(t *testing.T) {
	for _, refs := range []string{
		"",
		"r.example.com/controller@" + digest,
		"r.example.com/controller:v1 r.example.com/webhook:v1",
		"r.example.com/controller@" + digest + " s.example.com/webhook@" + digest,
		"r.example.com/controller@" + digest + " r.example.com/controller@" + digest + " r.example.com/webhook@" + digest,
	} {
		images := filepath.Join(t.TempDir(), "images.txt")
		if err := write(images, []byte(refs)); err != nil {
			t.Fatal(err)
		}
		if err := run(root, t.TempDir(), "v1.2.3", images); err == nil {
			t.Errorf("made a chart with the images %q", refs)
		}
	}
	if err := run(root, "", "v1.2.3", ""); err == nil {
		t.Error("put a version into the repository")
	}
}

// A manifest that no longer has what an edit replaces is an error.
func TestEditsAreUsed(t *testing.T) {
	for _, manifest := range []string{
		"# licence\n\nmetadata:\n  name: pullsecrets-system\n",                                      // No label of the version.
		"# licence\n\nmetadata:\n  name: other\n  labels:\n    app.kubernetes.io/version: devel\n",  // Another object.
		"metadata:\n  name: pullsecrets-system\n  labels:\n    app.kubernetes.io/version: devel\n",  // No licence header.
		"# licence\n\nmetadata:\n  a: `{{ b }}`\n  labels:\n    app.kubernetes.io/version: devel\n", // Cannot be quoted.
	} {
		if text, err := template("config/100-namespace.yaml", manifest, make([]int, len(edits))); err == nil {
			t.Errorf("made a template of\n%s\n%s", manifest, text)
		}
	}
}
