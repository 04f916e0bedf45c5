// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package pages

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const page = "# Title\n\nIntro.\n\n## One\n\n1. First:\n\n   ```sh\n   # no heading\n     a\n   ```\n\n```yaml\nb: c\n```\n\n```sh\nd\n```\n\n### Two\n\nmore\n"

func TestSection(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "page.md"), []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := Section(folder, "page.md", "One")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"# no heading\n  a\n", "d\n"}, Blocks(text, "sh")); diff != "" {
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
