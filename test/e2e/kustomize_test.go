// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/pages"
)

// The kustomize base has the same objects as config/. The documented overlay changes
// images and replicas, and the API server accepts the result.
func TestKustomizeBaseEqualsConfig(t *testing.T) {
	e := env.Get(t)
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	render := func(folder string) string {
		return kubectlOf(t, e, "kustomize", "--load-restrictor=LoadRestrictionsRootOnly", folder)
	}
	base := byKey(parse(t, "kustomize/base", render(filepath.Join(root, "kustomize", "base"))))
	config := manifestsIn(t, filepath.Join(root, "config"))
	if diff := cmp.Diff(byKey(config), base); diff != "" {
		t.Errorf("base differs from config/ (-config, +base):\n%s", diff)
	}
	with := t.TempDir()
	kustomization := "resources: [" + relative(t, with, filepath.Join(root, "kustomize", "base")) + "]\ncomponents: [" + relative(t, with, filepath.Join(root, "kustomize", "components", "outage")) + "]\n"
	if err := os.WriteFile(filepath.Join(with, "kustomization.yaml"), []byte(kustomization), 0o600); err != nil {
		t.Fatal(err)
	}
	config = append(config, manifestsIn(t, filepath.Join(root, "config", "outage"))...)
	if diff := cmp.Diff(byKey(config), byKey(parse(t, "kustomize/components/outage", render(with)))); diff != "" {
		t.Errorf("base and component differ from config/ and config/outage (-config, +kustomize):\n%s", diff)
	}

	section, err := pages.Section(filepath.Join(root, "docs"), "operations.md", "With kustomize")
	if err != nil {
		t.Fatal(err)
	}
	overlay := pages.Blocks(section, "yaml")
	if len(overlay) != 1 {
		t.Fatalf("Section %q has %d overlays, want 1", "With kustomize", len(overlay))
	}
	folder := t.TempDir()
	text := strings.ReplaceAll(overlay[0], "../base", relative(t, folder, filepath.Join(root, "kustomize", "base")))
	section, err = pages.Section(filepath.Join(root, "docs"), "credentials.md", "Verifying a credential")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range pages.Blocks(section, "yaml") {
		if strings.HasPrefix(block, "patches:") {
			text += block
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	rendered := render(folder)
	for _, want := range []string{"name: HTTPS_PROXY", "mountPath: /etc/registry-ca", "name: KUBE_API_QPS"} {
		if !strings.Contains(rendered, want) {
			t.Errorf("overlay with the documented patch lacks %q", want)
		}
	}
	images := regexp.MustCompile(`image: (\S+)`).FindAllStringSubmatch(rendered, -1)
	for _, image := range images {
		if !strings.Contains(image[1], "@sha256:") {
			t.Errorf("overlay keeps the image %s", image[1])
		}
	}
	if len(images) == 0 || !strings.Contains(rendered, "replicas: 3") {
		t.Errorf("overlay does not change images and replicas:\n%s", rendered)
	}
	kubectlOf(t, e, "apply", "--dry-run=server", "--server-side", "--force-conflicts", "-k", folder)
}

// The component adds exactly the objects of config/monitoring, in the way that
// docs/monitoring.md says.
func TestKustomizeComponentEqualsMonitoring(t *testing.T) {
	e := env.Get(t)
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	section, err := pages.Section(filepath.Join(root, "docs"), "monitoring.md", "Installing it")
	if err != nil {
		t.Fatal(err)
	}
	overlay := pages.Blocks(section, "yaml")
	if len(overlay) != 1 {
		t.Fatalf("Section %q has %d overlays, want 1", "Installing it", len(overlay))
	}
	folder := t.TempDir()
	text := strings.ReplaceAll(overlay[0], "../components", relative(t, folder, filepath.Join(root, "kustomize", "components")))
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := byKey(parse(t, "kustomize/components", kubectlOf(t, e, "kustomize", folder)))
	want := manifestsIn(t, filepath.Join(root, "config", "monitoring"))
	if diff := cmp.Diff(byKey(want), got); diff != "" {
		t.Errorf("component differs from config/monitoring (-config, +component):\n%s", diff)
	}
}

// manifestsIn returns the objects of the manifests in a directory.
func manifestsIn(t *testing.T, dir string) []*unstructured.Unstructured {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("found no manifests in %s (%v)", dir, err)
	}
	var objects []*unstructured.Unstructured
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, parse(t, file, string(text))...)
	}
	return objects
}

// relative returns a relative path, which kustomize requires.
func relative(t *testing.T, from, to string) string {
	t.Helper()
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		t.Fatal(err)
	}
	way, err := filepath.Rel(from, to)
	if err != nil {
		t.Fatal(err)
	}
	return way
}

func byKey(objects []*unstructured.Unstructured) map[string]any {
	all := map[string]any{}
	for _, o := range objects {
		all[o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName()] = o.Object
	}
	return all
}

// kubectlOf runs kubectl as the suite's own user.
func kubectlOf(t *testing.T, e *env.Env, args ...string) string {
	t.Helper()
	p := &person{tenant: &tenant{Env: e, t: t}, name: "e2e", kubeconfig: e.Kubeconfig}
	return p.run(nil, "kubectl", args...)
}
