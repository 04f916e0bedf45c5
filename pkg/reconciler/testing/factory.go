// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package testing runs reconcilers against fake clients and listers, in the table tests
// of knative.dev/pkg/reconciler/testing, and builds the objects for them.
package testing

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	fakekubeclientset "k8s.io/client-go/kubernetes/fake"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	fakekubeclient "knative.dev/pkg/client/injection/kube/client/fake"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	logtesting "knative.dev/pkg/logging/testing"
	"knative.dev/pkg/reconciler"
	knativetesting "knative.dev/pkg/reconciler/testing"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	fakeservingclientset "knative.dev/serving/pkg/client/clientset/versioned/fake"
	fakeservingclient "knative.dev/serving/pkg/client/injection/client/fake"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	fakepullsecretsclientset "pullsecrets.dev/pkg/client/clientset/versioned/fake"
	fakepullsecretsclient "pullsecrets.dev/pkg/client/injection/client/fake"
	pullsecretslisters "pullsecrets.dev/pkg/client/listers/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/trim"
)

// eventBuffer limits the Events that one reconciliation can record.
const eventBuffer = 20

// Listers serve the objects of a row as informers would.
type Listers struct {
	sorter knativetesting.ObjectSorter
}

// NewListers returns listers of objects.
func NewListers(objects []runtime.Object) *Listers {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{fakekubeclientset.AddToScheme, fakeservingclientset.AddToScheme, fakepullsecretsclientset.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
	l := &Listers{knativetesting.NewObjectSorter(scheme)}
	l.sorter.AddObjects(objects...)
	return l
}

// Indexer returns the cache of objects of the given type.
func (l *Listers) Indexer(of runtime.Object) cache.Indexer { return l.sorter.IndexerForObjectType(of) }

// Services returns a lister of Knative Services.
func (l *Listers) Services() servinglisters.ServiceLister {
	return servinglisters.NewServiceLister(l.Indexer(&servingv1.Service{}))
}

// Namespaces returns a lister of Namespaces.
func (l *Listers) Namespaces() corev1listers.NamespaceLister {
	return corev1listers.NewNamespaceLister(l.Indexer(&corev1.Namespace{}))
}

// ServiceAccounts returns a lister of ServiceAccounts.
func (l *Listers) ServiceAccounts() corev1listers.ServiceAccountLister {
	return corev1listers.NewServiceAccountLister(l.Indexer(&corev1.ServiceAccount{}))
}

// ClusterPullSecrets returns a lister of ClusterPullSecrets.
func (l *Listers) ClusterPullSecrets() pullsecretslisters.ClusterPullSecretLister {
	return pullsecretslisters.NewClusterPullSecretLister(l.Indexer(&v1alpha1.ClusterPullSecret{}))
}

// Copies returns a lister of the Secrets that have both of our labels, with any values.
// As in the informer, their data are digests.
func (l *Listers) Copies() corev1listers.SecretLister {
	selected, err := labels.Parse(grant.Copies)
	if err != nil {
		panic(err)
	}
	copies := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	for _, object := range l.Indexer(&corev1.Secret{}).List() {
		secret := object.(*corev1.Secret)
		if !selected.Matches(labels.Set(secret.Labels)) {
			continue
		}
		trimmed, err := trim.Object(secret)
		if err != nil {
			panic(err)
		}
		if err := copies.Add(trimmed); err != nil {
			panic(err)
		}
	}
	return corev1listers.NewSecretLister(copies)
}

// MakeFactory returns a factory that gives each row clients and listers of the row's
// objects, and a reconciler made by ctor that is the leader.
func MakeFactory(ctor func(context.Context, *Listers, *knativetesting.TableRow) controller.Reconciler) knativetesting.Factory {
	return func(t *testing.T, row *knativetesting.TableRow) (controller.Reconciler, knativetesting.ActionRecorderList, knativetesting.EventList) {
		listers := NewListers(row.Objects)
		ctx := row.Ctx
		if ctx == nil {
			ctx = t.Context()
		}
		ctx = logging.WithLogger(ctx, logtesting.TestLogger(t))
		ctx, kube := fakekubeclient.With(ctx, listers.sorter.ObjectsForSchemeFunc(fakekubeclientset.AddToScheme)...)
		ctx, serving := fakeservingclient.With(ctx, listers.sorter.ObjectsForSchemeFunc(fakeservingclientset.AddToScheme)...)
		ctx, pullsecrets := fakepullsecretsclient.With(ctx, listers.sorter.ObjectsForSchemeFunc(fakepullsecretsclientset.AddToScheme)...)
		recorder := record.NewFakeRecorder(eventBuffer)
		ctx = controller.WithEventRecorder(ctx, recorder)

		c := ctor(ctx, listers, row)
		row.Ctx = ctx
		if leader, ok := c.(reconciler.LeaderAware); ok {
			if err := leader.Promote(reconciler.UniversalBucket(), func(reconciler.Bucket, types.NamespacedName) {}); err != nil {
				t.Fatal("Failed to promote: ", err)
			}
		}
		for _, reactor := range row.WithReactors {
			kube.PrependReactor("*", "*", reactor)
			serving.PrependReactor("*", "*", reactor)
			pullsecrets.PrependReactor("*", "*", reactor)
		}
		return c, knativetesting.ActionRecorderList{kube, serving, pullsecrets}, knativetesting.EventList{Recorder: recorder}
	}
}
