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
	"knative.dev/pkg/signals"

	"pullsecrets.dev/pkg/grant"
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
	sharedmain.MainWithContext(sharedmain.WithHealthProbesDisabled(ctx), "controller",
		newServiceController,
		namespace.NewController,
		clusterpullsecret.NewController,
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

// newServiceController stops the program from logging the warnings with which
// the API server answers its patches: they are about what the owner of the Service
// wrote, who has been given them. By now sharedmain has set its own handler.
func newServiceController(ctx context.Context, cmw configmap.Watcher) *controller.Impl {
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	return service.NewController(ctx, cmw)
}
