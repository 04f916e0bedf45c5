// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// The command kn-pullsecrets explains pull secrets of Knative Services. kn finds it as the plugin
// "kn pullsecrets", and kubectl as "kubectl pullsecrets" if it is named kubectl-pullsecrets.
package main

import (
	"context"
	"os"
	"os/signal"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"pullsecrets.dev/pkg/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := cli.Run(ctx, os.Args, genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr})
	stop()
	os.Exit(code)
}
