// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package webhook puts pull secrets into Knative Services and ServiceAccounts at
// admission, so that the first Revision and the first Pod have them, and keeps what other
// writers drop. It holds no rules: what a list becomes is decided in pkg/merge, which the
// reconcilers use too. Beside that it defaults and validates ClusterPullSecrets and
// validates the product's ConfigMaps, with what knative.dev/pkg has for it.
package webhook

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
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
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"

	"pullsecrets.dev/pkg/catalog"
	clusterpullsecretinformer "pullsecrets.dev/pkg/client/injection/informers/pullsecrets/v1alpha1/clusterpullsecret"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/knative"
	"pullsecrets.dev/pkg/metrics"
	"pullsecrets.dev/pkg/trim"
)

const (
	// InjectName is the name of the MutatingWebhookConfiguration for Services. The
	// API server calls webhooks in the order of their names, and this one must come
	// before Knative's webhook.serving.knative.dev: Knative notes the user who
	// changed a spec, and refuses the note where the spec did not change. If an
	// entry that somebody dropped were put back only after that, the request would
	// be refused.
	InjectName = "inject.pullsecrets.dev"

	// bindName is the name of the one for ServiceAccounts.
	bindName = "bind.pullsecrets.dev"

	// ServicesPath and AccountsPath are where the API server sends Knative Services
	// and ServiceAccounts.
	ServicesPath = "/services"
	AccountsPath = "/serviceaccounts"
)

// NewServiceController wires the admission of Knative Services.
func NewServiceController(readiness *Readiness) injection.ControllerConstructor {
	return newController(readiness, InjectName, "ServiceWebhook", func(ctx context.Context, c cluster) webhook.AdmissionController {
		logger := logging.FromContext(ctx)
		settings, err := knative.Follow(ctx, c.kube, logger.Named("knative-settings"))
		if err != nil {
			logger.Fatalw("Failed to follow Knative's settings", "error", err)
		}
		c.template = settings.Template
		readiness.needs("Knative's settings", settings.Known)
		return &Services{c}
	})
}

// NewAccountController wires the admission of ServiceAccounts.
func NewAccountController(readiness *Readiness) injection.ControllerConstructor {
	return newController(readiness, bindName, "ServiceAccountWebhook", func(_ context.Context, c cluster) webhook.AdmissionController { return &Accounts{c} })
}

func newController(readiness *Readiness, name, queueName string, admission func(context.Context, cluster) webhook.AdmissionController) injection.ControllerConstructor {
	return func(ctx context.Context, cmw configmap.Watcher) *controller.Impl {
		logger := logging.FromContext(ctx)
		namespaces, secrets, webhooks := namespaceinformer.Get(ctx), secretinformer.Get(ctx), mutatinginformer.Get(ctx)
		r := newRegistration(name, webhook.GetOptions(ctx).SecretName)
		r.kube, r.webhooks, r.secrets, r.namespaces = kubeclient.Get(ctx), webhooks.Lister(), secrets.Lister(), namespaces.Lister()

		a := &admissionReconciler{registration: r}
		impl := controller.NewContext(ctx, a, controller.ControllerOptions{WorkQueueName: queueName, Logger: logger.Named(queueName)})
		wake := func(any) { impl.EnqueueKey(r.key) }
		r.config = config.NewStore(logger.Named("config-store"), func(string, any) { wake(nil) })
		r.config.WatchConfigs(cmw)
		c := newCluster(ctx, r.config)
		a.AdmissionController = admission(ctx, c)
		readiness.needs("the caches of Namespaces, ServiceAccounts and ClusterPullSecrets", c.ready)
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
			return ok && r.config.Load().Excludes(namespace.Name, nil)
		})
		return impl
	}
}

// newCluster takes what admission knows from the informers.
func newCluster(ctx context.Context, store *config.Store) cluster {
	logger := logging.FromContext(ctx)
	namespaces, accounts, clusterPullSecrets := namespaceinformer.Get(ctx), accountinformer.Get(ctx), clusterpullsecretinformer.Get(ctx)
	informers := []cache.SharedIndexInformer{namespaces.Informer(), accounts.Informer(), clusterPullSecrets.Informer()}
	for _, informer := range informers {
		if err := informer.SetTransform(trim.Object); err != nil {
			logger.Fatalw("Failed to trim what is cached", "error", err)
		}
	}
	granted := catalog.New(clusterPullSecrets.Lister())
	added, err := metrics.NewAdded()
	if err != nil {
		logger.Fatalw("Failed to make metrics", "error", err)
	}
	config := unlimited(injection.GetConfig(ctx))
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		logger.Fatalw("Failed to make a client", "error", err)
	}
	serving, err := servingclient.NewForConfig(config)
	if err != nil {
		logger.Fatalw("Failed to make a client of Knative Serving", "error", err)
	}
	return cluster{
		namespaces: namespaces.Lister(), accounts: accounts.Lister(),
		catalog: granted.Get,
		ready: func() bool {
			return !slices.ContainsFunc(informers, func(i cache.SharedIndexInformer) bool { return !i.HasSynced() })
		},
		kube: kube, serving: serving,
		config:  store,
		added:   added,
		lookups: newLookups(time.Now),
	}
}

// admissionReconciler is what knative.dev/pkg wants of one value: to answer
// requests, on every replica, and to keep the configuration, on one.
type admissionReconciler struct {
	*registration
	webhook.AdmissionController
	// Requests are answered also while the caches are cold: what is not known is
	// left to the reconciler.
	webhook.StatelessAdmissionImpl
}
