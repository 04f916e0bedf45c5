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

// liveTimeout limits the API reads for one request. The API server waits two seconds for
// the webhook, which leaves the rest for the network.
const liveTimeout = 1500 * time.Millisecond

// withDeadline returns the context of all live reads of one request.
func withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, liveTimeout)
}

// cluster gives admission access to the state of the cluster.
type cluster struct {
	namespaces corev1listers.NamespaceLister
	accounts   corev1listers.ServiceAccountLister
	// catalog returns what ClusterPullSecrets grant.
	catalog func() (grant.Catalog, error)
	// ready reports whether the caches have synced. A request may arrive before that.
	ready   func() bool
	kube    kubernetes.Interface
	serving servingclient.Interface
	config  *config.Store
	added   metrics.Added
	// liveReads limits the reads from the API server.
	liveReads *liveReads
	// template returns the settings by which Knative sets defaults in templates.
	template func() template.Settings
	// covers reports whether a ClusterPullSecret holds a credential for an image.
	covers grant.Covers
	// profile decides whether ClusterPullSecrets can grant anything.
	profile config.Profile
}

// cachedOrLive reads an object from the cache or, if it is not cached, from the API
// server: users apply a Namespace and its Services together.
func cachedOrLive[T any](
	ctx context.Context,
	limit *liveReads,
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

// read returns the Namespace and, unless the configuration excludes it, what is granted.
// If it fails, the error is logged, and the request is left to the reconciler.
func (c *cluster) read(ctx context.Context, name string) (namespace *corev1.Namespace, offered grant.Catalog, excluded bool, err error) {
	namespace, err = cachedOrLive(ctx, c.liveReads, subject{kind: "Namespace", name: name}, c.namespaces.Get, c.kube.CoreV1().Namespaces().Get)
	if err != nil {
		deferToReconciler(ctx, err)
		return nil, offered, false, err
	}
	if c.config.Load().Excludes(namespace.Name, namespace.Labels) {
		return namespace, offered, true, nil
	}
	if offered, err = c.catalog(); err != nil {
		deferToReconciler(ctx, err)
	}
	return namespace, offered, false, err
}

// deferToReconciler logs why a request is left to the reconciler.
func deferToReconciler(ctx context.Context, err error) {
	logging.FromContext(ctx).Infow("Left the request to the reconciler", "error", err)
}
