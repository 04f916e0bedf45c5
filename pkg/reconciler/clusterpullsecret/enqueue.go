// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"maps"
	"slices"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/kmeta"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/catalog"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/source"
)

// enqueuer decides which ClusterPullSecrets an event enqueues, and which namespaces are
// counted again.
type enqueuer struct {
	impl       *controller.Impl
	lister     lister
	namespaces corev1listers.NamespaceLister
	catalog    func() (grant.Catalog, error)
	tallies    tallies
	logger     *zap.SugaredLogger
}

func (e enqueuer) handle(informer cache.SharedIndexInformer, handler cache.ResourceEventHandler) {
	if _, err := informer.AddEventHandler(handler); err != nil {
		e.logger.Fatalw("Failed to watch", "error", err)
	}
}

// clusterPullSecretHandler enqueues a ClusterPullSecret that changed. A change of the
// counts in its status is this reconciler's own write. While copies are distributed, the
// counts differ at each reconciliation, so such a change waits. Otherwise each write
// would cause the next one.
func (e enqueuer) clusterPullSecretHandler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: e.impl.Enqueue,
		UpdateFunc: func(before, after any) {
			was, is := before.(*v1alpha1.ClusterPullSecret), after.(*v1alpha1.ClusterPullSecret)
			if onlyCountsChanged(was, is) {
				e.enqueueSoon(is.Name)
			} else {
				e.impl.Enqueue(is)
			}
		},
		DeleteFunc: e.impl.Enqueue,
	}
}

// watchGrants enqueues the ClusterPullSecrets that share a secretName with one that
// changed, because only one of them serves a namespace. keepSources drops the state of
// sources and scopes that are no longer used.
func (e enqueuer) watchGrants(informer cache.SharedIndexInformer, keepSources func()) {
	e.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { e.enqueueSharing(object.(*v1alpha1.ClusterPullSecret)) },
		UpdateFunc: func(before, after any) {
			was, is := before.(*v1alpha1.ClusterPullSecret), after.(*v1alpha1.ClusterPullSecret)
			if source.ScopeOf(was) != source.ScopeOf(is) {
				keepSources()
			}
			if was.Generation != is.Generation || was.UID != is.UID {
				e.enqueueSharing(was, is)
			} else if !slices.Equal(was.Status.Registries, is.Status.Registries) {
				e.tallies.forget(is.Name) // It may cover other images.
				e.enqueueSoon(is.Name)
			}
		},
		DeleteFunc: func(object any) {
			keepSources()
			accessor, _ := kmeta.DeletionHandlingAccessor(object)
			if was, ok := accessor.(*v1alpha1.ClusterPullSecret); ok {
				e.enqueueSharing(was)
			}
		},
	})
}

// watchCopies enqueues the ClusterPullSecret that a copy belongs to, or belonged to.
func (e enqueuer) watchCopies(informer cache.SharedIndexInformer) {
	e.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: e.enqueueOwner,
		UpdateFunc: func(before, after any) {
			e.enqueueOwner(before)
			e.enqueueOwner(after)
		},
		DeleteFunc: e.enqueueOwner,
	})
}

// watchNamespaces enqueues the ClusterPullSecrets that select a Namespace, or selected it
// before, when its labels or annotations change. They determine what is granted to it and
// what it asks for.
func (e enqueuer) watchNamespaces(informer cache.SharedIndexInformer) {
	enqueue := func(object any) {
		accessor, _ := kmeta.DeletionHandlingAccessor(object)
		if namespace, ok := accessor.(*corev1.Namespace); ok {
			e.enqueueSelecting(namespace)
		}
	}
	e.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: enqueue,
		UpdateFunc: func(before, after any) {
			was, is := before.(*corev1.Namespace), after.(*corev1.Namespace)
			if namespaceChanged(was, is) {
				e.enqueueSelecting(was, is)
			}
		},
		DeleteFunc: enqueue,
	})
}

// watchServices enqueues the ClusterPullSecrets that select the Namespace of a Service,
// when the Service changes in the copies that it asks for.
func (e enqueuer) watchServices(informer cache.SharedIndexInformer) {
	enqueue := func(object any) {
		svc, err := kmeta.DeletionHandlingAccessor(object)
		if err != nil {
			return
		}
		// If the Namespace is not cached yet, its own event enqueues them.
		if namespace, err := e.namespaces.Get(svc.GetNamespace()); err == nil {
			e.enqueueSelecting(namespace)
		}
	}
	e.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: enqueue,
		UpdateFunc: func(before, after any) {
			if demandChanged(before.(*servingv1.Service), after.(*servingv1.Service)) {
				enqueue(after)
			}
		},
		DeleteFunc: enqueue,
	})
}

// enqueueSoon enqueues a ClusterPullSecret after countDelay.
func (e enqueuer) enqueueSoon(name string) {
	e.impl.EnqueueKeyAfter(types.NamespacedName{Name: name}, countDelay)
}

// enqueueSelecting enqueues the ClusterPullSecrets that select one of the versions of a
// Namespace, and marks the Namespace to be counted again for them. No others depend on
// it.
func (e enqueuer) enqueueSelecting(versions ...*corev1.Namespace) {
	offered, err := e.catalog()
	if err != nil {
		e.logger.Errorw("Failed to list the ClusterPullSecrets that select a Namespace", "namespace", versions[0].Name, "error", err)
	}
	names := sets.New[string]()
	for _, namespace := range versions {
		granted := offered.For(namespace.Labels)
		for _, cps := range granted.Serving {
			names.Insert(cps.Name)
		}
		names.Insert(slices.Collect(maps.Keys(granted.Beaten))...)
	}
	for name := range names {
		e.tallies.markChanged(name, versions[0].Name)
		e.enqueueSoon(name)
	}
}

// enqueueSharing enqueues changed ClusterPullSecrets and those that share a secretName
// with them. All their namespaces are counted again.
func (e enqueuer) enqueueSharing(changed ...*v1alpha1.ClusterPullSecret) {
	secrets := sets.New[string]()
	for _, cps := range changed {
		secrets.Insert(grant.SecretName(cps))
		e.tallies.forget(cps.Name)
	}
	for _, cps := range list(e.lister) {
		if secrets.Has(grant.SecretName(cps)) {
			e.tallies.forget(cps.Name)
			e.enqueueSoon(cps.Name)
		}
	}
}

// enqueueOwner enqueues the ClusterPullSecret that a Secret is a copy of.
func (e enqueuer) enqueueOwner(object any) {
	accessor, _ := kmeta.DeletionHandlingAccessor(object)
	if secret, ok := accessor.(*corev1.Secret); ok {
		e.tallies.markChanged(grant.Owner(secret), secret.Namespace)
		e.enqueueSoon(grant.Owner(secret))
	}
}

// enqueueDependents enqueues the ClusterPullSecrets of a source.
func (e enqueuer) enqueueDependents(ref v1alpha1.SecretReference) {
	for _, cps := range list(e.lister) {
		if cps.Spec.SecretRef == ref {
			e.impl.Enqueue(cps)
		}
	}
}

// onlyCountsChanged reports whether two versions of a ClusterPullSecret differ only in
// what its status reports about copies.
func onlyCountsChanged(was, is *v1alpha1.ClusterPullSecret) bool {
	return was.ResourceVersion != is.ResourceVersion && was.Generation == is.Generation &&
		was.DeletionTimestamp.IsZero() == is.DeletionTimestamp.IsZero() && slices.Equal(was.Finalizers, is.Finalizers) &&
		equality.Semantic.DeepEqual(was.Status.Source, is.Status.Source) && slices.Equal(was.Status.Registries, is.Status.Registries) &&
		equality.Semantic.DeepEqual(sourceCondition(was), sourceCondition(is))
}

func sourceCondition(cps *v1alpha1.ClusterPullSecret) *apis.Condition {
	return cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady)
}

// namespaceChanged reports whether a Namespace changed in what is granted to it or what
// it asks for. The caches keep few other labels and annotations.
func namespaceChanged(was, is *corev1.Namespace) bool {
	return !maps.Equal(was.Labels, is.Labels) || !maps.Equal(was.Annotations, is.Annotations) ||
		was.DeletionTimestamp.IsZero() != is.DeletionTimestamp.IsZero()
}

// demandChanged reports whether a Service changed in the copies that it asks for. A copy
// that is created causes an event itself. A copy that is blocked does not.
func demandChanged(was, is *servingv1.Service) bool {
	return !annotation.Same(was.Annotations, is.Annotations) || !slices.Equal(catalog.Images(was), catalog.Images(is))
}

type lister interface {
	List(selector labels.Selector) ([]*v1alpha1.ClusterPullSecret, error)
}

func list(l lister) []*v1alpha1.ClusterPullSecret {
	all, _ := l.List(labels.Everything()) // A cache does not fail.
	return all
}
