// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package clusterpullsecret reconciles ClusterPullSecrets: it validates their sources and
// reports in their status how far the copies are distributed.
package clusterpullsecret

import (
	"context"
	"time"

	kubeclient "knative.dev/pkg/client/injection/kube/client"
	namespaceinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/namespace"
	secretinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/secret/filtered"
	accountinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/serviceaccount"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/logging"
	serviceinformer "knative.dev/serving/pkg/client/injection/informers/serving/v1/service"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/catalog"
	clusterpullsecretinformer "pullsecrets.dev/pkg/client/injection/informers/pullsecrets/v1alpha1/clusterpullsecret"
	clusterpullsecretreconciler "pullsecrets.dev/pkg/client/injection/reconciler/pullsecrets/v1alpha1/clusterpullsecret"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/knative"
	"pullsecrets.dev/pkg/memory"
	"pullsecrets.dev/pkg/source"
	"pullsecrets.dev/pkg/trim"
	"pullsecrets.dev/pkg/verify"
)

// countDelay is how long events of copies and Namespaces are collected before the status
// is updated, so that thousands of copies do not cause thousands of writes.
const countDelay = time.Second

// NewController returns a constructor of the ClusterPullSecret controller.
func NewController(settings *knative.Settings) injection.ControllerConstructor {
	return func(ctx context.Context, cmw configmap.Watcher) *controller.Impl {
		return newController(ctx, cmw, settings)
	}
}

func newController(ctx context.Context, cmw configmap.Watcher, settings *knative.Settings) *controller.Impl {
	logger := logging.FromContext(ctx)
	informer := clusterpullsecretinformer.Get(ctx)
	namespaces, services := namespaceinformer.Get(ctx), serviceinformer.Get(ctx)
	secrets := secretinformer.Get(ctx, grant.Copies)
	if err := secrets.Informer().SetTransform(trim.Object); err != nil {
		logger.Fatalw("Failed to set a transform", "error", err)
	}
	all, err := catalog.Of(informer.Informer(), informer.Lister())
	if err != nil {
		logger.Fatalw("Failed to create the catalog of ClusterPullSecrets", "error", err)
	}
	all.Covers = settings.Covers
	watches := &sourceWatches{client: kubeclient.Get(ctx)}
	var remembered memory.Memory
	metrics, err := newMetrics(&remembered)
	if err != nil {
		logger.Fatalw("Failed to create metrics", "error", err)
	}
	r := &Reconciler{
		memory: &remembered, reporter: events.NewReporter(&remembered, nil), tallies: tallies{memory.NewStore[verdicts](&remembered)}, diagnoses: diagnoses{memory.NewStore[diagnosis](&remembered)},
		verifications: verifications{memory.NewStore[verification](&remembered)}, checker: verify.NewChecker(), inBackground: func(do func()) { go do() },
		sources: source.NewReader(kubeclient.Get(ctx)),
		watch:   func(ref v1alpha1.SecretReference) { watches.follow(ctx, ref) },
		catalog: all, clusterPullSecrets: informer.Lister(),
		namespaces: namespaces.Lister(), accounts: accountinformer.Get(ctx).Lister(), services: services.Lister(), secrets: secrets.Lister(),
		liveCopies: liveCopiesBy(kubeclient.Get(ctx)),
		probe:      probeBy(kubeclient.Get(ctx)),
		metrics:    metrics, now: time.Now,
	}
	impl := clusterpullsecretreconciler.NewImpl(ctx, r, func(impl *controller.Impl) controller.Options {
		recountAll := func() {
			r.tallies.Clear()
			impl.GlobalResync(informer.Informer())
		}
		settings.OnImages(recountAll)
		store := config.NewStore(logger.Named("config-store"), func(string, any) { recountAll() })
		store.WatchConfigs(ctx, cmw)
		return controller.Options{ConfigStore: store, AgentName: events.ControllerAgentName, DemoteFunc: remembered.Demote}
	})
	remembered.LedBy(impl.Reconciler)
	r.enqueue = func(name string) { impl.EnqueueKey(keyFor(name)) }
	e := enqueuer{impl, informer.Lister(), namespaces.Lister(), all.Get, r.tallies, logger}
	if err := observeStatus(informer.Lister(), time.Now); err != nil {
		logger.Fatalw("Failed to create metrics", "error", err)
	}
	watches.changed = e.enqueueDependents
	e.handle(informer.Informer(), e.clusterPullSecretHandler())
	e.watchGrants(informer.Informer(), func() {
		all := list(informer.Lister())
		watches.keep(source.Named(all))
		r.sources.Keep(all)
	})
	e.watchCopies(secrets.Informer())
	e.watchNamespaces(namespaces.Informer())
	e.watchServices(services.Informer())
	return impl
}
