// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/yaml"
)

const (
	root      = "../../.."
	namespace = "pullsecrets-system"
	// mutatingPolicies is a kind that API servers have from Kubernetes 1.36 on.
	mutatingPolicies = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"
)

// objects has parsed manifests by kind and name.
type objects map[string]map[string]any

// render renders a chart as Helm does, for a cluster with these APIs.
func render(folder, namespace, values string, apis ...string) (objects, error) {
	chart, err := loader.LoadDir(folder)
	if err != nil {
		return nil, err
	}
	given, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		return nil, err
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.APIVersions = append(capabilities.APIVersions, apis...)
	all, err := chartutil.ToRenderValues(chart, given, chartutil.ReleaseOptions{
		Name: "pullsecrets", Namespace: namespace, Revision: 1, IsInstall: true,
	}, capabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		return nil, err
	}
	found := objects{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, ".txt") {
			continue
		}
		if err := found.add(files[name]); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return found, nil
}

func mustRender(t *testing.T, values string, apis ...string) objects {
	t.Helper()
	found, err := render(filepath.Join(root, chartFolder), namespace, values, apis...)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// add parses a file of manifests, and fails at a repeated key or object.
func (o objects) add(text string) error {
	for document := range strings.SplitSeq("\n"+text, "\n---\n") {
		var object map[string]any
		if err := yaml.UnmarshalStrict([]byte(document+"\n"), &object); err != nil {
			return fmt.Errorf("%w in\n%s", err, document)
		}
		if len(object) == 0 {
			continue
		}
		metadata, _ := object["metadata"].(map[string]any)
		key := fmt.Sprintf("%v %v", object["kind"], metadata["name"])
		if space := metadata["namespace"]; space != nil && space != namespace {
			key += fmt.Sprintf(" in %v", space)
		}
		if o[key] != nil {
			return fmt.Errorf("found %s twice", key)
		}
		o[key] = object
	}
	return nil
}

// config returns the objects of directories of manifests.
func config(t *testing.T, folders ...string) objects {
	t.Helper()
	found := objects{}
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(root, folder, "*.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("found no manifests in %s (%v)", folder, err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := found.add(string(content)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return found
}

// dropKept removes the annotations of the objects that stay, which config/ lacks.
func dropKept(t *testing.T, found objects, names ...string) {
	t.Helper()
	for _, name := range names {
		metadata, _ := found[name]["metadata"].(map[string]any)
		annotations, _ := metadata["annotations"].(map[string]any)
		for key, value := range map[string]string{"helm.sh/resource-policy": "keep", "argocd.argoproj.io/sync-options": "Prune=false"} {
			if annotations[key] != value {
				t.Errorf("%s has %s: %v, want %s, so that it stays", name, key, annotations[key], value)
			}
			delete(annotations, key)
		}
		if len(annotations) == 0 {
			delete(metadata, "annotations")
		}
	}
}

const (
	crd     = "CustomResourceDefinition clusterpullsecrets.pullsecrets.dev"
	system  = "Namespace pullsecrets-system"
	sources = "Namespace pullsecrets-sources"
)

// With default values, Helm installs what "ko apply -f config/" does, but for the namespace
// of the release, and for the annotations of what stays.
func TestDefaultsEqualConfig(t *testing.T) {
	want, got := config(t, "config"), mustRender(t, "")
	delete(want, system)
	dropKept(t, got, crd, sources)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("chart differs from config/ (-config, +chart):", diff)
	}
}

// With everything enabled, the chart has all manifests.
func TestEverythingEqualsConfig(t *testing.T) {
	want := config(t, "config", "config/monitoring", "config/outage")
	got := mustRender(t, "{namespaces: {system: true}, monitoring: {enabled: true}}", mutatingPolicies)
	dropKept(t, got, crd, system, sources)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("chart differs from config/ (-config, +chart):", diff)
	}
}

// The templates in the repository are those that the generator writes.
func TestTemplatesAreCurrent(t *testing.T) {
	out := t.TempDir()
	if err := run(root, out, "", ""); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(contents(t, out), contents(t, filepath.Join(root, chartFolder))); diff != "" {
		t.Error("run hack/update-codegen.sh (-generated, +charts):", diff)
	}
}

// contents returns the files of a directory by their names.
func contents(t *testing.T, folder string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(folder, func(file string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, file)
		found[name] = string(bytes.TrimSpace(content))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Other namespaces are refused before anything is installed.
func TestOtherNamespacesAreRefused(t *testing.T) {
	_, err := render(filepath.Join(root, chartFolder), "default", "")
	if err == nil || !strings.Contains(err.Error(), "the namespace of this release is default, and must be pullsecrets-system") {
		t.Errorf("rendering for namespace default: %v", err)
	}
}

// Values that contradict each other are refused before anything is installed.
func TestContradictionsAreRefused(t *testing.T) {
	tests := map[string]string{
		"webhook: {autoscaling: {minReplicas: 6}}":                                         "webhook.autoscaling.minReplicas is 6, and must not be more than maxReplicas, which is 5",
		"{monitoring: {enabled: true}, config: {observability: {metrics-protocol: none}}}": "config.observability.metrics-protocol is none, and must be prometheus",
		"{monitoring: {enabled: true}, config: {observability: null}}":                     "config.observability.metrics-protocol is none, and must be prometheus",
	}
	for _, program := range []string{"controller", "webhook"} {
		for _, name := range variables(t, program) {
			tests[fmt.Sprintf("%s: {extraEnv: [{name: %s, value: x}]}", program, name)] = program + ".extraEnv has " + name + ", which the chart sets"
		}
	}
	for values, want := range tests {
		_, err := render(filepath.Join(root, chartFolder), namespace, values)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", values, err, want)
		}
	}
}

// variables returns the names of the environment variables of a Deployment in config/.
func variables(t *testing.T, program string) (names []string) {
	t.Helper()
	text, err := yaml.Marshal(config(t, "config")["Deployment "+program])
	if err != nil {
		t.Fatal(err)
	}
	var deployment struct {
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct {
						Env []struct{ Name string }
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal(text, &deployment); err != nil {
		t.Fatal(err)
	}
	for _, variable := range deployment.Spec.Template.Spec.Containers[0].Env {
		names = append(names, variable.Name)
	}
	if len(names) == 0 {
		t.Fatalf("Deployment %s has no environment variables", program)
	}
	return names
}
