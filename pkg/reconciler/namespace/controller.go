// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package namespace reconciles Namespaces: it writes the copies of credentials that are
// granted and asked for, binds ServiceAccounts, and reports invalid annotations to the
// owners of the Namespaces.
package namespace

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	namespaceinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/namespace"
	secretinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/secret/filtered"
	accountinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/serviceaccount"
	namespacereconciler "knative.dev/pkg/client/injection/kube/reconciler/core/v1/namespace"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/logging"
	servingclient "knative.dev/serving/pkg/client/injection/client"
	serviceinformer "knative.dev/serving/pkg/client/injection/informers/serving/v1/service"

	"pullsecrets.dev/pkg/catalog"
	client "pullsecrets.dev/pkg/client/injection/client"
	clusterpullsecretinformer "pullsecrets.dev/pkg/client/injection/informers/pullsecrets/v1alpha1/clusterpullsecret"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/knative"
	"pullsecrets.dev/pkg/memory"
	"pullsecrets.dev/pkg/source"
	"pullsecrets.dev/pkg/trim"
)

// NewController returns a constructor of the Namespace controller.
func NewController(settings *knative.Settings, profile config.Profile) injection.ControllerConstructor {
	return func(ctx context.Context, cmw configmap.Watcher) *controller.Impl {
		return newController(ctx, cmw, settings, profile)
	}
}

func newController(ctx context.Context, cmw configmap.Watcher, settings *knative.Settings, profile config.Profile) *controller.Impl {
	logger := logging.FromContext(ctx)
	namespaces, services, serviceAccounts := namespaceinformer.Get(ctx), serviceinformer.Get(ctx), accountinformer.Get(ctx)
	secrets, clusterPullSecrets := secretinformer.Get(ctx, grant.Copies), clusterpullsecretinformer.Get(ctx)
	if err := secrets.Informer().SetTransform(trim.Object); err != nil {
		logger.Fatalw("Failed to set a transform", "error", err)
	}
	metrics, err := newMetrics()
	if err != nil {
		logger.Fatalw("Failed to create metrics", "error", err)
	}
	all, err := catalog.Of(clusterPullSecrets.Informer(), clusterPullSecrets.Lister())
	if err != nil {
		logger.Fatalw("Failed to create the catalog of ClusterPullSecrets", "error", err)
	}
	all.Covers, all.Unknown = settings.Covers, !profile.UsesSecrets()
	kube := kubeclient.Get(ctx)
	var remembered memory.Memory
	reporter := newReporter(&remembered)
	r := &Reconciler{memory: &remembered, reporter: reporter, profile: profile, accounts: &accounts{
		kube: kube, grants: readGrants(client.Get(ctx)), lister: serviceAccounts.Lister(), reporter: reporter,
		written: memory.NewTable[string, *history](&remembered),
	}, copies: &copies{
		kube: kube, serving: servingclient.Get(ctx), client: client.Get(ctx),
		catalog: all, sources: source.NewReader(kube), clusterPullSecrets: clusterPullSecrets.Lister(),
		secrets: secrets.Lister(), services: services.Lister(), accounts: serviceAccounts.Lister(),
		labelsOf: labelsBy(kube), metrics: metrics, backoff: newBackoff(&remembered), recreations: newRecreations(&remembered), removals: newRemovals(&remembered), expectations: newExpectations(&remembered),
	}}
	if err := r.copies.removals.record(); err != nil {
		logger.Fatalw("Failed to create metrics", "error", err)
	}
	impl := namespacereconciler.NewImpl(ctx, r, func(impl *controller.Impl) controller.Options {
		store := config.NewStore(logger.Named("config-store"), func(string, any) {
			impl.GlobalResync(namespaces.Informer())
		})
		store.WatchConfigs(ctx, cmw)
		return controller.Options{ConfigStore: store, AgentName: events.ControllerAgentName, SkipStatusUpdates: true, DemoteFunc: remembered.Demote}
	})
	remembered.LedBy(impl.Reconciler)
	r.enqueueAfter = impl.EnqueueKeyAfter
	e := enqueuer{impl: impl, namespaces: namespaces.Lister(), logger: logger}
	e.watchNamespaces(namespaces.Informer())
	e.watchCopies(secrets.Informer(), r.copies.observe)
	e.watchGrants(clusterPullSecrets.Informer(), r.copies.prune)
	e.watchServices(services.Informer())
	e.watchAccounts(serviceAccounts.Informer(), r.accounts.forget)
	settings.OnImages(func() { e.enqueueAuto(services.Lister()) })
	return impl
}

// labelsBy returns a function that reads the labels of a Secret. It requests only the
// metadata, so that the API server sends no credential.
func labelsBy(kube kubernetes.Interface) func(context.Context, string, string) (map[string]string, error) {
	return func(ctx context.Context, namespace, name string) (map[string]string, error) {
		raw, err := kube.CoreV1().RESTClient().Get().Namespace(namespace).Resource("secrets").Name(name).
			SetHeader("Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").Do(ctx).Raw()
		if err != nil {
			return nil, err
		}
		var found metav1.PartialObjectMetadata
		if err := json.Unmarshal(raw, &found); err != nil {
			return nil, fmt.Errorf("failed to decode the metadata of Secret %s/%s: %w", namespace, name, err)
		}
		return found.Labels, nil
	}
}
