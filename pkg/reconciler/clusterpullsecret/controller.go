// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package clusterpullsecret looks after ClusterPullSecrets: whether their sources
// are good, and how far the copies have come.
package clusterpullsecret

import (
	"context"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"knative.dev/pkg/apis"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	namespaceinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/namespace"
	secretinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/secret/filtered"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/kmeta"
	"knative.dev/pkg/logging"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	serviceinformer "knative.dev/serving/pkg/client/injection/informers/serving/v1/service"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/catalog"
	clusterpullsecretinformer "pullsecrets.dev/pkg/client/injection/informers/pullsecrets/v1alpha1/clusterpullsecret"
	clusterpullsecretreconciler "pullsecrets.dev/pkg/client/injection/reconciler/pullsecrets/v1alpha1/clusterpullsecret"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/knative"
	"pullsecrets.dev/pkg/memory"
	"pullsecrets.dev/pkg/source"
	"pullsecrets.dev/pkg/trim"
)

// settle is how long events of copies and Namespaces are collected before the
// status is counted anew, so that thousands of copies are not thousands of writes.
const settle = time.Second

// NewController wires the reconciler to what wakes it.
func NewController(settings *knative.Settings) injection.ControllerConstructor {
	return func(ctx context.Context, cmw configmap.Watcher) *controller.Impl {
		return newController(ctx, cmw, settings)
	}
}

func newController(ctx context.Context, cmw configmap.Watcher, settings *knative.Settings) *controller.Impl {
	logger := logging.FromContext(ctx)
	informer := clusterpullsecretinformer.Get(ctx)
	namespaces, services := namespaceinformer.Get(ctx), serviceinformer.Get(ctx)
	secrets := secretinformer.Get(ctx, grant.Copies)
	if err := secrets.Informer().SetTransform(trim.Object); err != nil {
		logger.Fatalw("Failed to trim what is cached", "error", err)
	}
	all, err := catalog.Of(informer.Informer(), informer.Lister())
	if err != nil {
		logger.Fatalw("Failed to make the catalogue", "error", err)
	}
	all.Covers = settings.Covers
	watches := &sourceWatches{client: kubeclient.Get(ctx)}
	metrics, err := newMetrics()
	if err != nil {
		logger.Fatalw("Failed to make metrics", "error", err)
	}
	var remembered memory.Memory
	r := &Reconciler{
		memory: &remembered, tallies: tallies{memory.NewStore[verdicts](&remembered)}, stalled: stalls{memory.NewStore[stall](&remembered)},
		sources: source.NewReader(kubeclient.Get(ctx)),
		watch:   func(ref v1alpha1.SecretReference) { watches.follow(ctx, ref) },
		catalog: all, clusterPullSecrets: informer.Lister(),
		namespaces: namespaces.Lister(), services: services.Lister(), secrets: secrets.Lister(),
		liveCopies: liveCopiesBy(kubeclient.Get(ctx)),
		probe:      probeBy(kubeclient.Get(ctx)),
		metrics:    metrics, now: time.Now,
	}
	impl := clusterpullsecretreconciler.NewImpl(ctx, r, func(impl *controller.Impl) controller.Options {
		countAnew := func() {
			r.tallies.Clear()
			impl.GlobalResync(informer.Informer())
		}
		settings.OnImages(countAnew)
		store := config.NewStore(logger.Named("config-store"), func(string, any) { countAnew() })
		store.WatchConfigs(ctx, cmw)
		return controller.Options{ConfigStore: store, AgentName: events.ControllerAgentName, DemoteFunc: remembered.Demote}
	})
	w := waking{impl, informer.Lister(), namespaces.Lister(), all.Get, r.tallies, logger}
	watches.changed = w.dependents
	w.handle(informer.Informer(), w.itself())
	w.watchGrants(informer.Informer(), func() {
		refs := source.Named(list(informer.Lister()))
		watches.keep(refs)
		r.sources.Keep(refs)
	})
	w.watchCopies(secrets.Informer())
	w.watchNamespaces(namespaces.Informer())
	w.watchServices(services.Informer())
	return impl
}

// waking is who is woken, and where it looks again.
type waking struct {
	impl       *controller.Impl
	lister     lister
	namespaces corev1listers.NamespaceLister
	catalog    func() (grant.Catalog, error)
	tallies    tallies
	logger     *zap.SugaredLogger
}

func (w waking) handle(informer cache.SharedIndexInformer, handler cache.ResourceEventHandler) {
	if _, err := informer.AddEventHandler(handler); err != nil {
		w.logger.Fatalw("Failed to watch", "error", err)
	}
}

// itself: what is new of a ClusterPullSecret wakes it at once. The counts of its
// status are written by this reconciler itself, and while copies come there are others
// with each look: they have to wait, lest each write is the cause of the next one.
func (w waking) itself() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: w.impl.Enqueue,
		UpdateFunc: func(before, after any) {
			was, is := before.(*v1alpha1.ClusterPullSecret), after.(*v1alpha1.ClusterPullSecret)
			if countsAlone(was, is) {
				w.soon(is.Name)
			} else {
				w.impl.Enqueue(is)
			}
		},
		DeleteFunc: w.impl.Enqueue,
	}
}

// watchGrants: where one ClusterPullSecret serves, another one with its secretName does
// not, so a change enqueues those that share the name, and no others. A source that none
// names any more is forgotten.
func (w waking) watchGrants(informer cache.SharedIndexInformer, keepSources func()) {
	w.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { w.sharing(object.(*v1alpha1.ClusterPullSecret)) },
		UpdateFunc: func(before, after any) {
			was, is := before.(*v1alpha1.ClusterPullSecret), after.(*v1alpha1.ClusterPullSecret)
			if was.Spec.SecretRef != is.Spec.SecretRef {
				keepSources()
			}
			if was.Generation != is.Generation || was.UID != is.UID {
				w.sharing(was, is)
			} else if !slices.Equal(was.Status.Registries, is.Status.Registries) {
				w.tallies.forget(is.Name) // Another image may be covered.
				w.soon(is.Name)
			}
		},
		DeleteFunc: func(object any) {
			keepSources()
			accessor, _ := kmeta.DeletionHandlingAccessor(object)
			if was, ok := accessor.(*v1alpha1.ClusterPullSecret); ok {
				w.sharing(was)
			}
		},
	})
}

// watchCopies: a copy wakes the ClusterPullSecret that it belongs to, or belonged to.
func (w waking) watchCopies(informer cache.SharedIndexInformer) {
	w.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: w.owner,
		UpdateFunc: func(before, after any) {
			w.owner(before)
			w.owner(after)
		},
		DeleteFunc: w.owner,
	})
}

// watchNamespaces: what a Namespace may have and asks for is in its labels and
// annotations. A change enqueues the ClusterPullSecrets that select the Namespace, or
// did before.
func (w waking) watchNamespaces(informer cache.SharedIndexInformer) {
	enqueue := func(object any) {
		accessor, _ := kmeta.DeletionHandlingAccessor(object)
		if namespace, ok := accessor.(*corev1.Namespace); ok {
			w.selecting(namespace)
		}
	}
	w.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: enqueue,
		UpdateFunc: func(before, after any) {
			was, is := before.(*corev1.Namespace), after.(*corev1.Namespace)
			if declaresOtherwise(was, is) {
				w.selecting(was, is)
			}
		},
		DeleteFunc: enqueue,
	})
}

// watchServices: a Service may ask for copies, of ClusterPullSecrets that select its
// Namespace.
func (w waking) watchServices(informer cache.SharedIndexInformer) {
	enqueue := func(object any) {
		svc, err := kmeta.DeletionHandlingAccessor(object)
		if err != nil {
			return
		}
		// A Namespace that is not in the cache yet enqueues them when it is.
		if namespace, err := w.namespaces.Get(svc.GetNamespace()); err == nil {
			w.selecting(namespace)
		}
	}
	w.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: enqueue,
		UpdateFunc: func(before, after any) {
			if asksOtherwise(before.(*servingv1.Service), after.(*servingv1.Service)) {
				enqueue(after)
			}
		},
		DeleteFunc: enqueue,
	})
}

func (w waking) soon(name string) {
	w.impl.EnqueueKeyAfter(types.NamespacedName{Name: name}, settle)
}

// selecting enqueues the ClusterPullSecrets that select versions of one Namespace, to
// count it anew. All others have nothing to do with what happens in it.
func (w waking) selecting(versions ...*corev1.Namespace) {
	offered, err := w.catalog()
	if err != nil {
		w.logger.Errorw("Failed to find the ClusterPullSecrets that select a Namespace", "namespace", versions[0].Name, "error", err)
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
		w.tallies.touch(name, versions[0].Name)
		w.soon(name)
	}
}

// sharing enqueues changed ClusterPullSecrets and those that have a name for their
// copies in common with them, and has all their namespaces counted anew.
func (w waking) sharing(changed ...*v1alpha1.ClusterPullSecret) {
	secrets := sets.New[string]()
	for _, cps := range changed {
		secrets.Insert(grant.SecretName(cps))
		w.tallies.forget(cps.Name)
	}
	for _, cps := range list(w.lister) {
		if secrets.Has(grant.SecretName(cps)) {
			w.tallies.forget(cps.Name)
			w.soon(cps.Name)
		}
	}
}

// owner wakes the ClusterPullSecret that a Secret is a copy of.
func (w waking) owner(object any) {
	accessor, _ := kmeta.DeletionHandlingAccessor(object)
	if secret, ok := accessor.(*corev1.Secret); ok {
		w.tallies.touch(grant.Owner(secret), secret.Namespace)
		w.soon(grant.Owner(secret))
	}
}

// dependents wakes the ClusterPullSecrets of a source.
func (w waking) dependents(ref v1alpha1.SecretReference) {
	for _, cps := range list(w.lister) {
		if cps.Spec.SecretRef == ref {
			w.impl.Enqueue(cps)
		}
	}
}

// countsAlone tells whether nothing of a ClusterPullSecret is new but what its status
// says about the copies.
func countsAlone(was, is *v1alpha1.ClusterPullSecret) bool {
	return was.ResourceVersion != is.ResourceVersion && was.Generation == is.Generation &&
		was.DeletionTimestamp.IsZero() == is.DeletionTimestamp.IsZero() && slices.Equal(was.Finalizers, is.Finalizers) &&
		equality.Semantic.DeepEqual(was.Status.Source, is.Status.Source) && slices.Equal(was.Status.Registries, is.Status.Registries) &&
		equality.Semantic.DeepEqual(sourceCondition(was), sourceCondition(is))
}

func sourceCondition(cps *v1alpha1.ClusterPullSecret) *apis.Condition {
	return cps.Status.GetCondition(v1alpha1.ClusterPullSecretConditionSourceReady)
}

// declaresOtherwise tells whether a Namespace changed in what it may have or asks for.
// The caches keep little else of its labels and annotations.
func declaresOtherwise(was, is *corev1.Namespace) bool {
	return !maps.Equal(was.Labels, is.Labels) || !maps.Equal(was.Annotations, is.Annotations) ||
		was.DeletionTimestamp.IsZero() != is.DeletionTimestamp.IsZero()
}

// asksOtherwise tells whether a Service changed in what it asks for. A copy that
// comes tells of itself, but one that something is in the way of does not.
func asksOtherwise(was, is *servingv1.Service) bool {
	return !annotation.Same(was.Annotations, is.Annotations) || !slices.Equal(catalog.Images(was), catalog.Images(is))
}

type lister interface {
	List(selector labels.Selector) ([]*v1alpha1.ClusterPullSecret, error)
}

func list(l lister) []*v1alpha1.ClusterPullSecret {
	all, _ := l.List(labels.Everything()) // A cache does not fail.
	return all
}
