// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Command controller runs the reconcilers.
package main

import (
	"context"
	"log"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	filteredfactory "knative.dev/pkg/client/injection/kube/informers/factory/filtered"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/injection/sharedmain"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/signals"

	"pullsecrets.dev/pkg/absent"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/knative"
	"pullsecrets.dev/pkg/metrics"
	"pullsecrets.dev/pkg/probes"
	"pullsecrets.dev/pkg/reconciler/clusterpullsecret"
	"pullsecrets.dev/pkg/reconciler/namespace"
	"pullsecrets.dev/pkg/reconciler/revision"
	"pullsecrets.dev/pkg/reconciler/service"
)

func main() {
	profile, err := config.ProfileFromEnv()
	if err != nil {
		log.Fatal("Failed to read the profile: ", err)
	}
	// The Secret informer watches only the copies.
	ctx := filteredfactory.WithSelectors(signals.NewContext(), grant.Copies)
	if err := metrics.RecordLeases(); err != nil {
		log.Fatal("Failed to create metrics: ", err)
	}
	go func() {
		if err := probes.Serve(ctx, probes.Always); err != nil {
			log.Fatal("Failed to serve health probes: ", err)
		}
	}()
	injection.Default.RegisterClient(withProtobuf)
	replaceInformers(profile)
	var constructors []injection.ControllerConstructor
	for _, r := range reconcilers(profile, knative.NewSettings()) {
		constructors = append(constructors, r.constructor)
	}
	sharedmain.MainWithContext(sharedmain.WithHealthProbesDisabled(ctx), "controller", constructors...)
}

// reconciler is a reconciler of this program.
type reconciler struct {
	name        string
	constructor injection.ControllerConstructor
}

// reconcilers returns the reconcilers of a profile. Copies and coverage need Secrets.
func reconcilers(profile config.Profile, settings *knative.Settings) []reconciler {
	all := []reconciler{
		{"service", newServiceController(settings, profile)},
		{"namespace", namespace.NewController(settings, profile)},
	}
	if profile.UsesSecrets() {
		all = append(all,
			reconciler{"clusterpullsecret", clusterpullsecret.NewController(settings)},
			reconciler{"revision", revision.NewController(settings)},
		)
	}
	return all
}

// replaceInformers replaces the informers of kinds that a profile does not use.
func replaceInformers(profile config.Profile) {
	if !profile.UsesSecrets() {
		absent.ClusterPullSecrets()
		injection.Default.RegisterInformerFactory(withoutSecrets)
	}
}

// withoutSecrets replaces the informer of copies by one that requests nothing.
func withoutSecrets(ctx context.Context) context.Context {
	filteredfactory.Get(ctx, grant.Copies).InformerFor(&corev1.Secret{}, func(kubernetes.Interface, time.Duration) cache.SharedIndexInformer {
		return absent.Informer(&corev1.Secret{}, &corev1.SecretList{})
	})
	return ctx
}

// withProtobuf replaces the client for built-in kinds by one that uses protobuf. With
// thousands of copies, protobuf costs the controller and the API server less than JSON,
// which is the only encoding of custom resources.
func withProtobuf(ctx context.Context, cfg *rest.Config) context.Context {
	cfg = rest.CopyConfig(cfg)
	cfg.ContentType = runtime.ContentTypeProtobuf
	cfg.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	return context.WithValue(ctx, kubeclient.Key{}, kubernetes.NewForConfigOrDie(cfg))
}

// newServiceController is the first constructor that sharedmain calls. It also does the
// setup that must happen before any reconciler starts.
func newServiceController(settings *knative.Settings, profile config.Profile) injection.ControllerConstructor {
	return func(ctx context.Context, cmw configmap.Watcher) *controller.Impl {
		// The API server's warnings about a patch concern what the owner of the Service
		// wrote, and the owner has already received them. Set here because sharedmain
		// sets its own handler before it calls constructors.
		rest.SetDefaultWarningHandler(rest.NoWarnings{})
		logger := logging.FromContext(ctx).Named("knative-settings")
		if err := settings.Follow(ctx, kubeclient.Get(ctx), logger, knative.Deployment); err != nil {
			logger.Fatalw("Failed to follow Knative's settings", "error", err)
		}
		// While the images of Services are unknown, a copy for one of them would count as
		// not requested.
		settings.Wait(ctx)
		return service.NewController(settings, profile)(ctx, cmw)
	}
}
