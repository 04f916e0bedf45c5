// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package workflows

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// "make fuzz" runs every fuzz test of the tree.
func TestFuzzTestsAreFound(t *testing.T) {
	var want []string
	files := token.NewFileSet()
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && file != root {
			return fs.SkipDir
		}
		if !strings.HasSuffix(file, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(files, file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		for _, declared := range parsed.Decls {
			if function, ok := declared.(*ast.FuncDecl); ok && function.Recv == nil && strings.HasPrefix(function.Name.Name, "Fuzz") {
				want = append(want, path.Join("pullsecrets.dev", filepath.ToSlash(folder))+" "+function.Name.Name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "bash", filepath.Join(root, "test/fuzz.sh"), "list").Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fuzz tests (-in the tree, +of test/fuzz.sh): %s", diff)
	}
	if !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, "pullsecrets.dev/pkg/webhook ") }) {
		t.Error("the webhook has no fuzz test")
	}
}

// A fuzz test that fails does not keep the others from running, and fails the command.
func TestFuzzRunsAllAndReportsFailures(t *testing.T) {
	programs := t.TempDir()
	write(t, filepath.Join(programs, "go"), `#!/usr/bin/env bash
case "$1 $2 $*" in
  "list "*) echo "a|$FILES|a_test.go "; echo "b|$FILES|"; echo "c|$FILES|a_test.go a_test.go" ;;
  "test -list "*) printf 'FuzzOne\nFuzzTwo\nok  a\n' ;;
  *) echo "$*"; [[ "$*" != *One* ]] ;;
esac
`, 0o700)
	files := t.TempDir()
	write(t, filepath.Join(files, "a_test.go"), "func FuzzOne(f *testing.F) {}\n", 0o600)
	cmd := exec.CommandContext(t.Context(), "bash", filepath.Join(root, "test/fuzz.sh"))
	cmd.Env = append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"), "FILES="+files, "FUZZTIME=7s")
	out, err := cmd.CombinedOutput()
	var want strings.Builder
	for _, name := range []string{"One a", "Two a", "One c", "Two c"} {
		target, pkg, _ := strings.Cut(name, " ")
		want.WriteString("test -run ^$ -fuzz ^Fuzz" + target + "$ -fuzztime 7s " + pkg + "\n")
	}
	want.WriteString("fuzz: a FuzzOne failed; its input is in testdata/fuzz there\nfuzz: c FuzzOne failed; its input is in testdata/fuzz there\n")
	if diff := cmp.Diff(want.String(), string(out)); err == nil || diff != "" {
		t.Errorf("test/fuzz.sh: %v, and (-want, +got): %s", err, diff)
	}
}

// The corpus of one scheduled run is where the next one starts, also after a failure.
func TestFuzzWorkflowKeepsTheCorpus(t *testing.T) {
	fuzz := read(t)["fuzz.yaml"]
	if fuzz.On["schedule"] == nil {
		t.Error("there is no schedule")
	}
	var order []string
	for _, step := range fuzz.Jobs["fuzz"].Steps {
		name, _, _ := strings.Cut(step.Uses, "@")
		switch {
		case step.Run == "make fuzz":
			order = append(order, step.Run)
		case strings.HasPrefix(name, "actions/cache/"):
			order = append(order, name)
			if step.With["path"] != "${{ steps.go.outputs.corpus }}" {
				t.Errorf("%s has the path %v", name, step.With["path"])
			}
			if name == "actions/cache/save" && step.If != "always()" {
				t.Errorf("the corpus is kept if %s", step.If)
			}
		case name == "actions/upload-artifact":
			order = append(order, name)
		}
	}
	want := []string{"actions/cache/restore", "make fuzz", "actions/cache/save", "actions/upload-artifact"}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("steps (-want, +got): %s", diff)
	}
}
