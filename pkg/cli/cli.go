// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package cli is the command line: it reads objects with the rights of the caller, has package
// explain judge them, and prints the reports. It never prints a credential: of a Secret, it
// passes on no more than what [dockerconfig.Inspect] keeps.
//
// The exit code is 0 if nothing was found, 1 if there are findings at or above --fail-on, and 2
// for wrong usage and for errors.
package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"pullsecrets.dev/pkg/explain"
	"pullsecrets.dev/pkg/verify"
)

// Version is the version of the release. Its build sets it.
var Version = "devel"

// The exit codes.
const (
	exitFindings = 1
	exitError    = 2
)

// options are what all commands share.
type options struct {
	genericiooptions.IOStreams
	flags         *genericclioptions.ConfigFlags
	allNamespaces bool
	output        string
	noColor       bool
	failOn        string
	// connect, checker and now are replaced in tests.
	connect func() (*clients, error)
	checker func() checker
	now     func() metav1.Time
	// reader is that of the running command.
	reader *reader
	// worst is the worst severity that was found.
	worst explain.Severity
}

// Run runs a command line, with the name of the program first, and returns the exit code.
func Run(ctx context.Context, args []string, streams genericiooptions.IOStreams) int {
	o := &options{IOStreams: streams, flags: genericclioptions.NewConfigFlags(true), now: metav1.Now, checker: func() checker { return verify.NewChecker() }}
	o.connect = o.dial
	return o.run(ctx, args)
}

func (o *options) run(ctx context.Context, args []string) int {
	root := newRoot(o, displayName(args[0]))
	root.SetArgs(args[1:])
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(o.ErrOut, "error:", plainError(err))
		return exitError
	}
	if o.worst != "" && o.failOn != "never" && o.worst.AtLeast(explain.Severity(o.failOn)) {
		return exitFindings
	}
	return 0
}

// displayName returns how users call the program.
func displayName(program string) string {
	base := strings.TrimSuffix(filepath.Base(program), ".exe")
	if strings.HasPrefix(base, "kubectl-") {
		return "kubectl pullsecrets"
	}
	return "kn pullsecrets"
}

const long = `Explains the image pull secrets of Knative Services.

Commands work with your own rights. What you may not read is reported as not checked.
Findings have a code, which docs/findings.md explains. The exit code is 0 if nothing was
found, 1 if there are findings at or above --fail-on, and 2 for an error.`

func newRoot(o *options, display string) *cobra.Command {
	root := &cobra.Command{
		Use: "kn-pullsecrets", Short: "Explain the image pull secrets of Knative Services", Long: long, Version: Version,
		Annotations:  map[string]string{cobra.CommandDisplayNameAnnotation: display},
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return o.validate() },
	}
	root.SetIn(o.In)
	root.SetOut(o.Out)
	root.SetErr(o.ErrOut)
	flags := root.PersistentFlags()
	o.flags.AddFlags(flags)
	flags.StringVarP(&o.output, "output", "o", "", "output format: json, yaml or wide")
	flags.BoolVar(&o.noColor, "no-color", false, "print no colors; the environment variable NO_COLOR does the same")
	flags.StringVar(&o.failOn, "fail-on", string(explain.Warning), "lowest severity that makes the exit code 1: error, warning, info or never")
	root.AddCommand(
		newExplain(o), newStatus(o), newLint(o), newPlan(o), newCheck(o), newRetry(o), newVerify(o), newUninstall(o), newMigrate(o),
	)
	for flag, values := range map[string][]string{
		"output": {"json", "yaml", "wide"}, "fail-on": {"error", "warning", "info", "never"},
	} {
		_ = root.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // The flag exists.
	}
	_ = root.RegisterFlagCompletionFunc("namespace", o.completeNamespaces) // The flag exists.
	return root
}

// validate checks the flags that all commands have.
func (o *options) validate() error {
	if !slices.Contains([]string{"", "json", "yaml", "wide"}, o.output) {
		return fmt.Errorf("unknown output format %q; expected json, yaml or wide", o.output)
	}
	if o.failOn != "never" && !slices.Contains(explain.Severities, explain.Severity(o.failOn)) {
		return fmt.Errorf("unknown severity %q for --fail-on; expected error, warning, info or never", o.failOn)
	}
	return nil
}

// namespace returns the namespace of the flags or the kubeconfig, or an empty string for all.
func (o *options) namespace() (string, error) {
	if o.allNamespaces {
		if o.flags.Namespace != nil && *o.flags.Namespace != "" {
			return "", errors.New("--namespace and --all-namespaces exclude each other")
		}
		return metav1.NamespaceAll, nil
	}
	namespace, _, err := o.flags.ToRawKubeConfigLoader().Namespace()
	return namespace, err
}

// addAllNamespaces adds the flag -A to a command.
func (o *options) addAllNamespaces(c *cobra.Command) {
	c.Flags().BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "all namespaces")
}
