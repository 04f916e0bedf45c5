// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"knative.dev/pkg/logging"
	servingclient "knative.dev/serving/pkg/client/clientset/versioned"

	"pullsecrets.dev/pkg/config"
	"pullsecrets.dev/pkg/grant"
	"pullsecrets.dev/pkg/metrics"
	"pullsecrets.dev/pkg/template"
)

// liveTimeout bounds all that is asked of the API server within one request, which
// waits for us two seconds at most. The rest is for the way there and back.
const liveTimeout = 1500 * time.Millisecond

// withDeadline is the context of all live reads of one request together.
func withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, liveTimeout)
}

// cluster is what admission knows and asks of the cluster.
type cluster struct {
	namespaces corev1listers.NamespaceLister
	accounts   corev1listers.ServiceAccountLister
	// catalog tells what ClusterPullSecrets grant now.
	catalog func() (grant.Catalog, error)
	// ready tells whether the listers have everything. Caches may be cold when the
	// first request comes.
	ready   func() bool
	kube    kubernetes.Interface
	serving servingclient.Interface
	config  *config.Store
	added   metrics.Added
	// lookups limits what is read from the API server.
	lookups *lookups
	// template returns the settings by which Knative fills in templates.
	template func() template.Settings
	// covers reports whether a ClusterPullSecret holds a credential for an image.
	covers grant.Covers
}

// lookUp reads an object out of the cache or, where the cache does not know it
// yet, from the API server: people apply a Namespace and its Services together.
func lookUp[T any](
	ctx context.Context,
	limit *lookups,
	of subject,
	cached func(string) (*T, error),
	live func(context.Context, string, metav1.GetOptions) (*T, error),
) (*T, error) {
	object, err := cached(of.name)
	if !apierrors.IsNotFound(err) {
		return object, err
	}
	return readLive(ctx, limit, of, live)
}

// read finds out what is declared in a Namespace and what is granted. An error is logged,
// and leaves the request to the reconciler.
func (c *cluster) read(ctx context.Context, name string) (*corev1.Namespace, grant.Catalog, error) {
	namespace, err := lookUp(ctx, c.lookups, subject{kind: "Namespace", name: name}, c.namespaces.Get, c.kube.CoreV1().Namespaces().Get)
	if err != nil {
		leftToReconciler(ctx, err)
		return nil, grant.Catalog{}, err
	}
	offered, err := c.catalog()
	if err != nil {
		leftToReconciler(ctx, err)
	}
	return namespace, offered, err
}

func leftToReconciler(ctx context.Context, err error) {
	logging.FromContext(ctx).Infow("The request is left to the reconciler", "error", err)
}
