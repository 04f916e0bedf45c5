// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command webhook runs the admission controllers.
package main

import (
	"log"

	"knative.dev/pkg/injection"
	"knative.dev/pkg/injection/sharedmain"
	"knative.dev/pkg/signals"
	knativewebhook "knative.dev/pkg/webhook"

	"pullsecrets.dev/pkg/absent"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/metrics"
	"pullsecrets.dev/pkg/probes"
	"pullsecrets.dev/pkg/webhook"
)

// certificate is the Secret that holds the webhook's certificate. It is the only Secret
// that this program can read.
const certificate = "pullsecrets-webhook-certs"

func main() {
	profile, err := config.ProfileFromEnv()
	if err != nil {
		log.Fatal("Failed to read the profile: ", err)
	}
	readiness := &webhook.Readiness{}
	drained, ready := webhook.Drain(signals.NewContext(), readiness.Check)
	ctx := knativewebhook.WithOptions(drained, knativewebhook.Options{
		ServiceName: knativewebhook.NameFromEnv(),
		Port:        knativewebhook.PortFromEnv(8443),
		SecretName:  certificate,
		GracePeriod: webhook.QuietTime,
	})
	webhook.WatchOnlySecret(certificate)
	if !profile.UsesSecrets() {
		absent.ClusterPullSecrets()
	}
	if err := metrics.RecordLeases(); err != nil {
		log.Fatal("Failed to create metrics: ", err)
	}
	go func() {
		if err := probes.Serve(ctx, ready); err != nil {
			log.Fatal("Failed to serve health probes: ", err)
		}
	}()
	// Leases are named after the component. Another webhook in the same namespace with
	// the same component name would share them.
	var constructors []injection.ControllerConstructor
	for _, a := range admissions(profile, readiness) {
		constructors = append(constructors, a.constructor)
	}
	sharedmain.WebhookMainWithContext(sharedmain.WithHealthProbesDisabled(ctx), "pullsecrets-webhook", constructors...)
}

// admission is an admission controller of this program.
type admission struct {
	name        string
	constructor injection.ControllerConstructor
}

// admissions returns the admission controllers of a profile. Defaults and validation are
// for ClusterPullSecrets.
func admissions(profile config.Profile, readiness *webhook.Readiness) []admission {
	all := []admission{
		{"certificate", webhook.NewCertificateController(readiness, profile)},
		{"services", webhook.NewServiceController(readiness, profile)},
		{"serviceaccounts", webhook.NewAccountController(readiness, profile)},
		{"configmaps", webhook.NewConfigController},
	}
	if profile.UsesSecrets() {
		all = append(all, admission{"defaulting", webhook.NewDefaultingController}, admission{"validation", webhook.NewValidationController})
	}
	return all
}
