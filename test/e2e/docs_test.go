// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/pages"
)

// docs is the directory of the documentation, relative to this package.
const docs = "../../docs"

// section returns the text below a heading of a page.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	text, err := pages.Section(docs, page, heading)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// headings returns the headings of a page.
func headings(t *testing.T, page string) []string {
	t.Helper()
	found, err := pages.Headings(docs, page)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Each command of the documentation that is in a fence of sh is run by a test.
func TestCommandsOfTheDocumentation(t *testing.T) {
	t.Parallel()
	runBy := map[string]func(*testing.T){
		"../README.md: First success":                        TestFirstSuccessOfTheReadme,
		"get-started.md: One credential for many namespaces": TestGetStartedAsDocumented,
		"credentials.md: Rotating":                           TestRotatingAndRevokingAsDocumented,
		"credentials.md: Revoking":                           TestRotatingAndRevokingAsDocumented,
		"registries.md: Docker Hub":                          TestRegistryRecipes,
		"registries.md: Google Artifact Registry":            TestRegistryRecipes,
		"registries.md: Several registries":                  TestRegistryRecipes,
		"cli.md: A first finding":                            TestCommandLineAsDocumented,
		"cli.md: Does a credential work":                     TestVerifyAsDocumented,
		"migration.md: Before you start":                     TestMigrationListsSecretsThatCannotBeAdopted,
		"migration.md: The four steps":                       TestMigrationFromKnativesPage,
		"migration.md: Going back":                           TestMigrationBackKeepsSecrets,
		"migration.md: Afterwards":                           TestMigrationFromKnativesPage,
		"migration.md: From Secrets made by hand":            TestMigrationFromKnativesPage,
		"migration.md: From registry-creds":                  TestMigrationFromRegistryCreds,
		"migration.md: From imagepullsecret-patcher":         TestMigrationFromImagePullSecretPatcher,
		"migration.md: From reflector":                       TestMigrationFromReflector,
		"migration.md: From Kyverno":                         TestMigrationFromKyverno,
		"operations.md: Failed Revisions":                    TestRetryOfARejectedRevision,
		"profiles.md: From full to inject-only":              TestInjectOnlyNeedsNoSecrets,
		// TestLifecycle, in the package lifecycle.
		"operations.md: Removing it": nil,
	}
	files, err := filepath.Glob(filepath.Join(docs, "*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d pages, %v", len(files), err)
	}
	for _, file := range append(files, filepath.Join(docs, "../README.md")) {
		page, err := filepath.Rel(docs, file)
		if err != nil {
			t.Fatal(err)
		}
		for _, heading := range headings(t, page) {
			text, err := pages.Section(docs, page, heading)
			if err != nil || len(pages.Blocks(text, "sh")) == 0 {
				continue // Most headings have no commands, and some have no text of their own.
			}
			section := page + ": " + heading
			if _, found := runBy[section]; !found {
				t.Errorf("No test runs the commands of %s", section)
			}
			delete(runBy, section)
		}
	}
	for section := range runBy {
		t.Errorf("%s has no commands, and a test is to run them", section)
	}
}

// Each manifest of the documentation with a kind of this project or of Knative is accepted as
// it stands, and each part of a ClusterPullSecret within one.
func TestManifestsOfTheDocumentation(t *testing.T) {
	t.Parallel()
	n := newTenant(t)
	files, err := filepath.Glob(filepath.Join(docs, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	accepted := map[string]int{}
	for _, file := range files {
		page := filepath.Base(file)
		for _, heading := range headings(t, page) {
			text, err := pages.Section(docs, page, heading)
			if err != nil {
				continue // The heading has no text of its own.
			}
			for _, block := range pages.Blocks(text, "yaml") {
				for text := range strings.SplitSeq(block, "\n---\n") {
					object := &unstructured.Unstructured{}
					if err := yaml.Unmarshal([]byte(text), &object.Object); err != nil {
						t.Fatalf("%s, %s: %v\n%s", page, heading, err, block)
					}
					spec, hasSpec := object.Object["spec"].(map[string]any)
					if len(object.Object) == 1 && hasSpec {
						object = clusterPullSecretWith(spec)
					}
					if group := object.GroupVersionKind().Group; !hasSpec || group != pullsecrets.GroupName && group != "serving.knative.dev" {
						continue // Of another product, or a part that shows metadata.
					}
					if object.GetKind() == "Service" {
						object.SetNamespace(n.ns)
					}
					client, err := resource(n.Env, object)
					if err == nil {
						_, err = client.Create(t.Context(), object, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
					}
					if err != nil && !apierrors.IsAlreadyExists(err) {
						t.Errorf("%s, %s: %v\n%s", page, heading, err, block)
					}
					accepted[object.GetKind()]++
				}
			}
		}
	}
	for _, kind := range []string{"ClusterPullSecret", "Service"} {
		if accepted[kind] == 0 {
			t.Errorf("no page has a manifest of kind %s", kind)
		}
	}
}

// clusterPullSecretWith returns a ClusterPullSecret with this part of a spec.
func clusterPullSecretWith(spec map[string]any) *unstructured.Unstructured {
	for key, value := range map[string]any{
		"secretRef":         map[string]any{"namespace": pullsecrets.SourcesNamespace, "name": "documented"},
		"namespaceSelector": map[string]any{},
	} {
		if _, given := spec[key]; !given {
			spec[key] = value
		}
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": pullsecrets.GroupName + "/v1alpha1", "kind": "ClusterPullSecret",
		"metadata": map[string]any{"name": "documented-part"}, "spec": spec,
	}}
}

// reader is a person who follows a page of the documentation, in a namespace and with names
// of the test.
type reader struct {
	*person
	// assignments are the shell variables of the page.
	assignments string
	// names replaces the names of the page by those of the test.
	names *strings.Replacer
	// folder is the working directory of the commands.
	folder string
}

// reader returns a person who follows the documentation; oldnew is as for
// [strings.NewReplacer]. If one name is a prefix of another, the longer one comes first.
func (n *tenant) reader(oldnew ...string) *reader {
	n.t.Helper()
	return &reader{person: n.person("alice"), names: strings.NewReplacer(oldnew...), folder: n.t.TempDir()}
}

// assign sets a variable of the page.
func (r *reader) assign(name, value string) {
	r.assignments += fmt.Sprintf("%s='%s'\n", name, value)
}

var assignment = regexp.MustCompile(`(?m)^([A-Z]+)=(.*)$`)

// assignAs takes the assignments of a block, except for those in instead.
func (r *reader) assignAs(block string, instead map[string]string) {
	r.t.Helper()
	for _, found := range assignment.FindAllStringSubmatch(block, -1) {
		value, given := instead[found[1]]
		if !given {
			value = strings.Trim(found[2], "'")
		}
		r.assign(found[1], value)
	}
}

// follow runs a block of commands as if pasted into a shell.
func (r *reader) follow(commands string) string {
	r.t.Helper()
	script := r.assignments + r.names.Replace(commands)
	cmd := exec.CommandContext(r.t.Context(), "sh", "-e", "-u", "-c", script)
	cmd.Dir = r.folder
	// PATH has only kubectl of this environment, and a separate home directory keeps out
	// the user's configuration.
	cmd.Env = []string{
		"KUBECONFIG=" + r.kubeconfig, "HOME=" + filepath.Dir(r.kubeconfig),
		"PATH=" + filepath.Dir(env.Tool(r.t, "kubectl")) + string(filepath.ListSeparator) + os.Getenv("PATH"),
	}
	output, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("the documented commands\n%s\nfailed: %v\n%s", script, err, output)
	}
	r.t.Logf("%s\n%s", script, output)
	return string(output)
}
