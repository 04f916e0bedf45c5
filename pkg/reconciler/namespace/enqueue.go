// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"maps"
	"slices"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/kmeta"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/catalog"
	"pullsecrets.dev/pkg/source"
)

// enqueuer decides which Namespaces an event enqueues.
type enqueuer struct {
	impl       *controller.Impl
	namespaces corev1listers.NamespaceLister
	logger     *zap.SugaredLogger
}

// watchNamespaces enqueues a Namespace that changed.
func (e enqueuer) watchNamespaces(informer cache.SharedIndexInformer) {
	e.handle(informer, controller.HandleAll(e.impl.Enqueue))
}

// watchCopies enqueues the Namespace of a copy that changed, unless the event only shows
// the reconciler's own write. A deletion always enqueues it. observe reports whether an
// event requires a reconciliation.
func (e enqueuer) watchCopies(informer cache.SharedIndexInformer, observe func(any) bool) {
	enqueue := func(object any) {
		if observe(object) {
			e.enqueueNamespaceOf(object)
		}
	}
	e.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc:    enqueue,
		UpdateFunc: func(_, after any) { enqueue(after) },
		DeleteFunc: func(object any) {
			observe(object)
			e.enqueueNamespaceOf(object)
		},
	})
}

// watchGrants enqueues the Namespaces that a ClusterPullSecret selects, or selected before,
// when what it grants changes. prune drops the state of a ClusterPullSecret that was
// deleted, and of scopes that are no longer used.
func (e enqueuer) watchGrants(informer cache.SharedIndexInformer, prune func()) {
	e.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { e.enqueueSelected(object.(*v1alpha1.ClusterPullSecret)) },
		UpdateFunc: func(before, after any) {
			was, is := before.(*v1alpha1.ClusterPullSecret), after.(*v1alpha1.ClusterPullSecret)
			if source.ScopeOf(was) != source.ScopeOf(is) {
				prune()
			}
			if grantChanged(was, is) {
				e.enqueueSelected(was)
				e.enqueueSelected(is)
			}
		},
		DeleteFunc: func(object any) {
			prune()
			accessor, _ := kmeta.DeletionHandlingAccessor(object)
			if cps, ok := accessor.(*v1alpha1.ClusterPullSecret); ok {
				e.enqueueSelected(cps)
			}
		},
	})
}

// watchServices enqueues the Namespace of a Service that is new, that changed in the copies
// that it asks for or refers to, or that was deleted.
func (e enqueuer) watchServices(informer cache.SharedIndexInformer) {
	e.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: e.enqueueNamespaceOf,
		UpdateFunc: func(before, after any) {
			if demandChanged(before.(*servingv1.Service), after.(*servingv1.Service)) {
				e.enqueueNamespaceOf(after)
			}
		},
		DeleteFunc: e.enqueueNamespaceOf,
	})
}

// watchAccounts enqueues the Namespace of a ServiceAccount when its list, the field managers
// of the list, the ledger, or another of our keys changes. A deletion enqueues it too,
// because a copy may be unreferenced then. forget drops the state of the ServiceAccount.
func (e enqueuer) watchAccounts(informer cache.SharedIndexInformer, forget func(any)) {
	e.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: e.enqueueNamespaceOf,
		UpdateFunc: func(before, after any) {
			was, is := before.(*corev1.ServiceAccount), after.(*corev1.ServiceAccount)
			if !equality.Semantic.DeepEqual(was.ImagePullSecrets, is.ImagePullSecrets) || !maps.Equal(was.Annotations, is.Annotations) ||
				!maps.Equal(was.Labels, is.Labels) || !equality.Semantic.DeepEqual(was.ManagedFields, is.ManagedFields) {
				e.enqueueNamespaceOf(after)
			}
		},
		DeleteFunc: func(object any) {
			forget(object)
			e.enqueueNamespaceOf(object)
		},
	})
}

// enqueueAuto enqueues the Namespaces of Services with inject: auto, which need copies for
// the images of their Services, in the slow lane. A Namespace that sets inject: auto
// itself needs all copies regardless of images.
func (e enqueuer) enqueueAuto(services servinglisters.ServiceLister) {
	all, _ := services.List(labels.Everything()) // A cache does not fail.
	for _, svc := range all {
		if annotation.ForService(svc.Annotations).Inject == annotation.Auto {
			e.impl.EnqueueSlowKey(types.NamespacedName{Name: svc.Namespace})
		}
	}
}

// enqueueNamespaceOf enqueues the Namespace of an object.
func (e enqueuer) enqueueNamespaceOf(object any) {
	if o, err := kmeta.DeletionHandlingAccessor(object); err == nil {
		e.impl.EnqueueKey(types.NamespacedName{Name: o.GetNamespace()})
	}
}

// enqueueSelected enqueues the Namespaces that a ClusterPullSecret selects.
func (e enqueuer) enqueueSelected(cps *v1alpha1.ClusterPullSecret) {
	selector, err := metav1.LabelSelectorAsSelector(cps.Spec.NamespaceSelector)
	if err != nil {
		return // It grants nothing.
	}
	all, _ := e.namespaces.List(selector) // A cache does not fail.
	for _, namespace := range all {
		e.impl.EnqueueKey(types.NamespacedName{Name: namespace.Name})
	}
}

func (e enqueuer) handle(informer cache.SharedIndexInformer, handler cache.ResourceEventHandler) {
	if _, err := informer.AddEventHandler(handler); err != nil {
		e.logger.Fatalw("Failed to watch", "error", err)
	}
}

// grantChanged reports whether a ClusterPullSecret changed in what it grants, or in the
// source that its copies are made from. The counts in its status change with every copy
// and do not matter.
func grantChanged(was, is *v1alpha1.ClusterPullSecret) bool {
	return !equality.Semantic.DeepEqual(was.Spec, is.Spec) || was.DeletionTimestamp.IsZero() != is.DeletionTimestamp.IsZero() ||
		sourceReady(was) != sourceReady(is) || !slices.Equal(was.Status.Registries, is.Status.Registries) || versionOf(was) != versionOf(is)
}

// demandChanged reports whether a Service changed in the copies that it asks for or refers
// to.
func demandChanged(was, is *servingv1.Service) bool {
	return !annotation.Same(was.Annotations, is.Annotations) ||
		!slices.Equal(catalog.Images(was), catalog.Images(is)) ||
		!equality.Semantic.DeepEqual(was.Spec.Template.Spec.ImagePullSecrets, is.Spec.Template.Spec.ImagePullSecrets)
}
