// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package pages

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	testName   = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)`")
	testFunc   = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9_]+)\(`)
	namedPath  = regexp.MustCompile("`((?:config|docs|hack|kustomize|pkg|test)/[A-Za-z0-9_./-]+)`")
	cellBorder = regexp.MustCompile(`\s*\|\s*`)
)

// tests returns the files that declare the tests of the repository, by their names.
func tests(t *testing.T, root string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
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
			found[match[1]] = append(found[match[1]], file)
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
		if known[match[1]] == nil {
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

// Each claim names a test or a command that exists. Each test is in a package that a command of the
// page runs, or one of the same row.
func TestClaimsNameTests(t *testing.T) {
	content, declared := checkedPage(t, "claims.md"), tests(t, repository)
	var everywhere []run
	for line := range strings.Lines(content) {
		if command, found := strings.CutPrefix(line, "    "); found {
			everywhere = append(everywhere, runsOf(t, command)...)
		}
	}
	claims := 0
	for line := range strings.Lines(content) {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| claim |") {
			continue
		}
		claims++
		commands := quotedMake.FindAllString(line, -1)
		if !testName.MatchString(line) && commands == nil {
			t.Errorf("a claim names neither a test nor a command: %s", line)
		}
		runs := everywhere
		for _, command := range commands {
			runs = append(slices.Clone(runs), runsOf(t, strings.Trim(command, "`"))...)
		}
		for _, match := range testName.FindAllStringSubmatch(line, -1) {
			if !slices.ContainsFunc(declared[match[1]], func(file string) bool {
				return slices.ContainsFunc(runs, func(r run) bool { return r.includes(t, file) })
			}) {
				t.Errorf("claims.md: neither a command of the page nor one of the row runs %s, in %v", match[1], declared[match[1]])
			}
		}
	}
	if claims < 20 {
		t.Errorf("found %d claims: the tables were not recognized", claims)
	}
}

var (
	quotedMake = regexp.MustCompile("`make [a-z0-9-]+")
	goTest     = regexp.MustCompile(`\bgo (?:-C (\S+) )?test\b(.*)`)
	suite      = regexp.MustCompile(`\btest/e2e(?:-kind)?\.sh\b`)
)

// A run is one of the tests of packages, the end-to-end ones or the others.
type run struct {
	// packages is a pattern, relative to the root of the repository.
	packages string
	e2e      bool
}

// runsOf returns what a command runs. One of make runs what the Makefile says.
func runsOf(t *testing.T, command string) (runs []run) {
	t.Helper()
	if target, found := strings.CutPrefix(command, "make "); found {
		makefile, err := os.ReadFile(filepath.Join(repository, "Makefile"))
		if err != nil {
			t.Fatal(err)
		}
		target = strings.Fields(target)[0]
		recipe := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(target) + `:.*\n((?:\t.*\n)+)`).FindSubmatch(makefile)
		if recipe == nil {
			t.Errorf("the Makefile has no target %s", target)
			return nil
		}
		command = string(recipe[1])
	}
	for line := range strings.Lines(command) {
		if suite.MatchString(line) {
			runs = append(runs, run{"test/e2e/...", true})
		}
		match := goTest.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		for argument := range strings.FieldsSeq(match[2]) {
			if strings.HasPrefix(argument, "./") {
				runs = append(runs, run{path.Join(match[1], argument), strings.Contains(match[2], "-tags=e2e")})
			}
		}
	}
	return runs
}

// includes reports whether the run has the tests of a file.
func (r run) includes(t *testing.T, file string) bool {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := filepath.Rel(repository, filepath.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	folder = filepath.ToSlash(folder)
	within, below := strings.CutSuffix(r.packages, "...")
	within = path.Clean(within)
	inside := folder == within || below && (within == "." || strings.HasPrefix(folder, within+"/"))
	// A pattern matches no packages of other modules.
	return inside && module(folder) == module(within) && strings.Contains(string(content), "\n//go:build e2e\n") == r.e2e
}

// module returns the folder of the module that a folder belongs to.
func module(folder string) string {
	for folder != "." {
		if _, err := os.Stat(filepath.Join(repository, folder, "go.mod")); err == nil {
			break
		}
		folder = path.Dir(folder)
	}
	return folder
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
