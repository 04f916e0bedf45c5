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

const repository = "../.."

// checkedPage returns a page of the documentation, and fails the test for each test or file that the page names
// and that does not exist.
func checkedPage(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(repository, "docs", file))
	if err != nil {
		t.Fatal(err)
	}
	known := tests(t, repository)
	for _, match := range testName.FindAllStringSubmatch(string(content), -1) {
		if !known[match[1]] {
			t.Errorf("%s: test %s does not exist: name the test that shows it now, or say that none does", file, match[1])
		}
	}
	for _, match := range namedPath.FindAllStringSubmatch(string(content), -1) {
		if _, err := os.Stat(filepath.Join(repository, match[1])); err != nil {
			t.Errorf("%s: file %s: %v", file, match[1], err)
		}
	}
	return string(content)
}

// Each claim names a test or a command that exists.
func TestClaimsNameTests(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(repository, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	content := checkedPage(t, "claims.md")
	for _, match := range regexp.MustCompile("(?:`|    )make ([a-z0-9-]+)").FindAllStringSubmatch(content, -1) {
		if !strings.Contains(string(makefile), "\n"+match[1]+":") {
			t.Errorf("the Makefile has no target %s", match[1])
		}
	}
	claims := 0
	for line := range strings.Lines(content) {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| claim |") {
			continue
		}
		claims++
		if !testName.MatchString(line) && !strings.Contains(line, "`make ") {
			t.Errorf("a claim names neither a test nor a command: %s", line)
		}
	}
	if claims < 20 {
		t.Errorf("found %d claims: the tables were not recognized", claims)
	}
}

// Each test and each file that the threat model names exists, and each threat names a test
// or says that none shows it.
func TestThreatModelNamesTests(t *testing.T) {
	content := checkedPage(t, "threat-model.md")
	threats := 0
	inside := false
	for line := range strings.Lines(content) {
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
