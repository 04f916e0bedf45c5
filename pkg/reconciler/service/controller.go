// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package service keeps the pull secrets of Knative Services that exist already
// at what is declared: after a Namespace or a Service opts in, and after an
// outage of the admission webhook.
package service

import (
	"context"
	"maps"

	"go.uber.org/zap"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	namespaceinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/namespace"
	accountinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/serviceaccount"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servinginformers "knative.dev/serving/pkg/client/informers/externalversions/serving/v1"
	servingclient "knative.dev/serving/pkg/client/injection/client"
	serviceinformer "knative.dev/serving/pkg/client/injection/informers/serving/v1/service"
	servicereconciler "knative.dev/serving/pkg/client/injection/reconciler/serving/v1/service"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/reconciler/service/resources"
	"pullsecrets.dev/pkg/trim"
)

// agentName is the source of the Events.
const agentName = "pullsecrets-controller"

// NewController wires the reconciler to what wakes it.
func NewController(ctx context.Context, cmw configmap.Watcher) *controller.Impl {
	logger := logging.FromContext(ctx)
	services := serviceinformer.Get(ctx)
	namespaces := namespaceinformer.Get(ctx)
	accounts := accountinformer.Get(ctx)
	user := whoAmI(ctx, kubeclient.Get(ctx))

	for _, informer := range []cache.SharedIndexInformer{services.Informer(), namespaces.Informer(), accounts.Informer()} {
		if err := informer.SetTransform(trim.Object); err != nil {
			logger.Fatalw("Failed to trim what is cached", "error", err)
		}
	}
	if err := services.Informer().AddIndexers(cache.Indexers{failedIndex: indexFailed(user), accountIndex: indexByAccount}); err != nil {
		logger.Fatalw("Failed to index Services", "error", err)
	}
	metrics, err := newMetrics()
	if err != nil {
		logger.Fatalw("Failed to make metrics", "error", err)
	}

	r := &Reconciler{
		serving:  servingclient.Get(ctx),
		cached:   fromCaches(namespaces.Lister(), accounts.Lister()),
		live:     fromAPIServer(kubeclient.Get(ctx)),
		failed:   failedIn(services.Informer().GetIndexer()),
		secrets:  newSecretTable(kubeclient.Get(ctx).CoreV1().RESTClient()),
		reporter: events.NewReporter(),
		metrics:  metrics,
	}
	impl := servicereconciler.NewImpl(ctx, r, func(impl *controller.Impl) controller.Options {
		// A changed setting can concern every Service. The slow lane lets
		// Services that somebody works on pass.
		store := config.NewStore(logger.Named("config-store"), func(string, any) {
			impl.GlobalResync(services.Informer())
		})
		store.WatchConfigs(cmw)
		// Status is Knative's: with status updates, the generated code would
		// default and rewrite it.
		return controller.Options{ConfigStore: store, AgentName: agentName, SkipStatusUpdates: true, DemoteFunc: r.demote}
	})
	r.backfill = newBackfill(impl.EnqueueKey)
	go r.backfill.run(ctx)

	w := wiring{impl: impl, services: services, user: user, logger: logger}
	w.watchServices()
	w.watchNamespaces(namespaces.Informer(), r.reporter)
	w.watchAccounts(accounts.Informer())
	return impl
}

// wiring is who is woken, and by what it is found.
type wiring struct {
	impl     *controller.Impl
	services servinginformers.ServiceInformer
	user     string
	logger   *zap.SugaredLogger
}

// watchServices: a Service wakes itself. One whose failed Revision has come up,
// or which is deleted, ends the pause of its namespace and wakes the others there.
func (w wiring) watchServices() {
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
			if was, ok := last(object).(*servingv1.Service); ok && resources.CausedFailure(was, w.user) {
				w.wakeNamespace(was.Namespace)
			}
		},
	})
}

// watchNamespaces: a Namespace wakes its Services when it is there, and when
// something changes by which it declares, is excluded or ends a pause.
func (w wiring) watchNamespaces(informer cache.SharedIndexInformer, reporter *events.Reporter) {
	w.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { w.wakeNamespace(object.(*corev1.Namespace).Name) },
		UpdateFunc: func(before, after any) {
			was, is := before.(*corev1.Namespace), after.(*corev1.Namespace)
			if !maps.Equal(was.Annotations, is.Annotations) || !maps.Equal(was.Labels, is.Labels) {
				w.wakeNamespace(is.Name)
			}
		},
		DeleteFunc: func(object any) {
			if namespace, ok := last(object).(*corev1.Namespace); ok {
				reporter.Forget(types.NamespacedName{Namespace: namespace.Name, Name: namespace.Name}, topicPaused)
			}
		},
	})
}

// watchAccounts: a ServiceAccount wakes the Services that run as it when its own
// pull secrets change, which Services may have to carry.
func (w wiring) watchAccounts(informer cache.SharedIndexInformer) {
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

func (w wiring) wakeNamespace(namespace string) {
	all, err := w.services.Lister().Services(namespace).List(labels.Everything())
	if err != nil {
		w.logger.Errorw("Failed to list the Services of a namespace", "namespace", namespace, "error", err)
	}
	for _, svc := range all {
		w.impl.Enqueue(svc)
	}
}

func (w wiring) wakeUsers(object any) {
	account := object.(*corev1.ServiceAccount)
	users, err := w.services.Informer().GetIndexer().ByIndex(accountIndex, account.Namespace+"/"+account.Name)
	if err != nil {
		w.logger.Errorw("Failed to list the Services of a ServiceAccount", "namespace", account.Namespace, "name", account.Name, "error", err)
	}
	for _, svc := range users {
		w.impl.Enqueue(svc)
	}
}

func (w wiring) handle(informer cache.SharedIndexInformer, handler cache.ResourceEventHandlerFuncs) {
	if _, err := informer.AddEventHandler(handler); err != nil {
		w.logger.Fatalw("Failed to watch", "error", err)
	}
}

// last is a deleted object as it was seen last.
func last(object any) any {
	if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		return gone.Obj
	}
	return object
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
		fallback := "system:serviceaccount:" + pullsecrets.SystemNamespace + ":controller"
		logging.FromContext(ctx).Warnw("Failed to ask for the own user name", "assumed", fallback, "error", err)
		return fallback
	}
	return review.Status.UserInfo.Username
}
