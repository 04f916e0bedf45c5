// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command matrix runs a core of the end-to-end suite on local clusters with each pair of
// versions of versions.go, one after the other, and writes the results to the table in the
// README: "make e2e-matrix".
//
// It prints what the suite prints, writes the table after each pair, and exits with 1 if
// one failed. It does not start with changes that are not committed, because the table
// names the commit.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	readme = "README.md"
	// logsDir is the directory of the output of each pair.
	logsDir      = ".cluster/matrix"
	suiteProgram = ".cluster/matrix/suite"
)

func main() {
	only := flag.String("only", "", "run only these `pairs`, like 1.34.11/1.23.0,1.36.3/1.16.0")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *only)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string) error {
	if _, err := os.Stat("test/matrix"); err != nil {
		return errors.New("run it from the root of the repository, as \"make e2e-matrix\" does")
	}
	selected, err := choose(only)
	if err != nil {
		return err
	}
	commit, err := committed(ctx)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(logsDir, 0o755); err != nil {
		return err
	}
	// Not by "go run", which passes no signals on.
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", suiteProgram, "./test/suite").CombinedOutput(); err != nil {
		return fmt.Errorf("build the suite: %w\n%s", err, out)
	}
	var failed []string
	for i, p := range selected {
		fmt.Printf("%d of %d: Kubernetes %s, Knative Serving %s\n", i+1, len(selected), p.kubernetes, p.knative)
		failure := suite(ctx, p)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if failure != nil {
			failed = append(failed, p.String())
		}
		result := row{pair: p, passed: failure == nil, date: time.Now().UTC().Format(time.DateOnly), commit: commit}
		if err := record(result); err != nil {
			return err
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("failed: %s; the output is in %s", strings.Join(failed, ", "), logsDir)
	}
	return nil
}

// choose returns the pairs with these names, separated by commas, or all.
func choose(only string) ([]pair, error) {
	if only == "" {
		return pairs(), nil
	}
	var selected []pair
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(pairs(), func(p pair) bool { return p.String() == name })
		if i < 0 {
			return nil, fmt.Errorf("%q is none of the pairs %v", name, pairs())
		}
		selected = append(selected, pairs()[i])
	}
	return selected, nil
}

// committed returns the short name of the commit that the working tree has, apart from the
// table.
func committed(ctx context.Context) (string, error) {
	changes, err := git(ctx, "status", "--porcelain", "--", ".", ":!"+readme)
	if err != nil {
		return "", err
	}
	if changes != "" {
		return "", fmt.Errorf("commit these changes first, because the table names the commit:\n%s", changes)
	}
	return git(ctx, "rev-parse", "--short=10", "HEAD")
}

func git(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// suite runs the core on local clusters with a pair of versions.
func suite(ctx context.Context, p pair) error {
	log, err := os.Create(filepath.Join(logsDir, strings.ReplaceAll(p.String(), "/", "-")+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	var names []string
	for _, of := range slices.Sorted(maps.Keys(core)) {
		names = append(names, core[of]...)
	}
	cmd := exec.CommandContext(ctx, suiteProgram, "-run", "^("+strings.Join(names, "|")+")$")
	cmd.Env = append(os.Environ(), "KUBECONFIG=", "KUBERNETES="+p.kubernetes, "KNATIVE="+p.knative, fmt.Sprintf("PAIRS=%d", corePairs))
	cmd.Stdout = io.MultiWriter(os.Stdout, log)
	cmd.Stderr = io.MultiWriter(os.Stderr, log)
	// The clusters end with the suite, which needs time for it.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	return cmd.Run()
}
