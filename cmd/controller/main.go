// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command controller runs the reconcilers.
package main

import (
	"context"
	"log"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	filteredfactory "knative.dev/pkg/client/injection/kube/informers/factory/filtered"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/injection/sharedmain"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/signals"

	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/knative"
	"pullsecrets.dev/pkg/probes"
	"pullsecrets.dev/pkg/reconciler/clusterpullsecret"
	"pullsecrets.dev/pkg/reconciler/namespace"
	"pullsecrets.dev/pkg/reconciler/service"
)

func main() {
	// Of all Secrets, the copies alone are watched.
	ctx := filteredfactory.WithSelectors(signals.NewContext(), grant.Copies)
	go func() {
		if err := probes.Serve(ctx, probes.Always); err != nil {
			log.Fatal("Failed to serve health probes: ", err)
		}
	}()
	injection.Default.RegisterClient(withProtobuf)
	settings := knative.NewSettings()
	sharedmain.MainWithContext(sharedmain.WithHealthProbesDisabled(ctx), "controller",
		newServiceController(settings),
		namespace.NewController(settings),
		clusterpullsecret.NewController(settings),
	)
}

// withProtobuf puts a client in the place of the one for Kubernetes' own kinds which
// speaks protobuf. Thousands of copies cost both sides less that way than as JSON, which
// custom resources know alone.
func withProtobuf(ctx context.Context, cfg *rest.Config) context.Context {
	cfg = rest.CopyConfig(cfg)
	cfg.ContentType = runtime.ContentTypeProtobuf
	cfg.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	return context.WithValue(ctx, kubeclient.Key{}, kubernetes.NewForConfigOrDie(cfg))
}

// newServiceController does what the program needs before any reconciler starts, as the
// first constructor that sharedmain calls.
func newServiceController(settings *knative.Settings) injection.ControllerConstructor {
	return func(ctx context.Context, cmw configmap.Watcher) *controller.Impl {
		// The warnings with which the API server answers patches are about what the
		// owner of the Service wrote, who has been given them. By now sharedmain has set
		// its own handler.
		rest.SetDefaultWarningHandler(rest.NoWarnings{})
		logger := logging.FromContext(ctx).Named("knative-settings")
		if err := settings.Follow(ctx, kubeclient.Get(ctx), logger, knative.Deployment); err != nil {
			logger.Fatalw("Failed to follow Knative's settings", "error", err)
		}
		// A copy for an image that is not known yet would count as one that nobody
		// asks for.
		settings.Wait(ctx)
		return service.NewController(settings)(ctx, cmw)
	}
}
