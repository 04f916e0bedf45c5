// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package revision checks whether the images of Revisions are covered by credentials: of the
// newest Revision of each Service that has opted in or whose ServiceAccount is bound, and of those
// that traffic can reach. It reports those that are not, and retries Revisions that failed without
// a valid credential. Its key is the Service.
package revision

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	namespaceinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/namespace"
	secretinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/secret/filtered"
	accountinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/serviceaccount"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/logging"
	servingclient "knative.dev/serving/pkg/client/injection/client"
	serviceinformer "knative.dev/serving/pkg/client/injection/informers/serving/v1/service"
	servicereconciler "knative.dev/serving/pkg/client/injection/reconciler/serving/v1/service"

	"pullsecrets.dev/pkg/catalog"
	clusterpullsecretinformer "pullsecrets.dev/pkg/client/injection/informers/pullsecrets/v1alpha1/clusterpullsecret"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/fair"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/knative"
	"pullsecrets.dev/pkg/memory"
	"pullsecrets.dev/pkg/trim"
)

// NewController returns a constructor that connects the reconciler to its watches.
func NewController(settings *knative.Settings) injection.ControllerConstructor {
	return func(ctx context.Context, cmw configmap.Watcher) *controller.Impl {
		meta, err := metadata.NewForConfig(injection.GetConfig(ctx))
		if err != nil {
			logging.FromContext(ctx).Fatalw("Failed to make the client for metadata", "error", err)
		}
		return newController(ctx, cmw, settings, meta)
	}
}

func newController(ctx context.Context, cmw configmap.Watcher, settings *knative.Settings, meta metadata.Interface) *controller.Impl {
	logger := logging.FromContext(ctx)
	services, namespaces, accounts := serviceinformer.Get(ctx), namespaceinformer.Get(ctx), accountinformer.Get(ctx)
	copies, clusterPullSecrets := secretinformer.Get(ctx, grant.Copies), clusterpullsecretinformer.Get(ctx)
	if err := copies.Informer().SetTransform(trim.Object); err != nil {
		logger.Fatalw("Failed to set a transform", "error", err)
	}
	offered, err := catalog.Of(clusterPullSecrets.Informer(), clusterPullSecrets.Lister())
	if err != nil {
		logger.Fatalw("Failed to make the catalog of ClusterPullSecrets", "error", err)
	}
	var remembered memory.Memory
	found := findings{memory.NewStore[[]finding](&remembered)}
	metrics, err := newMetrics(found)
	if err != nil {
		logger.Fatalw("Failed to make metrics", "error", err)
	}
	kube := kubeclient.Get(ctx)
	all := &revisions{}
	secrets := newNamed(&remembered, func(ctx context.Context, key types.NamespacedName) (*corev1.Secret, error) {
		return kube.CoreV1().Secrets(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	})
	r := &Reconciler{
		serving: servingclient.Get(ctx), namespaces: namespaces.Lister(), accounts: accounts.Lister(),
		clusterPullSecrets: clusterPullSecrets.Lister(), copies: copies.Lister(), revisions: all, secrets: secrets,
		catalog: offered.Get, covers: settings.Covers, images: settings.Images, metadata: metadataBy(kube), now: time.Now,
		retries: fair.NewBudget(retriesOfAll, retriesOfEach, time.Now), metrics: metrics,
		memory: &remembered, findings: found, used: memory.NewStore[string](&remembered), reporter: events.NewReporter(&remembered, nil),
	}
	impl := servicereconciler.NewImpl(ctx, r, func(impl *controller.Impl) controller.Options {
		resync := func() { impl.GlobalResync(services.Informer()) }
		settings.OnImages(resync)
		store := config.NewStore(logger.Named("config-store"), func(string, any) { resync() })
		store.WatchConfigs(ctx, cmw)
		return controller.Options{ConfigStore: store, AgentName: events.ControllerAgentName, SkipStatusUpdates: true, DemoteFunc: remembered.Demote}
	})

	e := enqueuer{impl: impl, revisions: all, secrets: secrets, logger: logger}
	e.watchRevisions()
	remembered.LedBy(impl.Reconciler)
	secrets.changed, secrets.used = e.enqueueNamespace, usedBy(all, accounts.Lister(), remembered.Leads)
	e.watchServices(services.Informer())
	e.watchNamespaces(namespaces.Informer())
	e.watchAccounts(accounts.Informer())
	e.watchCopies(copies.Informer())
	e.watchGrants(clusterPullSecrets.Informer(), namespaces.Lister(), r.granted.forget)
	watchesBy(servingclient.Get(ctx), meta).start(ctx, all, secrets)
	go secrets.run(ctx)
	return impl
}
