// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// pullSecretTypes are the types of Secrets that are watched. No other Secret can be used.
var pullSecretTypes = []corev1.SecretType{corev1.SecretTypeDockerConfigJson, corev1.SecretTypeDockercfg}

// notCopies selects Secrets that are no copies, which have an informer of their own. A tenant who
// sets this label alone hides later changes from the reports about their own Services.
const notCopies = "!" + pullsecrets.ClusterPullSecretLabel

// watches are what the reconciler watches besides informers.
type watches struct {
	revisions cache.ListerWatcher
	secrets   map[corev1.SecretType]cache.ListerWatcher
}

// watchesBy returns the watches of the API server: Revisions that are not reserved, and the
// metadata of pull Secrets that are no copies. The API server selects, so that other objects
// cost nothing here.
func watchesBy(serving servingclient.Interface, meta metadata.Interface) watches {
	w := watches{
		revisions: cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				o.LabelSelector = notReserved
				return serving.ServingV1().Revisions(metav1.NamespaceAll).List(ctx, o)
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				o.LabelSelector = notReserved
				return serving.ServingV1().Revisions(metav1.NamespaceAll).Watch(ctx, o)
			},
		}, serving),
		secrets: make(map[corev1.SecretType]cache.ListerWatcher),
	}
	secrets := meta.Resource(corev1.SchemeGroupVersion.WithResource("secrets"))
	for _, kind := range pullSecretTypes {
		selected := func(o metav1.ListOptions) metav1.ListOptions {
			o.LabelSelector, o.FieldSelector = notCopies, fields.OneTermEqualSelector("type", string(kind)).String()
			return o
		}
		w.secrets[kind] = cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				return secrets.List(ctx, selected(o))
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return secrets.Watch(ctx, selected(o))
			},
		}, meta)
	}
	return w
}

// start starts to watch until the context ends.
func (w watches) start(ctx context.Context, all *revisions, secrets *named) {
	go cache.NewReflector(w.revisions, &servingv1.Revision{}, all, 0).RunWithContext(ctx)
	for kind, of := range w.secrets {
		go cache.NewReflector(of, &metav1.PartialObjectMetadata{}, observer{kind, secrets}, 0).RunWithContext(ctx)
	}
}

// observer is the store of a reflector of pull Secrets of a type. It keeps none of them.
type observer struct {
	kind    corev1.SecretType
	secrets *named
}

var (
	_ cache.ReflectorStore    = observer{}
	_ cache.TransformingStore = observer{}
)

// Add implements [cache.ReflectorStore].
func (o observer) Add(object any) error { return o.Update(object) }

// Update implements [cache.ReflectorStore].
func (o observer) Update(object any) error {
	if meta, ok := object.(metav1.Object); ok {
		o.secrets.observe(keyOf(meta), meta.GetResourceVersion())
	}
	return nil
}

// Delete implements [cache.ReflectorStore].
func (o observer) Delete(object any) error {
	if meta, ok := object.(metav1.Object); ok {
		o.secrets.observe(keyOf(meta), "")
	}
	return nil
}

// Replace implements [cache.ReflectorStore].
func (o observer) Replace(objects []any, _ string) error {
	versions := make(map[types.NamespacedName]string, len(objects))
	for _, object := range objects {
		if meta, ok := object.(metav1.Object); ok {
			versions[keyOf(meta)] = meta.GetResourceVersion()
		}
	}
	o.secrets.compare(o.kind, versions)
	return nil
}

// Resync implements [cache.ReflectorStore].
func (o observer) Resync() error { return nil }

// Transformer implements [cache.TransformingStore]: annotations of Secrets may hold what was
// applied, and are dropped while the first list is received.
func (o observer) Transformer() cache.TransformFunc {
	return func(object any) (any, error) {
		if meta, ok := object.(*metav1.PartialObjectMetadata); ok {
			return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: meta.Namespace, Name: meta.Name, ResourceVersion: meta.ResourceVersion}}, nil
		}
		return object, nil
	}
}

func keyOf(object metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}
}
