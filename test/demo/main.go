// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command demo shows the main job of the controller and the webhook, on the local
// cluster, which it starts if necessary: a team has Services from a private registry,
// and the platform team gives them their pull secrets.
//
// It prints the commands that it runs, with the real kubectl, and after each step it
// checks that the cluster is in the expected state. If it is not, the demo prints what
// was expected and what was found, and exits with 1. It can be run repeatedly, and
// leaves its objects in the cluster to look at.
//
// With -transcript, it also writes what it prints, but for what is about this machine,
// as a page of the documentation.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/client/clientset/versioned"
	"pullsecrets.dev/test/env"
)

const (
	defaultDir = ".cluster"
	// namespace is the namespace of the demo.
	namespace = "demo-shop"
	// credential and verified are the names of the ClusterPullSecrets of the demo and of
	// their sources.
	credential = "demo-quay"
	verified   = "demo-registry"
	// files is the directory of the demo's manifests and column files, relative to the
	// root of the repository.
	files = "test/demo/"
	// kubectlProgram is the binary that includes kubectl.
	kubectlProgram = ".cluster/bin/kubernetes"
	// pluginProgram is the plugin of kn and kubectl.
	pluginProgram = ".cluster/bin/kn-pullsecrets"
	// timeout is how long the demo waits for an expected state.
	timeout = time.Minute
)

func main() {
	dir := flag.String("dir", defaultDir, "`directory` of the local cluster")
	transcript := flag.String("transcript", "", "page of the documentation to write, a `file`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *dir, *transcript)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\nThe demo has FAILED:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir, transcript string) error {
	if _, err := os.Stat(files + "services.yaml"); err != nil {
		return errors.New("run the demo from the root of the repository, as \"make demo\" does")
	}
	options := env.Options{Dir: dir}
	if err := env.Up(ctx, options); err != nil {
		return err
	}
	if err := env.BuildPrograms(ctx, options, filepath.Base(pluginProgram)); err != nil {
		return err
	}
	e, err := env.Open(options)
	if err != nil {
		return err
	}
	cps, err := versioned.NewForConfig(e.Config)
	if err != nil {
		return err
	}
	var printed bytes.Buffer
	d := &demo{Env: e, cps: cps, out: io.MultiWriter(os.Stdout, &printed)}
	if err := d.cleanUp(ctx); err != nil {
		return err
	}
	for i, step := range story {
		fmt.Fprintf(d.out, "\n=== %d of %d: %s\n", i+1, len(story), step.title)
		if step.text != "" {
			fmt.Fprintln(d.out, step.text)
		}
		for _, act := range step.acts {
			if err := act(ctx, d); err != nil {
				return fmt.Errorf("step %d (%s): %w", i+1, step.title, err)
			}
		}
	}
	if transcript != "" {
		if err := os.WriteFile(transcript, fmt.Appendf(nil, page, bytes.TrimSpace(printed.Bytes())), 0o644); err != nil {
			return err
		}
	}
	return d.printNextSteps(dir)
}

// page is the documentation page of a transcript.
const page = "# A run of `make demo`\n\n![A recording of this run](images/demo.svg)\n\nWritten by `make demo-recording`. As text:\n\n```text\n%s\n```\n"

// demo is one run of the demo.
type demo struct {
	*env.Env
	cps versioned.Interface
	// out is where the demo prints.
	out io.Writer
}

// cleanUp removes the objects of an earlier run.
func (d *demo) cleanUp(ctx context.Context) error {
	for _, objects := range [][]string{
		{"clusterpullsecret", credential, verified},
		{"secret", credential, verified, "--namespace=" + pullsecrets.SourcesNamespace},
		{"namespace", namespace},
	} {
		if _, err := d.kubectl(ctx, append([]string{"delete", "--ignore-not-found", "--timeout=2m"}, objects...)...); err != nil {
			return err
		}
	}
	return nil
}

// kubectl runs the kubectl that is built for the local cluster.
func (d *demo) kubectl(ctx context.Context, args ...string) (string, error) {
	return d.run(ctx, "", kubectlProgram, append([]string{"kubectl"}, args...)...)
}

// run runs a program and returns its output.
func (d *demo) run(ctx context.Context, input, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+d.Kubeconfig)
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), quoted(args), err, stderr.String())
	}
	return stdout.String(), nil
}

var plain = regexp.MustCompile(`^[\w./:=,@%+-]+$`)

// quoted returns the command as typed into a shell.
func quoted(args []string) string {
	words := make([]string, len(args))
	for i, word := range args {
		if words[i] = word; !plain.MatchString(word) {
			words[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

func (d *demo) printNextSteps(dir string) error {
	stop := "make cluster-down"
	if dir != defaultDir {
		stop = "go run ./test/env/cmd/cluster down --dir " + dir
	}
	kubectl, err := filepath.Abs(kubectlProgram)
	if err != nil {
		return err
	}
	fmt.Printf(`
=== Everything was as expected. To look around:

  export KUBECONFIG=%s
  alias kubectl='%s kubectl'     # if you have none
  kubectl -n %s get ksvc,revisions,events

The settings are in ConfigMap config-pullsecrets in namespace pullsecrets-system.
To stop the cluster: %s
`, d.Kubeconfig, kubectl, namespace, stop)
	return nil
}
