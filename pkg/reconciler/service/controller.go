// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package service reconciles the pull secrets of existing Knative Services with what is
// declared: after a Namespace or a Service opts in, and after an outage of the admission
// webhook.
package service

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	namespaceinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/namespace"
	secretinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/secret/filtered"
	accountinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/serviceaccount"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/logging"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingclient "knative.dev/serving/pkg/client/injection/client"
	serviceinformer "knative.dev/serving/pkg/client/injection/informers/serving/v1/service"
	servicereconciler "knative.dev/serving/pkg/client/injection/reconciler/serving/v1/service"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/catalog"
	clusterpullsecretinformer "pullsecrets.dev/pkg/client/injection/informers/pullsecrets/v1alpha1/clusterpullsecret"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/knative"
	"pullsecrets.dev/pkg/memory"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/trim"
)

// NewController returns a constructor that connects the reconciler to its informers.
func NewController(settings *knative.Settings, profile config.Profile) injection.ControllerConstructor {
	return func(ctx context.Context, cmw configmap.Watcher) *controller.Impl {
		return newController(ctx, cmw, settings, profile)
	}
}

func newController(ctx context.Context, cmw configmap.Watcher, settings *knative.Settings, profile config.Profile) *controller.Impl {
	logger := logging.FromContext(ctx)
	services := serviceinformer.Get(ctx)
	namespaces := namespaceinformer.Get(ctx)
	accounts := accountinformer.Get(ctx)
	copies, clusterPullSecrets := secretinformer.Get(ctx, grant.Copies), clusterpullsecretinformer.Get(ctx)
	user := whoAmI(ctx, kubeclient.Get(ctx))

	if err := prepare(services.Informer(), user, namespaces.Informer(), accounts.Informer(), copies.Informer()); err != nil {
		logger.Fatalw("Failed to prepare the caches", "error", err)
	}
	var remembered memory.Memory
	metrics, err := newMetrics(&remembered)
	if err != nil {
		logger.Fatalw("Failed to make metrics", "error", err)
	}
	granted, err := catalog.Of(clusterPullSecrets.Informer(), clusterPullSecrets.Lister())
	if err != nil {
		logger.Fatalw("Failed to make the catalog of ClusterPullSecrets", "error", err)
	}
	granted.Unknown = !profile.UsesSecrets()

	secrets := newSecretViews(&remembered, secretTable(kubeclient.Get(ctx).CoreV1().RESTClient()))
	r := &Reconciler{
		serving:  servingclient.Get(ctx),
		cached:   fromCaches(namespaces.Lister(), accounts.Lister()),
		live:     fromAPIServer(kubeclient.Get(ctx)),
		failed:   failedIn(services.Informer().GetIndexer()),
		secrets:  secrets,
		catalog:  granted.Get,
		covers:   settings.Covers,
		profile:  profile,
		memory:   &remembered,
		attempts: attempts{memory.NewStore[history](&remembered)},
		reporter: events.NewReporter(&remembered, nil),
		metrics:  metrics,
	}
	impl := servicereconciler.NewImpl(ctx, r, func(impl *controller.Impl) controller.Options {
		// A changed setting can concern every Service. They take the slow lane, so that
		// Services which are being changed do not wait for them.
		store := config.NewStore(logger.Named("config-store"), func(string, any) {
			impl.GlobalResync(services.Informer())
		})
		store.WatchConfigs(ctx, cmw)
		// Knative owns the status. With status updates, the generated code would
		// default and rewrite it.
		return controller.Options{ConfigStore: store, AgentName: events.ControllerAgentName, SkipStatusUpdates: true, DemoteFunc: remembered.Demote}
	})
	remembered.LedBy(impl.Reconciler)
	r.backfill = newBackfill(&remembered, impl.EnqueueKey)
	go r.backfill.run(ctx)

	e := enqueuer{impl: impl, services: services, user: user, logger: logger}
	e.watchServices()
	e.watchNamespaces(namespaces.Informer(), r)
	e.watchAccounts(accounts.Informer())
	e.watchGrants(clusterPullSecrets.Informer(), namespaces.Lister())
	e.watchCopies(copies.Informer(), secrets.observe)
	settings.OnImages(func() { e.enqueueAuto(namespaces.Lister()) })
	return impl
}

// prepare trims what the caches keep, and indexes Services by what enqueues them.
func prepare(services cache.SharedIndexInformer, user string, others ...cache.SharedIndexInformer) error {
	for _, informer := range append(others, services) {
		if err := informer.SetTransform(trim.Object); err != nil {
			return fmt.Errorf("failed to set a transform: %w", err)
		}
	}
	if err := services.AddIndexers(cache.Indexers{failedIndex: indexFailed(user), accountIndex: indexByAccount}); err != nil {
		return fmt.Errorf("failed to index Services: %w", err)
	}
	return nil
}

func fromCaches(namespaces corev1listers.NamespaceLister, accounts corev1listers.ServiceAccountLister) sources {
	return sources{
		namespace: func(_ context.Context, name string) (*corev1.Namespace, error) { return namespaces.Get(name) },
		account: func(_ context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
			return accounts.ServiceAccounts(namespace).Get(name)
		},
	}
}

// accountIndex is the name of the index of Services by the ServiceAccount they run as.
const accountIndex = "pullsecrets.dev/serviceaccount"

func indexByAccount(object any) ([]string, error) {
	svc, ok := object.(*servingv1.Service)
	if !ok {
		return nil, nil
	}
	return []string{svc.Namespace + "/" + merge.AccountName(svc.Spec.Template.Spec.ServiceAccountName)}, nil
}

// whoAmI asks the API server for this process's user name, which Knative notes as
// lastModifier on the Services that the process changes.
func whoAmI(ctx context.Context, client kubernetes.Interface) string {
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		logging.FromContext(ctx).Warnw("Failed to get the controller's own user name", "assumed", pullsecrets.ControllerUser, "error", err)
		return pullsecrets.ControllerUser
	}
	return review.Status.UserInfo.Username
}
