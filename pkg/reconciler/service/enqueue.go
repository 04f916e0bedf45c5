// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"maps"
	"slices"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/kmeta"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servinginformers "knative.dev/serving/pkg/client/informers/externalversions/serving/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/reconciler/service/resources"
	"pullsecrets.dev/pkg/rollout"
)

// enqueuer decides which Services an event enqueues.
type enqueuer struct {
	impl     *controller.Impl
	services servinginformers.ServiceInformer
	user     string
	logger   *zap.SugaredLogger
}

// watchServices enqueues a Service that changed. A Service whose failed Revision becomes
// Ready, or which is deleted, can end the pause of its namespace, so the other Services
// there are enqueued too.
func (e enqueuer) watchServices() {
	e.handle(e.services.Informer(), cache.ResourceEventHandlerFuncs{
		AddFunc: e.impl.Enqueue,
		UpdateFunc: func(before, after any) {
			e.impl.Enqueue(after)
			was, is := before.(*servingv1.Service), after.(*servingv1.Service)
			if rollout.CausedFailure(was, e.user) && !rollout.CausedFailure(is, e.user) {
				e.enqueueNamespace(is.Namespace)
			}
		},
		DeleteFunc: func(object any) {
			e.impl.Enqueue(object)
			accessor, _ := kmeta.DeletionHandlingAccessor(object)
			if was, ok := accessor.(*servingv1.Service); ok && rollout.CausedFailure(was, e.user) {
				e.enqueueNamespace(was.Namespace)
			}
		},
	})
}

// watchNamespaces enqueues the Services of a Namespace that is new, that changed in
// something they depend on, or whose backfill may resume with this write.
func (e enqueuer) watchNamespaces(informer cache.SharedIndexInformer, r *Reconciler) {
	e.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { e.enqueueNamespace(object.(*corev1.Namespace).Name) },
		UpdateFunc: func(before, after any) {
			was, is := before.(*corev1.Namespace), after.(*corev1.Namespace)
			if r.concernsServices(was, is) {
				e.enqueueNamespace(is.Name)
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

// concernsServices reports whether a change of a Namespace can change the outcome for its
// Services.
func (r *Reconciler) concernsServices(was, is *corev1.Namespace) bool {
	if failed, err := r.failed(is.Name); err != nil || len(failed) > 0 {
		// Any later write of the Namespace ends a pause.
		if !lastDeclared(was, grant.Grants{}).Equal(lastDeclared(is, grant.Grants{})) {
			return true
		}
	}
	offered, err := r.catalog()
	return err != nil || !resources.SameForServices(was, is, offered)
}

// watchAccounts enqueues the Services that run as a ServiceAccount when its pull secrets
// change, because Services may have to carry them.
func (e enqueuer) watchAccounts(informer cache.SharedIndexInformer) {
	e.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: e.enqueueUsers,
		UpdateFunc: func(before, after any) {
			was, is := before.(*corev1.ServiceAccount), after.(*corev1.ServiceAccount)
			if !equality.Semantic.DeepEqual(was.ImagePullSecrets, is.ImagePullSecrets) || !maps.Equal(was.Annotations, is.Annotations) {
				e.enqueueUsers(after)
			}
		},
	})
}

// watchGrants enqueues the Services of the Namespaces that a ClusterPullSecret selects, or
// selected before, when what it grants to Services changes. That can be every Service in
// the cluster, so they take the slow lane.
func (e enqueuer) watchGrants(informer cache.SharedIndexInformer, namespaces corev1listers.NamespaceLister) {
	enqueueSelected := func(all ...*v1alpha1.ClusterPullSecret) {
		selectedNames := sets.New[string]()
		for _, cps := range all {
			selector, err := metav1.LabelSelectorAsSelector(cps.Spec.NamespaceSelector)
			if err != nil {
				continue // It grants nothing.
			}
			selected, err := namespaces.List(selector)
			if err != nil {
				e.logger.Errorw("Failed to list the Namespaces of a ClusterPullSecret", "name", cps.Name, "error", err)
			}
			for _, namespace := range selected {
				selectedNames.Insert(namespace.Name)
			}
		}
		for namespace := range selectedNames {
			e.enqueue(namespace, e.impl.EnqueueSlow)
		}
	}
	e.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { enqueueSelected(object.(*v1alpha1.ClusterPullSecret)) },
		UpdateFunc: func(before, after any) {
			was, is := before.(*v1alpha1.ClusterPullSecret), after.(*v1alpha1.ClusterPullSecret)
			if grantChanged(was, is) {
				enqueueSelected(was, is)
			}
		},
		DeleteFunc: func(object any) {
			accessor, _ := kmeta.DeletionHandlingAccessor(object)
			if was, ok := accessor.(*v1alpha1.ClusterPullSecret); ok {
				enqueueSelected(was)
			}
		},
	})
}

// grantChanged reports whether a ClusterPullSecret changed in what it grants to Services,
// or in whether its copies can be created. The counts in its status change with every copy
// and do not matter.
func grantChanged(was, is *v1alpha1.ClusterPullSecret) bool {
	return !equality.Semantic.DeepEqual(was.Spec, is.Spec) || was.DeletionTimestamp.IsZero() != is.DeletionTimestamp.IsZero() ||
		!slices.Equal(was.Status.Registries, is.Status.Registries) || sourceLost(was) != sourceLost(is)
}

// watchCopies enqueues the Services of a namespace when a copy is created there, which
// Services may be waiting for, and when one is deleted.
func (e enqueuer) watchCopies(informer cache.SharedIndexInformer, observe func(namespace, name string, secretType corev1.SecretType)) {
	e.handle(informer, cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(object any, isInInitialList bool) {
			// When the informer starts, every Service is reconciled anyway.
			if secret, ok := object.(*corev1.Secret); ok && !isInInitialList {
				observe(secret.Namespace, secret.Name, secret.Type)
				e.enqueueNamespace(secret.Namespace)
			}
		},
		DeleteFunc: func(object any) {
			accessor, _ := kmeta.DeletionHandlingAccessor(object)
			if secret, ok := accessor.(*corev1.Secret); ok {
				observe(secret.Namespace, secret.Name, "")
				e.enqueueNamespace(secret.Namespace)
			}
		},
	})
}

// enqueueAuto enqueues the Services with inject: auto, whose list depends on their
// images, in the slow lane.
func (e enqueuer) enqueueAuto(namespaces corev1listers.NamespaceLister) {
	e.impl.FilteredGlobalResync(func(object any) bool {
		svc, ok := object.(*servingv1.Service)
		if !ok {
			return false
		}
		namespace, err := namespaces.Get(svc.Namespace)
		return err == nil && annotation.PolicyFor(annotation.ForNamespace(namespace.Annotations).Inject, annotation.ForService(svc.Annotations).Inject).Auto
	}, e.services.Informer())
}

func (e enqueuer) enqueueNamespace(namespace string) { e.enqueue(namespace, e.impl.Enqueue) }

func (e enqueuer) enqueue(namespace string, enqueue func(any)) {
	all, err := e.services.Lister().Services(namespace).List(labels.Everything())
	if err != nil {
		e.logger.Errorw("Failed to list the Services of a namespace", "namespace", namespace, "error", err)
	}
	for _, svc := range all {
		enqueue(svc)
	}
}

func (e enqueuer) enqueueUsers(object any) {
	account := object.(*corev1.ServiceAccount)
	users, err := e.services.Informer().GetIndexer().ByIndex(accountIndex, account.Namespace+"/"+account.Name)
	if err != nil {
		e.logger.Errorw("Failed to list the Services of a ServiceAccount", "namespace", account.Namespace, "name", account.Name, "error", err)
	}
	for _, svc := range users {
		e.impl.Enqueue(svc)
	}
}

func (e enqueuer) handle(informer cache.SharedIndexInformer, handler cache.ResourceEventHandler) {
	if _, err := informer.AddEventHandler(handler); err != nil {
		e.logger.Fatalw("Failed to watch", "error", err)
	}
}
