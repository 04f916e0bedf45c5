// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command controller runs the reconcilers.
package main

import (
	"log"

	"knative.dev/pkg/injection/sharedmain"
	"knative.dev/pkg/signals"

	"pullsecrets.dev/pkg/probes"
	"pullsecrets.dev/pkg/reconciler/namespace"
	"pullsecrets.dev/pkg/reconciler/service"
)

func main() {
	ctx := signals.NewContext()
	go func() {
		if err := probes.Serve(ctx, probes.Always); err != nil {
			log.Fatal("Failed to serve health probes: ", err)
		}
	}()
	sharedmain.MainWithContext(sharedmain.WithHealthProbesDisabled(ctx), "controller",
		service.NewController,
		namespace.NewController,
	)
}
