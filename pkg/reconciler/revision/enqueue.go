// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"bytes"
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

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/merge"
	"pullsecrets.dev/pkg/reconciler/revision/resources"
)

// enqueuer decides which Services an event enqueues. Revisions enqueue their Service, see
// [revisions], and Secrets that are no copies the Services of their namespace, see [named].
type enqueuer struct {
	impl      *controller.Impl
	revisions *revisions
	secrets   *named
	logger    *zap.SugaredLogger
}

// watchRevisions enqueues the Service of a Revision that changed. The Revision may have been the
// last one that used a Secret.
func (e enqueuer) watchRevisions() {
	e.revisions.changed = func(service types.NamespacedName) {
		e.impl.EnqueueKey(service)
		e.secrets.review(service.Namespace)
	}
}

// watchServices enqueues a Service that changed.
func (e enqueuer) watchServices(informer cache.SharedIndexInformer) {
	e.handle(informer, controller.HandleAll(e.impl.Enqueue))
}

// watchNamespaces enqueues the Services of a Namespace that is new, or whose annotations or
// labels changed.
func (e enqueuer) watchNamespaces(informer cache.SharedIndexInformer) {
	e.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { e.enqueueNamespace(object.(*corev1.Namespace).Name) },
		UpdateFunc: func(before, after any) {
			was, is := before.(*corev1.Namespace), after.(*corev1.Namespace)
			if !maps.Equal(was.Annotations, is.Annotations) || !maps.Equal(was.Labels, is.Labels) {
				e.enqueueNamespace(is.Name)
			}
		},
	})
}

// watchAccounts enqueues the Services with a Revision that runs as a ServiceAccount whose pull
// secrets changed. It may have been the last one that used a Secret.
func (e enqueuer) watchAccounts(informer cache.SharedIndexInformer) {
	enqueue := func(object any) {
		accessor, err := kmeta.DeletionHandlingAccessor(object)
		if err != nil {
			return
		}
		e.enqueueThose(accessor.GetNamespace(), func(r *resources.Revision) bool { return r.ServiceAccount == accessor.GetName() })
		e.secrets.review(accessor.GetNamespace())
	}
	e.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: enqueue,
		UpdateFunc: func(before, after any) {
			if !equality.Semantic.DeepEqual(before.(*corev1.ServiceAccount).ImagePullSecrets, after.(*corev1.ServiceAccount).ImagePullSecrets) {
				enqueue(after)
			}
		},
		DeleteFunc: enqueue,
	})
}

// watchCopies enqueues the Services of a namespace when a copy is created or deleted there.
// When its credential changes, it enqueues those that a registry rejected, which may be
// retried: what it covers is in the status of its ClusterPullSecret.
func (e enqueuer) watchCopies(informer cache.SharedIndexInformer) {
	e.handle(informer, cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(object any, isInInitialList bool) {
			// When the informer starts, every Service is reconciled anyway.
			if secret, ok := object.(*corev1.Secret); ok && !isInInitialList {
				e.enqueueNamespace(secret.Namespace)
			}
		},
		UpdateFunc: func(before, after any) {
			was, is := before.(*corev1.Secret), after.(*corev1.Secret)
			if !bytes.Equal(was.Data[corev1.DockerConfigJsonKey], is.Data[corev1.DockerConfigJsonKey]) {
				e.enqueueThose(is.Namespace, func(r *resources.Revision) bool { return r.Rejected != 0 })
			}
		},
		DeleteFunc: func(object any) {
			if accessor, err := kmeta.DeletionHandlingAccessor(object); err == nil {
				e.enqueueNamespace(accessor.GetNamespace())
			}
		},
	})
}

// watchGrants enqueues the Services of the Namespaces that a ClusterPullSecret selects, or
// selected before, when it grants or covers something else. forget is called with one that is
// gone.
func (e enqueuer) watchGrants(informer cache.SharedIndexInformer, namespaces corev1listers.NamespaceLister, forget func(string)) {
	enqueueSelected := func(cps *v1alpha1.ClusterPullSecret) {
		selector, err := metav1.LabelSelectorAsSelector(cps.Spec.NamespaceSelector)
		if err != nil {
			return // It grants nothing.
		}
		selected, err := namespaces.List(selector)
		if err != nil {
			e.logger.Errorw("Failed to list the Namespaces of a ClusterPullSecret", "name", cps.Name, "error", err)
		}
		for _, namespace := range selected {
			e.enqueueNamespace(namespace.Name)
		}
	}
	e.handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { enqueueSelected(object.(*v1alpha1.ClusterPullSecret)) },
		UpdateFunc: func(before, after any) {
			was, is := before.(*v1alpha1.ClusterPullSecret), after.(*v1alpha1.ClusterPullSecret)
			specChanged := !equality.Semantic.DeepEqual(was.Spec, is.Spec) || was.DeletionTimestamp.IsZero() != is.DeletionTimestamp.IsZero()
			if specChanged {
				enqueueSelected(was)
			}
			if specChanged || !slices.Equal(was.Status.Registries, is.Status.Registries) || readinessChanged(was, is) ||
				!was.Status.Expires.Equal(is.Status.Expires) {
				enqueueSelected(is)
			}
		},
		DeleteFunc: func(object any) {
			accessor, _ := kmeta.DeletionHandlingAccessor(object)
			if was, ok := accessor.(*v1alpha1.ClusterPullSecret); ok {
				enqueueSelected(was)
				forget(was.Name)
			}
		},
	})
}

// enqueueNamespace enqueues the Services of a namespace, of which there can be many, in the
// slow lane.
func (e enqueuer) enqueueNamespace(namespace string) {
	e.enqueueThose(namespace, func(*resources.Revision) bool { return true })
}

func (e enqueuer) enqueueThose(namespace string, are func(*resources.Revision) bool) {
	for _, service := range e.revisions.services(namespace, are) {
		e.impl.EnqueueSlowKey(service)
	}
}

func (e enqueuer) handle(informer cache.SharedIndexInformer, handler cache.ResourceEventHandler) {
	if _, err := informer.AddEventHandler(handler); err != nil {
		e.logger.Fatalw("Failed to watch", "error", err)
	}
}

// usedBy returns a function that reports whether a Service that this process leads for uses a
// Secret: a Revision of it names the Secret, or runs as a ServiceAccount that does.
func usedBy(all *revisions, accounts corev1listers.ServiceAccountLister, leads func(types.NamespacedName) bool) func(types.NamespacedName) bool {
	return func(secret types.NamespacedName) bool {
		list, err := accounts.ServiceAccounts(secret.Namespace).List(labels.Everything())
		naming := sets.New[string]()
		for _, account := range list {
			if slices.Contains(merge.NamesOf(account.ImagePullSecrets), secret.Name) {
				naming.Insert(account.Name)
			}
		}
		uses := func(r *resources.Revision) bool {
			return err != nil || naming.Has(r.ServiceAccount) || slices.Contains(r.Template.PullSecrets, secret.Name)
		}
		return slices.ContainsFunc(all.services(secret.Namespace, uses), leads)
	}
}
