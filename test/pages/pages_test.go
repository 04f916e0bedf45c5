// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package pages

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const page = "# Title\n\nIntro.\n\n## One\n\n1. First:\n\n   ```sh\n   # no heading\n     a\n   ```\n\n```yaml\nb: c\n```\n\n```sh\n# c\nd\n```\n\n### Two\n\nmore\n"

func TestSection(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "page.md"), []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := Section(folder, "page.md", "One")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"# no heading\n  a\n", "# c\nd\n"}, Blocks(text, "sh")); diff != "" {
		t.Error("commands (-want, +got):", diff)
	}
	if diff := cmp.Diff([]string{"b: c\n"}, Blocks(text, "yaml")); diff != "" {
		t.Error("manifests (-want, +got):", diff)
	}
	if _, err := Section(folder, "page.md", "Three"); err == nil {
		t.Error("found a heading that does not exist")
	}
	headings, err := Headings(folder, "page.md")
	if diff := cmp.Diff([]string{"Title", "One", "Two"}, headings); err != nil || diff != "" {
		t.Errorf("headings (%v): %s", err, diff)
	}
}

var (
	// code has patterns that look like links.
	code      = regexp.MustCompile("`[^`]*`")
	link      = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	notInSlug = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// Every link from a page to a file of the repository leads to a file, and to a heading of
// it if it names one.
func TestLinks(t *testing.T) {
	const root = "../.."
	var files []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/decisions/*.md", "prototype/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(found), err)
		}
		files = append(files, found...)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range link.FindAllStringSubmatch(code.ReplaceAllString(string(content), ""), -1) {
			target, anchor, named := strings.Cut(match[1], "#")
			path := filepath.Join(filepath.Dir(file), target)
			if strings.Contains(target, "://") || strings.HasSuffix(target, "../../releases") {
				continue // The latter is beside the repository, where it is hosted.
			}
			if target == "" {
				path = file
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s links to %s, which does not exist", file, match[1])
			} else if named && !slices.Contains(anchors(t, path), anchor) {
				t.Errorf("%s links to %s, and there is no such heading", file, match[1])
			}
		}
	}
}

// anchors are the headings of a page, as links name them.
func anchors(t *testing.T, file string) []string {
	t.Helper()
	headings, err := Headings(filepath.Dir(file), filepath.Base(file))
	if err != nil {
		t.Fatal(err)
	}
	for i, heading := range headings {
		headings[i] = strings.ReplaceAll(notInSlug.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
	}
	return headings
}
