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

// certificate is the Secret that the webhook's certificate is kept in, the only
// one that this program can read.
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
	// Leases are named after the component, so another program's webhook in the
	// same namespace would share them if it had the same name.
	sharedmain.WebhookMainWithContext(sharedmain.WithHealthProbesDisabled(ctx), "pullsecrets-webhook",
		webhook.NewCertificateController(readiness),
		webhook.NewServiceController(readiness),
		webhook.NewAccountController(readiness),
		webhook.NewDefaultingController,
		webhook.NewValidationController,
		webhook.NewConfigController,
	)
}
