// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
)

// What Helm would install on this cluster are the objects of config/, with the policies for
// an outage exactly if the API server has them, and the API server accepts them.
func TestChartEqualsConfig(t *testing.T) {
	e := env.Get(t)
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	// A dry run asks the API server for its kinds. It stores nothing.
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), env.Tool(t, "helm"), "install", "pullsecrets", filepath.Join(root, "charts", "pullsecrets"),
		"--namespace", pullsecrets.SystemNamespace, "--dry-run=server", "--take-ownership", "--output", "json")
	cmd.Env, cmd.Stderr = append(os.Environ(), "KUBECONFIG="+e.Kubeconfig, "HOME="+t.TempDir()), &stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("helm install: %v\n%s", err, stderr.String())
	}
	var release struct{ Manifest string }
	if err := json.Unmarshal(output, &release); err != nil {
		t.Fatal(err)
	}
	want := manifestsIn(t, filepath.Join(root, "config"))
	if served, err := env.ServesMutatingPolicies(e.Kube.Discovery()); err != nil {
		t.Fatal(err)
	} else if served {
		want = append(want, manifestsIn(t, filepath.Join(root, "config", "outage"))...)
	}
	got := parse(t, "charts/pullsecrets", release.Manifest)
	for _, object := range got {
		for _, keeps := range []string{"helm.sh/resource-policy", "argocd.argoproj.io/sync-options"} {
			unstructured.RemoveNestedField(object.Object, "metadata", "annotations", keeps)
		}
		if len(object.GetAnnotations()) == 0 {
			unstructured.RemoveNestedField(object.Object, "metadata", "annotations")
		}
	}
	objects := byKey(want)
	delete(objects, "Namespace /"+pullsecrets.SystemNamespace)
	if diff := cmp.Diff(objects, byKey(got)); diff != "" {
		t.Errorf("chart differs from config/ (-config, +chart):\n%s", diff)
	}
	file := filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(release.Manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	kubectlOf(t, e, "apply", "--dry-run=server", "--server-side", "--force-conflicts", "-f", file)
}
