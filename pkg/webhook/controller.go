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

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	mutatinginformer "knative.dev/pkg/client/injection/kube/informers/admissionregistration/v1/mutatingwebhookconfiguration"
	validatinginformer "knative.dev/pkg/client/injection/kube/informers/admissionregistration/v1/validatingwebhookconfiguration"
	namespaceinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/namespace"
	accountinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/serviceaccount"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	secretinformer "knative.dev/pkg/injection/clients/namespacedkube/informers/core/v1/secret"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/system"
	"knative.dev/pkg/webhook"
	certresources "knative.dev/pkg/webhook/certificates/resources"
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
		settings, log := knative.NewSettings(), logger.Named("knative-settings")
		if err := settings.Follow(ctx, c.kube, log, knative.Defaults, knative.Features, knative.Deployment); err != nil {
			logger.Fatalw("Failed to follow Knative's settings", "error", err)
		}
		c.template, c.covers = settings.Template, settings.Covers
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
		store := config.NewStore(logger.Named("config-store"))
		store.WatchConfigs(ctx, cmw)
		c := newCluster(ctx, store)
		readiness.needs("the caches of Namespaces, ServiceAccounts and ClusterPullSecrets", c.ready)

		a := &admissionReconciler{AdmissionController: admission(ctx, c)}
		impl := controller.NewContext(ctx, a, controller.ControllerOptions{WorkQueueName: queueName, Logger: logger.Named(queueName)})
		a.registration = register(ctx, name, mutatingConfigurations(ctx))
		enqueue := func(any) { impl.EnqueueKey(a.key) }
		// The bundle is written when the configuration changes, and when the
		// certificate does.
		watch(ctx, mutatinginformer.Get(ctx).Informer(), controller.FilterWithName(name), enqueue)
		watch(ctx, secretinformer.Get(ctx).Informer(), controller.FilterWithNameAndNamespace(system.Namespace(), a.secretName), enqueue)
		return impl
	}
}

// NewCertificateController wires what keeps the certificate.
func NewCertificateController(readiness *Readiness) injection.ControllerConstructor {
	return func(ctx context.Context, _ configmap.Watcher) *controller.Impl {
		const queueName = "WebhookCertificates"
		options, secrets := webhook.GetOptions(ctx), secretinformer.Get(ctx)
		key := types.NamespacedName{Namespace: system.Namespace(), Name: options.SecretName}
		c := &certificate{
			LeaderAwareFuncs: promoted(key), key: key,
			kube: kubeclient.Get(ctx), secrets: secrets.Lister(),
			published: published(mutatingConfigurations(ctx), validatingConfigurations(ctx)),
			create: func(ctx context.Context, notAfter time.Time) (key, cert, ca []byte, err error) {
				return certresources.CreateCerts(ctx, options.ServiceName, system.Namespace(), notAfter)
			},
			now: time.Now,
		}
		readiness.needs("the certificate", func() bool {
			secret, err := c.secrets.Secrets(key.Namespace).Get(key.Name)
			return err == nil && len(bundle(secret.Data)) > 0
		})
		impl := controller.NewContext(ctx, c, controller.ControllerOptions{WorkQueueName: queueName, Logger: logging.FromContext(ctx).Named(queueName)})
		// The next step is decided when the last one was written, and when its time
		// has come.
		watch(ctx, secrets.Informer(), controller.FilterWithNameAndNamespace(key.Namespace, key.Name), func(any) { impl.EnqueueKey(key) })
		return impl
	}
}

// published reports whether all of our configurations that are there trust an
// authority. One that an operator deleted is not waited for.
func published(mutating, validating configurations) func(authority []byte) bool {
	all := map[string]configurations{
		InjectName: mutating, bindName: mutating, defaultingName: mutating,
		validationName: validating, configName: validating,
	}
	return func(authority []byte) bool {
		for name, kind := range all {
			c, err := kind.get(name)
			if apierrors.IsNotFound(err) {
				continue
			}
			if err != nil || !c.trusts(authority) {
				return false
			}
		}
		return true
	}
}

func mutatingConfigurations(ctx context.Context) configurations {
	return mutating{kubeclient.Get(ctx), mutatinginformer.Get(ctx).Lister()}
}

func validatingConfigurations(ctx context.Context) configurations {
	return validating{kubeclient.Get(ctx), validatinginformer.Get(ctx).Lister()}
}

// register makes the registration of a configuration.
func register(ctx context.Context, name string, kind configurations) *registration {
	r := newRegistration(name, webhook.GetOptions(ctx).SecretName)
	r.secrets, r.configurations = secretinformer.Get(ctx).Lister(), kind
	return r
}

func watch(ctx context.Context, informer cache.SharedIndexInformer, filter func(any) bool, enqueue func(any)) {
	handler := cache.FilteringResourceEventHandler{FilterFunc: filter, Handler: controller.HandleAll(enqueue)}
	if _, err := informer.AddEventHandler(handler); err != nil {
		logging.FromContext(ctx).Fatalw("Failed to watch", "error", err)
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
	granted, err := catalog.Of(clusterPullSecrets.Informer(), clusterPullSecrets.Lister())
	if err != nil {
		logger.Fatalw("Failed to make the catalogue", "error", err)
	}
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
// requests, on every replica, and to keep the configuration's bundle, on one.
type admissionReconciler struct {
	*registration
	webhook.AdmissionController
	// Requests are answered also while the caches are cold: what is not known is
	// left to the reconciler.
	webhook.StatelessAdmissionImpl
}
