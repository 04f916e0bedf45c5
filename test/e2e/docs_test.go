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
		"migration.md: Before you start":                     TestMigrationListsSecretsThatCannotBeAdopted,
		"migration.md: The four steps":                       TestMigrationFromKnativesPage,
		"migration.md: Going back":                           TestMigrationBackKeepsSecrets,
		"migration.md: Afterwards":                           TestMigrationFromKnativesPage,
		"migration.md: From Secrets made by hand":            TestMigrationFromKnativesPage,
		"migration.md: From registry-creds":                  TestMigrationFromRegistryCreds,
		"migration.md: From imagepullsecret-patcher":         TestMigrationFromImagePullSecretPatcher,
		"migration.md: From reflector":                       TestMigrationFromReflector,
		"migration.md: From Kyverno":                         TestMigrationFromKyverno,
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
