// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command suite runs the end-to-end tests, "make e2e", and reports their progress.
//
// Without KUBECONFIG it starts several local clusters and runs tests on all of them at the
// same time: a test that is not parallel has a cluster to itself while it runs, and all
// parallel tests of a package run together on one. With KUBECONFIG there is one cluster.
//
// It prints the output of failed tests, the tests that were not run because the cluster
// lacks a capability, how long everything took, and once more why tests failed. It exits with 1 if a test failed or
// no test was run.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"pullsecrets.dev/test/env"
)

const (
	// testsDir is the directory of the compiled tests and of their results, and clusterDir
	// that of the first cluster, both relative to the root of the repository.
	testsDir   = ".cluster/tests"
	clusterDir = ".cluster/e2e"
	// pattern is where the tests are.
	pattern = "./test/e2e/..."
	// jobTimeout is the limit for one job. It is long, because a machine may be busy.
	jobTimeout = 50 * time.Minute
)

// options are the flags of the command.
type options struct {
	run      string
	clusters int
	parallel int
	enter    string
	build    bool
}

func main() {
	var o options
	flag.StringVar(&o.run, "run", "", "run only tests that match this `regexp`, as \"go test -run\" does")
	flag.IntVar(&o.clusters, "clusters", 2, "`number` of local clusters")
	flag.IntVar(&o.parallel, "parallel", 0, "`number` of parallel tests that run together on a cluster; default: that of the processors, twice that on local clusters without Pods")
	flag.StringVar(&o.enter, "enter", "", "run the tests in the network namespace of the process with this `ID`, where the cluster of KUBECONFIG is reached")
	flag.BoolVar(&o.build, "build", false, "only compile the tests and the programs that they need")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "suite:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if _, err := os.Stat("test/e2e"); err != nil {
		return errors.New("run the suite from the root of the repository, as \"make e2e\" does")
	}
	if _, err := regexp.Compile(o.run); err != nil {
		return fmt.Errorf("parse -run: %w", err)
	}
	started := time.Now()
	jobs, err := compile(ctx, o.run)
	if err != nil {
		return err
	}
	if len(jobs) == 0 {
		return fmt.Errorf("no test matches %q", o.run)
	}
	if o.build {
		return env.BuildTools(ctx, env.Options{Dir: clusterDir, Output: os.Stdout})
	}
	if o.parallel == 0 {
		o.parallel = runtime.GOMAXPROCS(0)
		if os.Getenv("KUBECONFIG") == "" {
			o.parallel *= 2 // The tests mostly wait.
		}
	}
	clusters, end, err := start(ctx, min(o.clusters, len(jobs)), o.run == "")
	if err != nil {
		return err
	}
	r := newReport(os.Stdout, jobs, filepath.Join(testsDir, "durations.json"), len(clusters))
	fmt.Printf("%d tests on %d clusters, ready after %s\n", r.total(), len(clusters), time.Since(started).Round(time.Second))
	stop := r.tick(ctx)
	err = runAll(ctx, o, jobs, clusters, r)
	stop()
	err = errors.Join(err, end(), r.save())
	return errors.Join(r.finish(), err)
}

// start starts local clusters, or takes the one of KUBECONFIG, and returns their
// kubeconfigs. With tools, it builds the programs that some tests need before any test
// waits for them.
func start(ctx context.Context, number int, tools bool) (kubeconfigs []string, end func() error, err error) {
	if kubeconfig := os.Getenv("KUBECONFIG"); kubeconfig != "" {
		// The tests run in their own directories.
		paths := filepath.SplitList(kubeconfig)
		for i := range paths {
			if paths[i], err = filepath.Abs(paths[i]); err != nil {
				return nil, nil, err
			}
		}
		return []string{strings.Join(paths, string(filepath.ListSeparator))}, func() error { return nil }, nil
	}
	if err := env.Build(ctx, env.Options{Dir: clusterDir}, tools); err != nil {
		return nil, nil, err
	}
	clusters := make([]*env.Env, number)
	end = func() error {
		var errs []error
		for _, e := range clusters {
			if e != nil {
				errs = append(errs, e.Close(context.WithoutCancel(ctx)))
			}
		}
		return errors.Join(errs...)
	}
	var starting sync.WaitGroup
	errs := make([]error, number)
	for i := range clusters {
		dir := clusterDir
		if i > 0 {
			dir = fmt.Sprintf("%s-%d", clusterDir, i+1)
		}
		starting.Go(func() { clusters[i], errs[i] = env.Start(ctx, env.Options{Dir: dir}) })
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, nil, errors.Join(err, end())
	}
	for _, e := range clusters {
		kubeconfigs = append(kubeconfigs, e.Kubeconfig)
	}
	return kubeconfigs, end, nil
}

// compile compiles the tests and returns the jobs of those that match.
func compile(ctx context.Context, match string) ([]*job, error) {
	packages, err := testPackages(ctx)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(testsDir, 0o755); err != nil {
		return nil, err
	}
	fmt.Println("compiling the tests")
	args := []string{"test", "-c", "-tags=e2e", "-o", testsDir + string(filepath.Separator)}
	for _, p := range packages {
		args = append(args, p.path)
	}
	if _, err := output(ctx, "", "go", args...); err != nil {
		return nil, err
	}
	var jobs []*job
	first, _, _ := strings.Cut(cmp.Or(match, "."), "/")
	for _, p := range packages {
		list, err := output(ctx, p.dir, p.binary, "-test.list", first)
		if err != nil {
			return nil, err
		}
		parallel, err := parallelTests(p.dir)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, divide(p, testNames(list), parallel, match)...)
	}
	return jobs, nil
}

// runAll runs the jobs, on each cluster one at a time.
func runAll(ctx context.Context, o options, jobs []*job, clusters []string, r *report) error {
	queue := make(chan *job, len(jobs))
	for _, j := range r.longestFirst(jobs) {
		queue <- j
	}
	close(queue)
	var workers sync.WaitGroup
	errs := make([]error, len(clusters))
	for i, kubeconfig := range clusters {
		workers.Go(func() {
			for j := range queue {
				if errs[i] = j.run(ctx, o, kubeconfig, r); errs[i] != nil {
					return
				}
			}
		})
	}
	workers.Wait()
	return errors.Join(errs...)
}

// output runs a program and returns what it prints.
func output(ctx context.Context, dir, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", program, strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out), nil
}
