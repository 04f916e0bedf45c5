// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package service keeps the pull secrets of Knative Services that exist already
// at what is declared: after a Namespace or a Service opts in, and after an
// outage of the admission webhook.
package service

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"go.uber.org/zap"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
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
	"knative.dev/pkg/kmeta"
	"knative.dev/pkg/logging"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servinginformers "knative.dev/serving/pkg/client/informers/externalversions/serving/v1"
	servingclient "knative.dev/serving/pkg/client/injection/client"
	serviceinformer "knative.dev/serving/pkg/client/injection/informers/serving/v1/service"
	servicereconciler "knative.dev/serving/pkg/client/injection/reconciler/serving/v1/service"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/catalog"
	clusterpullsecretinformer "pullsecrets.dev/pkg/client/injection/informers/pullsecrets/v1alpha1/clusterpullsecret"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/knative"
	"pullsecrets.dev/pkg/memory"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/reconciler/service/resources"
	"pullsecrets.dev/pkg/trim"
)

// NewController wires the reconciler to what wakes it.
func NewController(settings *knative.Settings) injection.ControllerConstructor {
	return func(ctx context.Context, cmw configmap.Watcher) *controller.Impl {
		return newController(ctx, cmw, settings)
	}
}

func newController(ctx context.Context, cmw configmap.Watcher, settings *knative.Settings) *controller.Impl {
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
		logger.Fatalw("Failed to make the catalogue", "error", err)
	}

	secrets := newSecretViews(&remembered, secretTable(kubeclient.Get(ctx).CoreV1().RESTClient()))
	r := &Reconciler{
		serving:  servingclient.Get(ctx),
		cached:   fromCaches(namespaces.Lister(), accounts.Lister()),
		live:     fromAPIServer(kubeclient.Get(ctx)),
		failed:   failedIn(services.Informer().GetIndexer()),
		secrets:  secrets,
		catalog:  granted.Get,
		covers:   settings.Covers,
		memory:   &remembered,
		attempts: attempts{memory.NewStore[history](&remembered)},
		reporter: events.NewReporter(&remembered, nil),
		metrics:  metrics,
	}
	impl := servicereconciler.NewImpl(ctx, r, func(impl *controller.Impl) controller.Options {
		// A changed setting can concern every Service. The slow lane lets
		// Services that somebody works on pass.
		store := config.NewStore(logger.Named("config-store"), func(string, any) {
			impl.GlobalResync(services.Informer())
		})
		store.WatchConfigs(ctx, cmw)
		// Status is Knative's: with status updates, the generated code would
		// default and rewrite it.
		return controller.Options{ConfigStore: store, AgentName: events.ControllerAgentName, SkipStatusUpdates: true, DemoteFunc: remembered.Demote}
	})
	r.backfill = newBackfill(&remembered, impl.EnqueueKey)
	go r.backfill.run(ctx)

	w := waking{impl: impl, services: services, user: user, logger: logger}
	w.watchServices()
	w.watchNamespaces(namespaces.Informer(), r)
	w.watchAccounts(accounts.Informer())
	w.watchGrants(clusterPullSecrets.Informer(), namespaces.Lister())
	w.watchCopies(copies.Informer(), secrets.observe)
	settings.OnImages(func() { w.wakeAuto(namespaces.Lister()) })
	return impl
}

// prepare has the caches keep what is read, and Services be found by what enqueues them.
func prepare(services cache.SharedIndexInformer, user string, others ...cache.SharedIndexInformer) error {
	for _, informer := range append(others, services) {
		if err := informer.SetTransform(trim.Object); err != nil {
			return fmt.Errorf("failed to trim what is cached: %w", err)
		}
	}
	if err := services.AddIndexers(cache.Indexers{failedIndex: indexFailed(user), accountIndex: indexByAccount}); err != nil {
		return fmt.Errorf("failed to index Services: %w", err)
	}
	return nil
}

// waking is who is enqueued, and by what it is found.
type waking struct {
	impl     *controller.Impl
	services servinginformers.ServiceInformer
	user     string
	logger   *zap.SugaredLogger
}

// watchServices: a Service wakes itself. One whose failed Revision has come up,
// or which is deleted, ends the pause of its namespace and wakes the others there.
func (w waking) watchServices() {
	w.handle(w.services.Informer(), cache.ResourceEventHandlerFuncs{
		AddFunc: w.impl.Enqueue,
		UpdateFunc: func(before, after any) {
			w.impl.Enqueue(after)
			was, is := before.(*servingv1.Service), after.(*servingv1.Service)
			if resources.CausedFailure(was, w.user) && !resources.CausedFailure(is, w.user) {
				w.wakeNamespace(is.Namespace)
			}
		},
		DeleteFunc: func(object any) {
			w.impl.Enqueue(object)
			accessor, _ := kmeta.DeletionHandlingAccessor(object)
			if was, ok := accessor.(*servingv1.Service); ok && resources.CausedFailure(was, w.user) {
				w.wakeNamespace(was.Namespace)
			}
		},
	})
}

// watchNamespaces: a Namespace enqueues its Services when it is there, when something
// changes that they depend on, and with each write that can end a pause of its backfill.
func (w waking) watchNamespaces(informer cache.SharedIndexInformer, r *Reconciler) {
	w.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { w.wakeNamespace(object.(*corev1.Namespace).Name) },
		UpdateFunc: func(before, after any) {
			was, is := before.(*corev1.Namespace), after.(*corev1.Namespace)
			if r.concernsServices(was, is) {
				w.wakeNamespace(is.Name)
			}
		},
		DeleteFunc: func(object any) {
			accessor, _ := kmeta.DeletionHandlingAccessor(object)
			if namespace, ok := accessor.(*corev1.Namespace); ok {
				r.reporter.ForgetObject(types.NamespacedName{Namespace: namespace.Name, Name: namespace.Name}, topicPaused)
			}
		},
	})
}

// concernsServices reports whether a change of a Namespace can change what becomes of
// its Services.
func (r *Reconciler) concernsServices(was, is *corev1.Namespace) bool {
	if failed, err := r.failed(is.Name); err != nil || len(failed) > 0 {
		// Where a pause is possible, it ends with any later write of the Namespace.
		if !lastDeclared(was, grant.Grants{}).Equal(lastDeclared(is, grant.Grants{})) {
			return true
		}
	}
	offered, err := r.catalog()
	return err != nil || !resources.SameForServices(was, is, offered)
}

// watchAccounts: a ServiceAccount wakes the Services that run as it when its own
// pull secrets change, which Services may have to carry.
func (w waking) watchAccounts(informer cache.SharedIndexInformer) {
	w.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: w.wakeUsers,
		UpdateFunc: func(before, after any) {
			was, is := before.(*corev1.ServiceAccount), after.(*corev1.ServiceAccount)
			if !equality.Semantic.DeepEqual(was.ImagePullSecrets, is.ImagePullSecrets) || !maps.Equal(was.Annotations, is.Annotations) {
				w.wakeUsers(after)
			}
		},
	})
}

// watchGrants: a ClusterPullSecret wakes the Services of the Namespaces that it
// selects, or selected, when what it grants to Services changes. That may be every
// Service there is, so they take the slow lane.
func (w waking) watchGrants(informer cache.SharedIndexInformer, namespaces corev1listers.NamespaceLister) {
	wake := func(all ...*v1alpha1.ClusterPullSecret) {
		woken := sets.New[string]()
		for _, cps := range all {
			selector, err := metav1.LabelSelectorAsSelector(cps.Spec.NamespaceSelector)
			if err != nil {
				continue // It grants nothing.
			}
			selected, err := namespaces.List(selector)
			if err != nil {
				w.logger.Errorw("Failed to list the Namespaces of a ClusterPullSecret", "name", cps.Name, "error", err)
			}
			for _, namespace := range selected {
				woken.Insert(namespace.Name)
			}
		}
		for namespace := range woken {
			w.wake(namespace, w.impl.EnqueueSlow)
		}
	}
	w.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { wake(object.(*v1alpha1.ClusterPullSecret)) },
		UpdateFunc: func(before, after any) {
			was, is := before.(*v1alpha1.ClusterPullSecret), after.(*v1alpha1.ClusterPullSecret)
			if grantsServicesOtherwise(was, is) {
				wake(was, is)
			}
		},
		DeleteFunc: func(object any) {
			accessor, _ := kmeta.DeletionHandlingAccessor(object)
			if was, ok := accessor.(*v1alpha1.ClusterPullSecret); ok {
				wake(was)
			}
		},
	})
}

// grantsServicesOtherwise reports whether a ClusterPullSecret changed in what it grants to
// Services, or in whether a copy can be waited for: not in the counts of its status, which
// change with every copy.
func grantsServicesOtherwise(was, is *v1alpha1.ClusterPullSecret) bool {
	return !equality.Semantic.DeepEqual(was.Spec, is.Spec) || was.DeletionTimestamp.IsZero() != is.DeletionTimestamp.IsZero() ||
		!slices.Equal(was.Status.Registries, is.Status.Registries) || sourceLost(was) != sourceLost(is)
}

// watchCopies: a copy wakes the Services of its namespace when it has come, for
// which those wait that shall name it, and when it is gone.
func (w waking) watchCopies(informer cache.SharedIndexInformer, observe func(namespace, name string, secretType corev1.SecretType)) {
	w.handle(informer, cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(object any, isInInitialList bool) {
			// At the start every Service is looked at anyway.
			if secret, ok := object.(*corev1.Secret); ok && !isInInitialList {
				observe(secret.Namespace, secret.Name, secret.Type)
				w.wakeNamespace(secret.Namespace)
			}
		},
		DeleteFunc: func(object any) {
			accessor, _ := kmeta.DeletionHandlingAccessor(object)
			if secret, ok := accessor.(*corev1.Secret); ok {
				observe(secret.Namespace, secret.Name, "")
				w.wakeNamespace(secret.Namespace)
			}
		},
	})
}

// wakeAuto enqueues the Services whose list depends on their images, in the slow lane.
func (w waking) wakeAuto(namespaces corev1listers.NamespaceLister) {
	w.impl.FilteredGlobalResync(func(object any) bool {
		svc, ok := object.(*servingv1.Service)
		if !ok {
			return false
		}
		namespace, err := namespaces.Get(svc.Namespace)
		return err == nil && annotation.PolicyFor(annotation.ForNamespace(namespace.Annotations).Inject, annotation.ForService(svc.Annotations).Inject).Auto
	}, w.services.Informer())
}

func (w waking) wakeNamespace(namespace string) { w.wake(namespace, w.impl.Enqueue) }

func (w waking) wake(namespace string, enqueue func(any)) {
	all, err := w.services.Lister().Services(namespace).List(labels.Everything())
	if err != nil {
		w.logger.Errorw("Failed to list the Services of a namespace", "namespace", namespace, "error", err)
	}
	for _, svc := range all {
		enqueue(svc)
	}
}

func (w waking) wakeUsers(object any) {
	account := object.(*corev1.ServiceAccount)
	users, err := w.services.Informer().GetIndexer().ByIndex(accountIndex, account.Namespace+"/"+account.Name)
	if err != nil {
		w.logger.Errorw("Failed to list the Services of a ServiceAccount", "namespace", account.Namespace, "name", account.Name, "error", err)
	}
	for _, svc := range users {
		w.impl.Enqueue(svc)
	}
}

func (w waking) handle(informer cache.SharedIndexInformer, handler cache.ResourceEventHandler) {
	if _, err := informer.AddEventHandler(handler); err != nil {
		w.logger.Fatalw("Failed to watch", "error", err)
	}
}

func fromCaches(namespaces corev1listers.NamespaceLister, accounts corev1listers.ServiceAccountLister) sources {
	return sources{
		namespace: func(_ context.Context, name string) (*corev1.Namespace, error) { return namespaces.Get(name) },
		account: func(_ context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
			return accounts.ServiceAccounts(namespace).Get(name)
		},
	}
}

// accountIndex is an index of Services by the ServiceAccount they run as.
const accountIndex = "pullsecrets.dev/serviceaccount"

func indexByAccount(object any) ([]string, error) {
	svc, ok := object.(*servingv1.Service)
	if !ok {
		return nil, nil
	}
	return []string{svc.Namespace + "/" + merge.AccountName(svc.Spec.Template.Spec.ServiceAccountName)}, nil
}

// whoAmI asks the API server for the name under which it knows this process,
// and which Knative therefore notes on the Services that the process changes.
func whoAmI(ctx context.Context, client kubernetes.Interface) string {
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		logging.FromContext(ctx).Warnw("Failed to ask for the own user name", "assumed", pullsecrets.ControllerUser, "error", err)
		return pullsecrets.ControllerUser
	}
	return review.Status.UserInfo.Username
}
