// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package pages

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testName   = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)`")
	testFunc   = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9_]+)\(`)
	namedPath  = regexp.MustCompile("`((?:config|docs|hack|kustomize|pkg|test)/[A-Za-z0-9_./-]+)`")
	cellBorder = regexp.MustCompile(`\s*\|\s*`)
)

// tests returns the names of all tests of the repository.
func tests(t *testing.T, root string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && file != root && strings.HasPrefix(entry.Name(), "."):
			return filepath.SkipDir
		case !strings.HasSuffix(file, "_test.go"):
			return nil
		}
		content, err := os.ReadFile(file)
		for _, match := range testFunc.FindAllStringSubmatch(string(content), -1) {
			found[match[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Each test and each file that the threat model names exists, and each threat names a test
// or says that none shows it.
func TestThreatModelNamesTests(t *testing.T) {
	const root = "../.."
	content, err := os.ReadFile(filepath.Join(root, "docs", "threat-model.md"))
	if err != nil {
		t.Fatal(err)
	}
	known := tests(t, root)
	for _, match := range testName.FindAllStringSubmatch(string(content), -1) {
		if !known[match[1]] {
			t.Errorf("test %s does not exist: name the test that shows it now, or say that none does", match[1])
		}
	}
	for _, match := range namedPath.FindAllStringSubmatch(string(content), -1) {
		if _, err := os.Stat(filepath.Join(root, match[1])); err != nil {
			t.Errorf("file %s: %v", match[1], err)
		}
	}
	threats := 0
	inside := false
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "| threat | what prevents it | test |":
			inside = true
		case !strings.HasPrefix(line, "|"):
			inside = false
		case inside && !strings.HasPrefix(line, "|---"):
			threats++
			cells := cellBorder.Split(strings.Trim(line, "| "), -1)
			if len(cells) != 3 {
				t.Errorf("%d cells, want 3: %s", len(cells), line)
			} else if shown := cells[2]; !testName.MatchString(shown) && !strings.Contains(shown, "no test") && !strings.Contains(shown, "not tested") {
				t.Errorf("a threat names no test, and does not say so: %s", line)
			}
		}
	}
	if threats < 20 {
		t.Errorf("found %d threats: the tables were not recognized", threats)
	}
}
