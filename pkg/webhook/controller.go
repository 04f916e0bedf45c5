// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package webhook puts pull secrets into Knative Services at admission, so that
// their first Revision has them, and keeps what other writers drop. It holds no
// rules: what a list becomes is decided in pkg/merge, which the reconciler uses
// too.
package webhook

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	mutatinginformer "knative.dev/pkg/client/injection/kube/informers/admissionregistration/v1/mutatingwebhookconfiguration"
	namespaceinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/namespace"
	accountinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/serviceaccount"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	secretinformer "knative.dev/pkg/injection/clients/namespacedkube/informers/core/v1/secret"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/system"
	"knative.dev/pkg/webhook"
	servingclient "knative.dev/serving/pkg/client/injection/client"

	"pullsecrets.dev/pkg/catalog"
	clusterpullsecretinformer "pullsecrets.dev/pkg/client/injection/informers/pullsecrets/v1alpha1/clusterpullsecret"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/metrics"
	"pullsecrets.dev/pkg/trim"
)

const (
	// InjectName is the name of the MutatingWebhookConfiguration. The API server
	// calls webhooks in the order of their names, and this one must come before
	// Knative's webhook.serving.knative.dev: Knative notes the user who changed a
	// spec, and refuses the note where the spec did not change. If an entry that
	// somebody dropped were put back only after that, his request would be
	// refused.
	InjectName = "inject.pullsecrets.dev"

	// ServicesPath is where the API server sends Knative Services.
	ServicesPath = "/services"
)

// NewServiceController wires the admission of Knative Services.
func NewServiceController(readiness *Readiness) injection.ControllerConstructor {
	return func(ctx context.Context, cmw configmap.Watcher) *controller.Impl {
		logger := logging.FromContext(ctx)
		namespaces, accounts := namespaceinformer.Get(ctx), accountinformer.Get(ctx)
		clusterPullSecrets := clusterpullsecretinformer.Get(ctx)
		secrets, webhooks := secretinformer.Get(ctx), mutatinginformer.Get(ctx)
		for _, informer := range []cache.SharedIndexInformer{namespaces.Informer(), accounts.Informer()} {
			if err := informer.SetTransform(trim.Object); err != nil {
				logger.Fatalw("Failed to trim what is cached", "error", err)
			}
		}
		granted, err := catalog.New(clusterPullSecrets.Informer(), clusterPullSecrets.Lister())
		if err != nil {
			logger.Fatalw("Failed to follow ClusterPullSecrets", "error", err)
		}
		added, err := metrics.NewAdded()
		if err != nil {
			logger.Fatalw("Failed to make metrics", "error", err)
		}
		r := newRegistration(InjectName, webhook.GetOptions(ctx).SecretName)
		r.kube, r.webhooks, r.secrets, r.namespaces = kubeclient.Get(ctx), webhooks.Lister(), secrets.Lister(), namespaces.Lister()

		const queueName = "ServiceWebhook"
		admission := &serviceAdmission{registration: r}
		impl := controller.NewContext(ctx, admission, controller.ControllerOptions{WorkQueueName: queueName, Logger: logger.Named(queueName)})
		wake := func(any) { impl.EnqueueKey(r.key) }
		store := config.NewStore(logger.Named("config-store"), func(string, any) { wake(nil) })
		store.WatchConfigs(cmw)

		admission.registration.config = store
		admission.Services = Services{
			namespaces: namespaces.Lister(), accounts: accounts.Lister(),
			catalog: granted.Get,
			ready: func() bool {
				return namespaces.Informer().HasSynced() && accounts.Informer().HasSynced() && clusterPullSecrets.Informer().HasSynced()
			},
			kube:    kubeclient.Get(ctx),
			serving: servingclient.Get(ctx),
			config:  store,
			added:   added,
		}
		readiness.needs("the caches of Namespaces, ServiceAccounts and ClusterPullSecrets", admission.ready)
		readiness.needs("the certificate", func() bool {
			secret, err := secrets.Lister().Secrets(system.Namespace()).Get(r.secretName)
			return err == nil && len(secret.Data) > 0
		})

		// The configuration is looked at when it changes, when the certificate
		// changes, and when an excluded namespace comes or goes.
		watch := func(informer cache.SharedIndexInformer, filter func(any) bool) {
			if _, err := informer.AddEventHandler(cache.FilteringResourceEventHandler{FilterFunc: filter, Handler: controller.HandleAll(wake)}); err != nil {
				logger.Fatalw("Failed to watch", "error", err)
			}
		}
		watch(webhooks.Informer(), r.owns)
		watch(secrets.Informer(), controller.FilterWithNameAndNamespace(system.Namespace(), r.secretName))
		watch(namespaces.Informer(), func(object any) bool {
			namespace, ok := object.(*corev1.Namespace)
			return ok && store.Load().Excludes(namespace.Name, nil)
		})
		return impl
	}
}

// serviceAdmission is what knative.dev/pkg wants of one value: to answer
// requests, on every replica, and to keep the configuration, on one.
type serviceAdmission struct {
	*registration
	Services
}
