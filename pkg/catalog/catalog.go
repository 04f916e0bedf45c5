// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package catalog caches what ClusterPullSecrets grant. Selectors are compiled when a
// ClusterPullSecret changes, and not for every Namespace.
package catalog

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	listers "pullsecrets.dev/pkg/client/listers/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/grant"
)

// Catalog caches a grant.Catalog of the ClusterPullSecrets of a lister.
type Catalog struct {
	// Covers is how Due and DueOf decide. It may be set before they are called, to use
	// Knative's settings too.
	Covers grant.Covers
	// Unknown may be set before Get is called: the program cannot read ClusterPullSecrets, so
	// that its lister is empty although there may be some.
	Unknown bool

	lister listers.ClusterPullSecretLister
	// changes counts changes of the lister's cache. It is nil if they are not counted.
	changes *atomic.Int64

	mu      sync.Mutex
	current grant.Catalog
	// from are the ClusterPullSecrets of current, and asOf is the count before they were
	// listed.
	from []*v1alpha1.ClusterPullSecret
	asOf int64
	asks asks
}

// New returns the catalog of a lister, which is listed for each call.
func New(lister listers.ClusterPullSecretLister) *Catalog {
	return &Catalog{lister: lister, Covers: grant.ImageSettings{}.Covers}
}

// Of returns the catalog of an informer's lister, which is listed only after its cache
// changed. The cache reports changes by calling an index function with its lock held: an
// event could arrive later than the reconciliation that it causes elsewhere.
func Of(informer cache.SharedIndexInformer, lister listers.ClusterPullSecretLister) (*Catalog, error) {
	c := New(lister)
	c.changes = new(atomic.Int64)
	c.changes.Store(1)
	count := func(any) ([]string, error) {
		c.changes.Add(1)
		return nil, nil
	}
	// One informer may have several catalogs.
	if err := informer.AddIndexers(cache.Indexers{fmt.Sprintf("catalog-%p", c): count}); err != nil {
		return nil, fmt.Errorf("failed to count changes of ClusterPullSecrets: %w", err)
	}
	return c, nil
}

// Get returns the current catalog.
func (c *Catalog) Get() (grant.Catalog, error) {
	if c.Unknown {
		return grant.Unknown(), nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var asOf int64
	if c.changes != nil {
		// The count is read first, so that a later change is not missed.
		if asOf = c.changes.Load(); asOf == c.asOf {
			return c.current, nil
		}
	}
	all, err := c.lister.List(labels.Everything())
	if err != nil {
		return grant.Catalog{}, fmt.Errorf("failed to list ClusterPullSecrets: %w", err)
	}
	// Listers return objects in random order.
	slices.SortFunc(all, func(a, b *v1alpha1.ClusterPullSecret) int { return strings.Compare(a.Name, b.Name) })
	if !slices.Equal(all, c.from) {
		c.current, c.from = c.current.Renewed(all, remember), all
	}
	c.asOf = asOf
	return c.current, nil
}

// Due returns what is granted to a Namespace with these Services, and of which
// ClusterPullSecrets it needs copies. An excluded Namespace is granted nothing.
func (c *Catalog) Due(namespace *corev1.Namespace, services []*servingv1.Service, excluded bool) (granted grant.Grants, wanted []*v1alpha1.ClusterPullSecret, err error) {
	granted, err = c.granted(namespace, excluded)
	if err != nil || len(granted.Serving) == 0 {
		return granted, nil, err
	}
	return granted, granted.Wanted(c.asks.of(namespace, services), c.Covers), nil
}

// DueOf returns the result of Due for one ClusterPullSecret: the older one that serves in
// its place if there is one, or whether it serves and whether a copy is needed.
func (c *Catalog) DueOf(cps *v1alpha1.ClusterPullSecret, namespace *corev1.Namespace, services []*servingv1.Service, excluded bool) (older string, serves, wanted bool, err error) {
	granted, err := c.granted(namespace, excluded)
	if err != nil {
		return "", false, false, err
	}
	if older, beaten := granted.Beaten[cps.Name]; beaten {
		return older, false, false, nil
	}
	i, serves := slices.BinarySearchFunc(granted.Serving, cps.Name, func(other *v1alpha1.ClusterPullSecret, name string) int {
		return strings.Compare(other.Name, name)
	})
	if !serves {
		return "", false, false, nil
	}
	return "", true, c.asks.of(namespace, services).Want(granted.Serving[i], c.Covers), nil
}

func (c *Catalog) granted(namespace *corev1.Namespace, excluded bool) (grant.Grants, error) {
	if excluded {
		return grant.Grants{}, nil
	}
	all, err := c.Get()
	if err != nil {
		return grant.Grants{}, err
	}
	return all.For(namespace.Labels), nil
}

// Images returns the images that the Pods of a Service need: those of its containers and
// image volumes, and the queue-proxy's, in no particular order.
func Images(svc *servingv1.Service) []grant.Image {
	spec := &svc.Spec.Template.Spec
	images := []grant.Image{{QueueProxy: true}}
	for _, container := range slices.Concat(spec.InitContainers, spec.Containers) {
		images = append(images, grant.Image{Reference: container.Image})
	}
	for i := range spec.Volumes {
		if from := spec.Volumes[i].Image; from != nil {
			images = append(images, grant.Image{Reference: from.Reference, KubeletAlone: true})
		}
	}
	return grant.Images(images)
}
