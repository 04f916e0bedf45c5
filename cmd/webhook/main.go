// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command webhook runs the admission controllers.
package main

import (
	"log"

	"knative.dev/pkg/injection/sharedmain"
	"knative.dev/pkg/signals"
	knativewebhook "knative.dev/pkg/webhook"

	"pullsecrets.dev/pkg/probes"
	"pullsecrets.dev/pkg/webhook"
)

// certificate is the Secret that holds the webhook's certificate. It is the only Secret
// that this program can read.
const certificate = "pullsecrets-webhook-certs"

func main() {
	ctx := knativewebhook.WithOptions(signals.NewContext(), knativewebhook.Options{
		ServiceName: knativewebhook.NameFromEnv(),
		Port:        knativewebhook.PortFromEnv(8443),
		SecretName:  certificate,
	})
	webhook.WatchOnlySecret(certificate)
	readiness := &webhook.Readiness{}
	go func() {
		if err := probes.Serve(ctx, readiness.Check); err != nil {
			log.Fatal("Failed to serve health probes: ", err)
		}
	}()
	// Leases are named after the component. Another webhook in the same namespace with
	// the same component name would share them.
	sharedmain.WebhookMainWithContext(sharedmain.WithHealthProbesDisabled(ctx), "pullsecrets-webhook",
		webhook.NewCertificateController(readiness),
		webhook.NewServiceController(readiness),
		webhook.NewAccountController(readiness),
		webhook.NewDefaultingController,
		webhook.NewValidationController,
		webhook.NewConfigController,
	)
}
