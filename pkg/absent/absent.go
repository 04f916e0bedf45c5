// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package absent replaces the informers of kinds that a profile does not use. The
// framework starts every informer that a program is linked with, and one whose requests
// are denied never syncs, so the program would never be ready. An informer of this package
// is synced at once, stays empty, and sends no request. An empty informer does not say that there is
// no object: what depends on that needs grant.Unknown.
package absent

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"knative.dev/pkg/injection"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/client/clientset/versioned"
	"pullsecrets.dev/pkg/client/injection/informers/factory"
)

// ClusterPullSecrets replaces the informer of ClusterPullSecrets. It must be called before
// the program's main.
func ClusterPullSecrets() { injection.Default.RegisterInformerFactory(withoutClusterPullSecrets) }

func withoutClusterPullSecrets(ctx context.Context) context.Context {
	// A factory keeps the first informer that it makes of a kind.
	factory.Get(ctx).InformerFor(&v1alpha1.ClusterPullSecret{}, func(versioned.Interface, time.Duration) cache.SharedIndexInformer {
		return Informer(&v1alpha1.ClusterPullSecret{}, &v1alpha1.ClusterPullSecretList{})
	})
	return ctx
}

// Informer returns an informer of a kind. list is an empty list of it.
func Informer(object, list runtime.Object) cache.SharedIndexInformer {
	return cache.NewSharedIndexInformer(nothing{list}, object, 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
}

// nothing lists and watches no object.
type nothing struct{ list runtime.Object }

var _ cache.ListerWatcher = nothing{}

// List implements cache.ListerWatcher.
func (n nothing) List(metav1.ListOptions) (runtime.Object, error) {
	return n.list.DeepCopyObject(), nil
}

// Watch implements cache.ListerWatcher. The watch has no events until it is stopped.
func (nothing) Watch(metav1.ListOptions) (watch.Interface, error) {
	return watch.NewProxyWatcher(make(chan watch.Event)), nil
}

// IsWatchListSemanticsUnSupported tells the reflector to list first: a watch of nothing
// cannot send the bookmark that would end an initial list.
func (nothing) IsWatchListSemanticsUnSupported() bool { return true }
