// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package namespace looks after what Namespaces declare. It tells their owners
// which items of their annotations do not count.
package namespace

import (
	"context"

	namespaceinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/namespace"
	namespacereconciler "knative.dev/pkg/client/injection/kube/reconciler/core/v1/namespace"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"

	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/events"
)

// agentName is the source of the Events.
const agentName = "pullsecrets-controller"

// NewController wires the reconciler to what wakes it.
func NewController(ctx context.Context, cmw configmap.Watcher) *controller.Impl {
	logger := logging.FromContext(ctx)
	namespaces := namespaceinformer.Get(ctx)
	r := &Reconciler{reporter: events.NewReporter()}
	impl := namespacereconciler.NewImpl(ctx, r, func(impl *controller.Impl) controller.Options {
		store := config.NewStore(logger.Named("config-store"), func(string, any) {
			impl.GlobalResync(namespaces.Informer())
		})
		store.WatchConfigs(cmw)
		return controller.Options{ConfigStore: store, AgentName: agentName, SkipStatusUpdates: true}
	})
	// A Namespace wakes itself.
	if _, err := namespaces.Informer().AddEventHandler(controller.HandleAll(impl.Enqueue)); err != nil {
		logger.Fatalw("Failed to watch Namespaces", "error", err)
	}
	return impl
}
