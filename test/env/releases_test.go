// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package env

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestVersionOfARelease(t *testing.T) {
	for _, test := range []struct {
		upstream      int
		release, want string
	}{
		{0, "1.34.11", "v1.34.11"},
		{1, "1.16.0", "v0.43.0"},
		{1, "1.23.1", "v0.50.1"},
		{0, "1.34", ""},
		{0, "v1.34.11", ""},
		{1, "1.23.0-rc.1", ""},
		{1, "2.0.0", ""},
	} {
		got, err := upstreams[test.upstream].versionOf(test.release)
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("versionOf(%q) of %s = %q, %v; want %q", test.release, upstreams[test.upstream].name, got, err, test.want)
		}
	}
}

func TestOtherVersionsHaveTheirOwnFiles(t *testing.T) {
	b := builder{repo: "repo", releases: map[string]release{
		controlPlaneModule: {version: "v1.34.11", modfile: "kubernetes-v1.34.11.mod"},
		knativeModule:      {version: "v0.50.0"},
	}}
	for module, want := range map[string]string{controlPlaneModule: "x-v1.34.11", knativeModule: "x", ".": "x"} {
		if got := filepath.Base(b.path(module, "x")); got != want {
			t.Errorf("the program x of %s is built to %s, want %s", module, got, want)
		}
	}
}

// For the pinned Kubernetes, the generated go.mod replaces what the one of
// test/controlplane replaces.
func TestModfileReplacesTheStagingModules(t *testing.T) {
	repo, err := findRepository()
	if err != nil {
		t.Fatal(err)
	}
	b := builder{repo: repo, progress: t.Logf}
	u := upstreams[0]
	content, _, err := b.modfile(t.Context(), u, versionIn(t, u.module+"/go.mod", u.source))
	if err != nil {
		t.Fatal(err)
	}
	replaced := func(text string) (lines []string) {
		for line := range strings.Lines(text) {
			if line = strings.TrimPrefix(strings.TrimSpace(line), "replace "); strings.Contains(line, "=>") {
				lines = append(lines, line)
			}
		}
		slices.Sort(lines)
		return lines
	}
	if got, want := replaced(content), replaced(readFile(t, u.module+"/go.mod")); !slices.Equal(got, want) {
		t.Errorf("the generated go.mod replaces\n%q\nwant\n%q", got, want)
	}
}
