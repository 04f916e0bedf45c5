// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package namespace brings Namespaces to what is granted to them and what they
// declare: it keeps their copies of credentials, binds their ServiceAccounts, and tells
// their owners which items of their annotations do not count.
package namespace

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"go.uber.org/zap"
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
	secretinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/secret/filtered"
	accountinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/serviceaccount"
	namespacereconciler "knative.dev/pkg/client/injection/kube/reconciler/core/v1/namespace"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/kmeta"
	"knative.dev/pkg/logging"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingclient "knative.dev/serving/pkg/client/injection/client"
	serviceinformer "knative.dev/serving/pkg/client/injection/informers/serving/v1/service"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/catalog"
	client "pullsecrets.dev/pkg/client/injection/client"
	clusterpullsecretinformer "pullsecrets.dev/pkg/client/injection/informers/pullsecrets/v1alpha1/clusterpullsecret"
	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/events"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/knative"
	"pullsecrets.dev/pkg/memory"
	"pullsecrets.dev/pkg/source"
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
	namespaces, services, serviceAccounts := namespaceinformer.Get(ctx), serviceinformer.Get(ctx), accountinformer.Get(ctx)
	secrets, clusterPullSecrets := secretinformer.Get(ctx, grant.Copies), clusterpullsecretinformer.Get(ctx)
	if err := secrets.Informer().SetTransform(trim.Object); err != nil {
		logger.Fatalw("Failed to trim what is cached", "error", err)
	}
	metrics, err := newMetrics()
	if err != nil {
		logger.Fatalw("Failed to make metrics", "error", err)
	}
	all, err := catalog.Of(clusterPullSecrets.Informer(), clusterPullSecrets.Lister())
	if err != nil {
		logger.Fatalw("Failed to make the catalogue", "error", err)
	}
	all.Covers = settings.Covers
	kube := kubeclient.Get(ctx)
	var remembered memory.Memory
	reporter := newReporter(&remembered)
	r := &Reconciler{memory: &remembered, reporter: reporter, accounts: &accounts{
		kube: kube, client: client.Get(ctx), lister: serviceAccounts.Lister(), reporter: reporter,
		written: memory.NewTable[string, *bound](&remembered),
	}, copies: &copies{
		kube: kube, serving: servingclient.Get(ctx), client: client.Get(ctx),
		catalog: all, sources: source.NewReader(kube), clusterPullSecrets: clusterPullSecrets.Lister(),
		secrets: secrets.Lister(), services: services.Lister(), accounts: serviceAccounts.Lister(),
		labelsOf: labelsBy(kube), metrics: metrics, backoff: newBackoff(&remembered), recreations: newRecreations(&remembered), expectations: newExpectations(&remembered),
	}}
	impl := namespacereconciler.NewImpl(ctx, r, func(impl *controller.Impl) controller.Options {
		store := config.NewStore(logger.Named("config-store"), func(string, any) {
			impl.GlobalResync(namespaces.Informer())
		})
		store.WatchConfigs(ctx, cmw)
		return controller.Options{ConfigStore: store, AgentName: events.ControllerAgentName, SkipStatusUpdates: true, DemoteFunc: remembered.Demote}
	})
	r.wakeAfter = impl.EnqueueKeyAfter
	w := waking{impl: impl, namespaces: namespaces.Lister(), logger: logger}
	w.handle(namespaces.Informer(), controller.HandleAll(impl.Enqueue))
	w.watchCopies(secrets.Informer(), r.copies.seen)
	w.watchGrants(clusterPullSecrets.Informer(), r.copies.forgetOthers)
	w.watchServices(services.Informer())
	w.watchAccounts(serviceAccounts.Informer(), r.accounts.gone)
	settings.OnImages(func() { w.wakeAuto(services.Lister()) })
	return impl
}

// waking is who is woken.
type waking struct {
	impl       *controller.Impl
	namespaces corev1listers.NamespaceLister
	logger     *zap.SugaredLogger
}

func (w waking) handle(informer cache.SharedIndexInformer, handler cache.ResourceEventHandler) {
	if _, err := informer.AddEventHandler(handler); err != nil {
		w.logger.Fatalw("Failed to watch", "error", err)
	}
}

// watchCopies: a copy wakes its Namespace, unless it is just what was written there.
// That it is gone is always news.
func (w waking) watchCopies(informer cache.SharedIndexInformer, seen func(any) bool) {
	wake := func(object any) {
		if seen(object) {
			w.wakeItsOwn(object)
		}
	}
	w.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc:    wake,
		UpdateFunc: func(_, after any) { wake(after) },
		DeleteFunc: func(object any) {
			seen(object)
			w.wakeItsOwn(object)
		},
	})
}

// watchGrants: a ClusterPullSecret wakes the Namespaces that it selects, or selected,
// when what it grants changes. What is known of one that is gone, or of a source that
// none names any more, is forgotten.
func (w waking) watchGrants(informer cache.SharedIndexInformer, forgetOthers func()) {
	w.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { w.wakeSelected(object.(*v1alpha1.ClusterPullSecret)) },
		UpdateFunc: func(before, after any) {
			was, is := before.(*v1alpha1.ClusterPullSecret), after.(*v1alpha1.ClusterPullSecret)
			if was.Spec.SecretRef != is.Spec.SecretRef {
				forgetOthers()
			}
			if grantsCopiesOtherwise(was, is) {
				w.wakeSelected(was)
				w.wakeSelected(is)
			}
		},
		DeleteFunc: func(object any) {
			forgetOthers()
			accessor, _ := kmeta.DeletionHandlingAccessor(object)
			if cps, ok := accessor.(*v1alpha1.ClusterPullSecret); ok {
				w.wakeSelected(cps)
			}
		},
	})
}

// watchServices: a Service wakes its Namespace when it asks for other copies.
func (w waking) watchServices(informer cache.SharedIndexInformer) {
	w.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: w.wakeItsOwn,
		UpdateFunc: func(before, after any) {
			if needsOtherCopies(before.(*servingv1.Service), after.(*servingv1.Service)) {
				w.wakeItsOwn(after)
			}
		},
		DeleteFunc: w.wakeItsOwn,
	})
}

// watchAccounts: a ServiceAccount enqueues its Namespace when its list, the owners of
// that, the ledger or a key of ours on it changes, and when it is gone, for a copy may be
// unused then.
func (w waking) watchAccounts(informer cache.SharedIndexInformer, gone func(any)) {
	w.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: w.wakeItsOwn,
		UpdateFunc: func(before, after any) {
			was, is := before.(*corev1.ServiceAccount), after.(*corev1.ServiceAccount)
			if !equality.Semantic.DeepEqual(was.ImagePullSecrets, is.ImagePullSecrets) || !maps.Equal(was.Annotations, is.Annotations) ||
				!maps.Equal(was.Labels, is.Labels) || !equality.Semantic.DeepEqual(was.ManagedFields, is.ManagedFields) {
				w.wakeItsOwn(after)
			}
		},
		DeleteFunc: func(object any) {
			gone(object)
			w.wakeItsOwn(object)
		},
	})
}

// wakeAuto enqueues the Namespaces that need copies for the images of their Services, in
// the slow lane. A Namespace with inject: auto itself needs all copies anyway.
func (w waking) wakeAuto(services servinglisters.ServiceLister) {
	all, _ := services.List(labels.Everything()) // A cache does not fail.
	for _, svc := range all {
		if annotation.ForService(svc.Annotations).Inject == annotation.Auto {
			w.impl.EnqueueSlowKey(types.NamespacedName{Name: svc.Namespace})
		}
	}
}

// wakeItsOwn wakes the Namespace of an object.
func (w waking) wakeItsOwn(object any) {
	if o, err := kmeta.DeletionHandlingAccessor(object); err == nil {
		w.impl.EnqueueKey(types.NamespacedName{Name: o.GetNamespace()})
	}
}

// wakeSelected wakes the Namespaces that a ClusterPullSecret selects. Those that it
// selects no more are among what it selected before.
func (w waking) wakeSelected(cps *v1alpha1.ClusterPullSecret) {
	selector, err := metav1.LabelSelectorAsSelector(cps.Spec.NamespaceSelector)
	if err != nil {
		return // It grants nothing.
	}
	all, _ := w.namespaces.List(selector) // A cache does not fail.
	for _, namespace := range all {
		w.impl.EnqueueKey(types.NamespacedName{Name: namespace.Name})
	}
}

// grantsCopiesOtherwise tells whether a ClusterPullSecret changed in what Namespaces go
// by: not in the counts of its status, which change with every copy.
func grantsCopiesOtherwise(was, is *v1alpha1.ClusterPullSecret) bool {
	return !equality.Semantic.DeepEqual(was.Spec, is.Spec) || was.DeletionTimestamp.IsZero() != is.DeletionTimestamp.IsZero() ||
		sourceReady(was) != sourceReady(is) || !slices.Equal(was.Status.Registries, is.Status.Registries) || versionOf(was) != versionOf(is)
}

func versionOf(cps *v1alpha1.ClusterPullSecret) string {
	if cps.Status.Source == nil {
		return ""
	}
	return cps.Status.Source.ResourceVersion
}

// needsOtherCopies tells whether a Service changed in what its Namespace needs copies
// for.
func needsOtherCopies(was, is *servingv1.Service) bool {
	return !annotation.Same(was.Annotations, is.Annotations) ||
		!slices.Equal(catalog.Images(was), catalog.Images(is)) ||
		!equality.Semantic.DeepEqual(was.Spec.Template.Spec.ImagePullSecrets, is.Spec.Template.Spec.ImagePullSecrets)
}

// labelsBy asks the API server for the metadata of a Secret alone, so that no
// credential is sent.
func labelsBy(kube kubernetes.Interface) func(context.Context, string, string) (map[string]string, error) {
	return func(ctx context.Context, namespace, name string) (map[string]string, error) {
		raw, err := kube.CoreV1().RESTClient().Get().Namespace(namespace).Resource("secrets").Name(name).
			SetHeader("Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").Do(ctx).Raw()
		if err != nil {
			return nil, err
		}
		var found metav1.PartialObjectMetadata
		if err := json.Unmarshal(raw, &found); err != nil {
			return nil, fmt.Errorf("Secret %s/%s: the API server's metadata does not parse: %w", namespace, name, err)
		}
		return found.Labels, nil
	}
}
