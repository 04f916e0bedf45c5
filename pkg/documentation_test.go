// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package pkg

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every reason of an Event, including those of the generated reconcilers, has a row in
// docs/troubleshooting.md, every metric has one in docs/operations.md, and every row has a
// reason or metric.
func TestOperationsAreDocumented(t *testing.T) {
	generated := []string{"InternalError", "UpdateFailed", "FinalizerUpdate", "FinalizerUpdateFailed"}
	reasons := slices.Concat(generated, slices.Collect(maps.Values(constants(t, "events/events.go", "Reason"))))
	compare(t, "troubleshooting.md", "Events", reasons, func(name string) string { return name })
	compare(t, "operations.md", "Metrics", meters(t), func(name string) string {
		// Prometheus appends the unit and the suffix of counters.
		return strings.TrimSuffix(strings.TrimSuffix(name, "_total"), "_seconds")
	})
}

// If another CRD has a resource of the same name, kubectl uses the group that comes first. A
// command with the short name could delete another product's objects.
func TestCommandsNameTheResourceInFull(t *testing.T) {
	short := regexp.MustCompile("kubectl.*[ \"](cps([ /.\"`)]|$)|clusterpullsecrets?([ /\"`)]|$))")
	files := []string{"../README.md", "../SECURITY.md"}
	for _, pattern := range []string{"../docs/*.md", "../docs/examples/*", "../test/demo/*", "events/*.go", "webhook/*.go"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(found), err)
		}
		files = append(files, found...)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if short.MatchString(strings.TrimSpace(line)) {
				t.Errorf("%s: use clusterpullsecrets.pullsecrets.dev in %q", file, line)
			}
		}
	}
}

// compare compares names with the first column of the table in a section of a page.
func compare(t *testing.T, page, section string, names []string, trim func(string) string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("../docs", page))
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(content), "\n## "+section+"\n")
	if !found {
		t.Fatalf("docs/%s has no section %s", page, section)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	var documented []string
	for line := range strings.Lines(text) {
		first, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		for name := range strings.SplitSeq(first, ", ") {
			documented = append(documented, trim(strings.Trim(name, "`")))
		}
	}
	slices.Sort(documented)
	slices.Sort(names)
	if diff := cmp.Diff(names, documented); diff != "" {
		t.Errorf("%s of docs/%s (-code, +page):\n%s", section, page, diff)
	}
}

// constants returns the string constants of a file whose names have a prefix.
func constants(t *testing.T, file, prefix string) map[string]string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	ast.Inspect(parsed, func(node ast.Node) bool {
		if spec, ok := node.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, prefix) {
			for _, value := range spec.Values {
				if text, ok := literal(value); ok {
					found[spec.Names[0].Name] = text
				}
			}
		}
		return true
	})
	return found
}

// meters returns the names of the metrics as Prometheus writes them: the strings in the code
// that look like one.
func meters(t *testing.T) []string {
	t.Helper()
	name := regexp.MustCompile(`^pullsecrets(\.[a-z]+)+$`)
	var found []string
	err := filepath.WalkDir(".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(parsed, func(node ast.Node) bool {
			_, isImport := node.(*ast.ImportSpec)
			if text, ok := literal(node); ok && name.MatchString(text) && text != "pullsecrets.dev" {
				found = append(found, strings.ReplaceAll(text, ".", "_"))
			}
			return !isImport
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// literal returns the value of a node if it is a string literal.
func literal(node ast.Node) (string, bool) {
	basic, ok := node.(*ast.BasicLit)
	if !ok || basic.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(basic.Value)
	return text, err == nil
}
