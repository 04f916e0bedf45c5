// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the root of the repository, relative to this package.
const root = "../.."

func readFile(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// The README promises the releases from the oldest to the newest that have passed, and
// those that have not are fixed or not listed.
func TestPromisedVersionsHavePassed(t *testing.T) {
	_, rows, _, err := cut(readFile(t, readme))
	if err != nil {
		t.Fatal(err)
	}
	kubernetes, knative := map[string]bool{}, map[string]bool{}
	for _, r := range rows {
		if !r.passed {
			t.Errorf("Kubernetes %s with Knative Serving %s has failed: fix it, or remove the release from versions.go", r.kubernetes, r.knative)
		}
		if !slices.Contains(pairs(), r.pair) {
			t.Errorf("the table has %s, which versions.go does not list", r.pair)
		}
		kubernetes[r.kubernetes], knative[r.knative] = true, true
	}
	promised := fmt.Sprintf("Knative Serving %s, Kubernetes %s.", span(knativeReleases, knative), span(kubernetesReleases, kubernetes))
	for file, texts := range map[string][]string{
		readme: {promised},
		"RELEASING.md": {
			"| Kubernetes | " + span(kubernetesReleases, kubernetes) + ",",
			"| Knative Serving | " + span(knativeReleases, knative) + ",",
		},
	} {
		for _, text := range texts {
			if !strings.Contains(readFile(t, file), text) {
				t.Errorf("%s lacks %q, which is what the table of the README shows", file, text)
			}
		}
	}
}

// span returns the minors of the oldest and the newest of these releases.
func span(releases []string, these map[string]bool) string {
	var minors []string
	for _, release := range releases {
		if these[release] {
			minors = append(minors, release[:strings.LastIndex(release, ".")])
		}
	}
	switch len(minors) {
	case 0:
		return "none"
	case 1:
		return minors[0]
	}
	return minors[0] + " to " + minors[len(minors)-1]
}

func TestPinnedPairIsThatOfLocalClusters(t *testing.T) {
	versionIn := func(file, module string) string {
		found := regexp.MustCompile(`(?m)^\s+` + regexp.QuoteMeta(module) + ` v(\S+)`).FindStringSubmatch(readFile(t, file))
		if found == nil {
			t.Fatalf("%s does not require %s", file, module)
		}
		return found[1]
	}
	if got := versionIn("test/controlplane/go.mod", "k8s.io/kubernetes"); got != pinned.kubernetes {
		t.Errorf("test/controlplane pins Kubernetes %s, and versions.go has %s", got, pinned.kubernetes)
	}
	// Knative's release 1.n has the module version v0.(27+n).
	var n, patch int
	if _, err := fmt.Sscanf(pinned.knative, "1.%d.%d", &n, &patch); err != nil {
		t.Fatal(err)
	}
	if got, want := versionIn("test/knative/go.mod", "knative.dev/serving"), fmt.Sprintf("0.%d.%d", n+27, patch); got != want {
		t.Errorf("test/knative pins %s, and versions.go has %s, which is %s", got, pinned.knative, want)
	}
}

func TestPairsCoverEveryRelease(t *testing.T) {
	kubernetes, knative := map[string]bool{}, map[string]bool{}
	seen := map[pair]bool{}
	for _, p := range pairs() {
		if seen[p] {
			t.Errorf("%s is run twice", p)
		}
		seen[p], kubernetes[p.kubernetes], knative[p.knative] = true, true, true
	}
	if len(kubernetes) != len(kubernetesReleases) || len(knative) != len(knativeReleases) {
		t.Errorf("pairs() = %v, want every release of %v and %v", pairs(), kubernetesReleases, knativeReleases)
	}
}

// A renamed test must not leave the core unnoticed.
func TestCoreExists(t *testing.T) {
	declared := map[string]bool{}
	pattern := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	err := filepath.WalkDir(filepath.Join(root, "test/e2e"), func(file string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(file, "_test.go") {
			return err
		}
		content, err := os.ReadFile(file)
		for _, m := range pattern.FindAllStringSubmatch(string(content), -1) {
			declared[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for of, tests := range core {
		for _, name := range tests {
			if !declared[name] {
				t.Errorf("%s: test/e2e has no %s", of, name)
			}
		}
	}
}

func TestTableKeepsTheOtherRows(t *testing.T) {
	old := row{pair: pinned, passed: true, date: "2026-01-02", commit: "0123456789"}
	dropped := row{pair: pair{"1.20.0", "1.0.0"}, passed: true, date: "2020-01-02", commit: "0123456789"}
	page := "# Title\n\n" + begin + header + dropped.String() + old.String() + end + "\n\nmore\n"
	failed := row{pair: pair{pinned.kubernetes, knativeReleases[0]}, date: "2026-02-03", commit: "abcdef0123"}
	want := "# Title\n\n" + begin + header + old.String() + failed.String() + end + "\n\nmore\n"
	got, err := with(page, failed)
	if err != nil || got != want {
		t.Errorf("with() = %s, %v; want %s", got, err, want)
	}
	again := failed
	again.passed = true
	want = strings.Replace(want, failed.String(), again.String(), 1)
	if got, err = with(got, again); err != nil || got != want {
		t.Errorf("with() of the next run = %s, %v; want %s", got, err, want)
	}
	if _, err := with("# Title\n", failed); err == nil {
		t.Error("with() of a page without a table succeeded")
	}
}
