// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command cluster runs a local cluster, see package env:
//
//	cluster up      builds and starts it, and returns when it is ready
//	cluster status  lists its processes
//	cluster down    ends it
//	cluster build   builds programs by name, such as kubernetes
//	cluster serve   is the supervisor that "up" starts
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"text/tabwriter"
	"time"

	"pullsecrets.dev/test/env"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("usage: cluster up | status | down | build | serve [flags]")
	}
	flags := flag.NewFlagSet("cluster "+args[0], flag.ExitOnError)
	dir := flags.String("dir", ".cluster", "where the cluster's `directory` is")
	lifetime := flags.Duration("lifetime", 12*time.Hour, "the cluster ends by itself after this time")
	untilStdinCloses := flags.Bool("until-stdin-closes", false, "serve: end the cluster when the standard input ends")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	options := env.Options{Dir: *dir, Lifetime: *lifetime, Output: os.Stdout}

	switch args[0] {
	case "up":
		if err := env.Up(ctx, options); err != nil {
			return err
		}
		return explain(*dir)
	case "build":
		return env.BuildPrograms(ctx, options, flags.Args()...)
	case "down":
		return env.Down(ctx, options)
	case "status":
		return status(ctx, options)
	case "serve":
		if *untilStdinCloses {
			ctx = untilClosed(ctx, os.Stdin)
		}
		return env.Serve(ctx, options)
	}
	return fmt.Errorf("%q is not a command", args[0])
}

func explain(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	fmt.Printf(`The cluster is up. To look around (with .cluster/bin/kubectl, if you have no kubectl):
  export KUBECONFIG=%s
  kubectl get services.serving.knative.dev --all-namespaces
Logs are in %s.
`, filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "logs"))
	return nil
}

func status(ctx context.Context, options env.Options) error {
	processes, err := env.Status(ctx, options)
	if err != nil {
		return err
	}
	if len(processes) == 0 {
		return fmt.Errorf("no cluster is up in %s", options.Dir)
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "PROCESS\tPID\tAGE\tRESTARTS\tLOG")
	for _, p := range processes {
		pid, age := "-", "-"
		if p.PID != 0 {
			pid, age = fmt.Sprint(p.PID), time.Since(p.Started).Round(time.Second).String()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\n", p.Name, pid, age, p.Restarts, p.Log)
	}
	return table.Flush()
}

// untilClosed returns a context that is cancelled when the input is closed, also by a
// crash of its writer.
func untilClosed(ctx context.Context, input io.Reader) context.Context {
	ctx, end := context.WithCancelCause(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, input)
		end(errors.New("the program that started the cluster has exited"))
	}()
	return ctx
}
