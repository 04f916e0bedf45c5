// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package webhook adds pull secrets to Knative Services and ServiceAccounts at admission,
// so that the first Revision and the first Pod have them, and restores entries that other
// writers drop. The rules for lists are in pkg/merge, which the reconcilers use too. It
// also defaults and validates ClusterPullSecrets and validates the ConfigMaps of the
// controller and the webhook, by means of knative.dev/pkg.
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
	// injectName is the name of the MutatingWebhookConfiguration for Services. The API
	// server calls webhooks in the order of their names, and this one must precede
	// Knative's webhook.serving.knative.dev. Knative records the user who changed a spec,
	// and rejects a request with a new record if the spec is unchanged. If a dropped entry
	// were restored only afterwards, the request would be rejected.
	injectName = "inject.pullsecrets.dev"

	// bindName is the name of the MutatingWebhookConfiguration for ServiceAccounts.
	bindName = "bind.pullsecrets.dev"

	// servicesPath and accountsPath are the paths of the admission of Knative Services and
	// ServiceAccounts.
	servicesPath = "/services"
	accountsPath = "/serviceaccounts"
)

// NewServiceController returns a constructor of the admission of Knative Services.
func NewServiceController(readiness *Readiness, profile config.Profile) injection.ControllerConstructor {
	return newController(readiness, profile, injectName, "ServiceWebhook", func(ctx context.Context, c cluster) webhook.AdmissionController {
		logger := logging.FromContext(ctx)
		settings, log := knative.NewSettings(), logger.Named("knative-settings")
		if err := settings.Follow(ctx, c.kube, log, knative.Defaults, knative.Features, knative.Deployment); err != nil {
			logger.Fatalw("Failed to watch Knative's settings", "error", err)
		}
		c.template, c.covers = settings.Template, settings.Covers
		readiness.require("Knative's settings", settings.Known)
		return &serviceAdmission{c}
	})
}

// NewAccountController returns a constructor of the admission of ServiceAccounts.
func NewAccountController(readiness *Readiness, profile config.Profile) injection.ControllerConstructor {
	return newController(readiness, profile, bindName, "ServiceAccountWebhook", func(_ context.Context, c cluster) webhook.AdmissionController { return &accountAdmission{c} })
}

func newController(readiness *Readiness, profile config.Profile, name, queueName string, admission func(context.Context, cluster) webhook.AdmissionController) injection.ControllerConstructor {
	return func(ctx context.Context, cmw configmap.Watcher) *controller.Impl {
		logger := logging.FromContext(ctx)
		store := config.NewStore(logger.Named("config-store"))
		store.WatchConfigs(ctx, cmw)
		c := newCluster(ctx, store, profile)
		readiness.require("the caches of Namespaces, ServiceAccounts and ClusterPullSecrets", c.ready)

		a := &admissionReconciler{AdmissionController: admission(ctx, c)}
		impl := controller.NewContext(ctx, a, controller.ControllerOptions{WorkQueueName: queueName, Logger: logger.Named(queueName)})
		a.registration = register(ctx, name, mutatingConfigurations(ctx))
		enqueue := func(any) { impl.EnqueueKey(a.key) }
		// Changes of the configuration and of the certificate can require another bundle.
		watch(ctx, mutatinginformer.Get(ctx).Informer(), controller.FilterWithName(name), enqueue)
		watch(ctx, secretinformer.Get(ctx).Informer(), controller.FilterWithNameAndNamespace(system.Namespace(), a.secretName), enqueue)
		return impl
	}
}

// NewCertificateController returns a constructor of the controller that manages the
// certificate.
func NewCertificateController(readiness *Readiness, profile config.Profile) injection.ControllerConstructor {
	return func(ctx context.Context, _ configmap.Watcher) *controller.Impl {
		const queueName = "WebhookCertificates"
		options, secrets := webhook.GetOptions(ctx), secretinformer.Get(ctx)
		key := types.NamespacedName{Namespace: system.Namespace(), Name: options.SecretName}
		c := &certificate{
			LeaderAwareFuncs: promoted(key), key: key,
			kube: kubeclient.Get(ctx), secrets: secrets.Lister(),
			published: published(profile, mutatingConfigurations(ctx), validatingConfigurations(ctx)),
			create: func(ctx context.Context, notAfter time.Time) (key, cert, ca []byte, err error) {
				return certresources.CreateCerts(ctx, options.ServiceName, system.Namespace(), notAfter)
			},
			now: time.Now,
		}
		readiness.require("the certificate", func() bool {
			secret, err := c.secrets.Secrets(key.Namespace).Get(key.Name)
			return err == nil && len(bundle(secret.Data)) > 0
		})
		impl := controller.NewContext(ctx, c, controller.ControllerOptions{WorkQueueName: queueName, Logger: logging.FromContext(ctx).Named(queueName)})
		// The event of each step enqueues the next one.
		watch(ctx, secrets.Informer(), controller.FilterWithNameAndNamespace(key.Namespace, key.Name), func(any) { impl.EnqueueKey(key) })
		return impl
	}
}

// kept returns the webhook configurations that the webhook keeps in a profile. One of another
// profile that was left has no controller, so nobody writes its authorities.
func kept(profile config.Profile, mutating, validating configurations) map[string]configurations {
	all := map[string]configurations{injectName: mutating, bindName: mutating, configName: validating}
	if profile.UsesSecrets() {
		all[defaultingName], all[validationName] = mutating, validating
	}
	return all
}

// published returns a function that reports whether all webhook configurations that the
// webhook keeps trust an authority. One that an operator deleted does not count.
func published(profile config.Profile, mutating, validating configurations) func(authority []byte) bool {
	all := kept(profile, mutating, validating)
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

// register returns the registration of a webhook configuration.
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

// newCluster returns the cluster that the informers of ctx show.
func newCluster(ctx context.Context, store *config.Store, profile config.Profile) cluster {
	logger := logging.FromContext(ctx)
	namespaces, accounts, clusterPullSecrets := namespaceinformer.Get(ctx), accountinformer.Get(ctx), clusterpullsecretinformer.Get(ctx)
	informers := []cache.SharedIndexInformer{namespaces.Informer(), accounts.Informer(), clusterPullSecrets.Informer()}
	for _, informer := range informers {
		if err := informer.SetTransform(trim.Object); err != nil {
			logger.Fatalw("Failed to set a transform", "error", err)
		}
	}
	granted, err := catalog.Of(clusterPullSecrets.Informer(), clusterPullSecrets.Lister())
	if err != nil {
		logger.Fatalw("Failed to create the catalog of ClusterPullSecrets", "error", err)
	}
	granted.Unknown = !profile.UsesSecrets()
	added, err := metrics.NewAdded()
	if err != nil {
		logger.Fatalw("Failed to create metrics", "error", err)
	}
	config := unlimited(injection.GetConfig(ctx))
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		logger.Fatalw("Failed to create a client", "error", err)
	}
	serving, err := servingclient.NewForConfig(config)
	if err != nil {
		logger.Fatalw("Failed to create a client of Knative Serving", "error", err)
	}
	return cluster{
		namespaces: namespaces.Lister(), accounts: accounts.Lister(),
		catalog: granted.Get,
		ready: func() bool {
			return !slices.ContainsFunc(informers, func(i cache.SharedIndexInformer) bool { return !i.HasSynced() })
		},
		kube: kube, serving: serving,
		config:    store,
		profile:   profile,
		added:     added,
		liveReads: newLiveReads(time.Now),
	}
}

// admissionReconciler combines what knative.dev/pkg expects in one value: the admission
// of requests, on every replica, and the registration, on the leader.
type admissionReconciler struct {
	*registration
	webhook.AdmissionController
	// Requests are answered before the caches have synced. What is not known is left to
	// the reconciler.
	webhook.StatelessAdmissionImpl
}
