// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// testPackage is a package of end-to-end tests.
type testPackage struct {
	path   string // import path
	dir    string
	binary string // absolute
}

// testPackages lists the packages whose tests need a cluster: those with tests only under
// the tag e2e.
func testPackages(ctx context.Context) ([]testPackage, error) {
	const format = "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}"
	without, err := output(ctx, "", "go", "list", "-e", "-f", format, pattern)
	if err != nil {
		return nil, err
	}
	with, err := output(ctx, "", "go", "list", "-tags=e2e", "-f", format, pattern)
	if err != nil {
		return nil, err
	}
	var packages []testPackage
	for line := range strings.Lines(with) {
		path, dir, found := strings.Cut(strings.TrimSpace(line), " ")
		if !found || strings.Contains(without, line) {
			continue
		}
		binary, err := filepath.Abs(filepath.Join(testsDir, filepath.Base(dir)+".test"))
		if err != nil {
			return nil, err
		}
		packages = append(packages, testPackage{path: path, dir: dir, binary: binary})
	}
	return packages, nil
}

// testNames returns the tests in the output of -test.list.
func testNames(list string) []string {
	var names []string
	for line := range strings.Lines(list) {
		if name := strings.TrimSpace(line); strings.HasPrefix(name, "Test") {
			names = append(names, name)
		}
	}
	return names
}

// parallelTests returns the tests in a directory that call t.Parallel themselves.
func parallelTests(dir string) (map[string]bool, error) {
	files, err := fs.Glob(os.DirFS(dir), "*_test.go")
	if err != nil {
		return nil, err
	}
	parallel := map[string]bool{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, declaration := range file.Decls {
			if f, is := declaration.(*ast.FuncDecl); is && f.Recv == nil && callsParallel(f) {
				parallel[f.Name.Name] = true
			}
		}
	}
	return parallel, nil
}

// callsParallel reports whether a function has the statement t.Parallel(), with the name
// of its own parameter.
func callsParallel(f *ast.FuncDecl) bool {
	if f.Type.Params.NumFields() != 1 || len(f.Type.Params.List[0].Names) != 1 {
		return false
	}
	t := f.Type.Params.List[0].Names[0].Name
	return slices.ContainsFunc(f.Body.List, func(s ast.Stmt) bool {
		statement, is := s.(*ast.ExprStmt)
		if !is {
			return false
		}
		call, is := statement.X.(*ast.CallExpr)
		if !is {
			return false
		}
		selector, is := call.Fun.(*ast.SelectorExpr)
		if !is || selector.Sel.Name != "Parallel" {
			return false
		}
		receiver, is := selector.X.(*ast.Ident)
		return is && receiver.Name == t
	})
}

// job is what one process of a compiled test runs on one cluster.
type job struct {
	testPackage
	name  string // of the test, or what they are
	tests []string
	// subtests is the part of -run after the first slash.
	subtests string
}

// divide makes a job of each test of a package that is not parallel, and one of all that
// are.
func divide(p testPackage, tests []string, parallel map[string]bool, match string) []*job {
	_, subtests, _ := strings.Cut(match, "/")
	together := &job{testPackage: p, subtests: subtests}
	var jobs []*job
	for _, name := range tests {
		if parallel[name] {
			together.tests = append(together.tests, name)
		} else {
			jobs = append(jobs, &job{testPackage: p, subtests: subtests, name: name, tests: []string{name}})
		}
	}
	if len(together.tests) > 0 {
		// With their number, because a run of fewer tests says nothing about all.
		together.name = fmt.Sprintf("%d parallel tests of %s", len(together.tests), p.path)
		jobs = append(jobs, together)
	}
	return jobs
}

// run runs the job on a cluster and passes its results to the report. A failed test is not
// an error.
func (j *job) run(ctx context.Context, o options, kubeconfig string, r *report) error {
	match := "^(" + strings.Join(j.tests, "|") + ")$"
	if j.subtests != "" {
		match += "/" + j.subtests
	}
	command := []string{
		"go", "tool", "test2json", "-t", "-p", j.path, j.binary,
		"-test.v=test2json", "-test.timeout=" + jobTimeout.String(), fmt.Sprintf("-test.parallel=%d", o.parallel), "-test.run=" + match,
	}
	if o.enter != "" {
		command = append([]string{"nsenter", "--target", o.enter, "--net", "--"}, command...)
	}
	tests := exec.CommandContext(ctx, command[0], command[1:]...)
	tests.Dir = j.dir
	tests.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	// Tests that do not stop end with their cluster.
	tests.Cancel = func() error { return tests.Process.Signal(os.Interrupt) }
	tests.WaitDelay = 10 * time.Second
	tests.Stderr = os.Stderr
	events, err := tests.StdoutPipe()
	if err != nil {
		return err
	}
	started := time.Now()
	if err := tests.Start(); err != nil {
		return err
	}
	r.begin(j)
	readErr := r.read(j, events)
	_, _ = io.Copy(io.Discard, events)
	waitErr := tests.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if readErr != nil {
		return fmt.Errorf("read the results of %s: %w", j.name, readErr)
	}
	r.end(j, time.Since(started), waitErr)
	return nil
}
