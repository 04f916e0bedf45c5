// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package catalog keeps what ClusterPullSecrets grant ready for use. Selectors are
// compiled when a ClusterPullSecret changes and not for every Namespace that asks.
package catalog

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/apis/pullsecrets/v1alpha1"
	listers "pullsecrets.dev/pkg/client/listers/pullsecrets/v1alpha1"
	"pullsecrets.dev/pkg/dockerconfig"
	"pullsecrets.dev/pkg/grant"
)

// Catalog is a grant.Catalog of the ClusterPullSecrets that a lister has now.
type Catalog struct {
	lister listers.ClusterPullSecretLister

	mu      sync.Mutex
	current grant.Catalog
	// from are the ClusterPullSecrets of current.
	from []*v1alpha1.ClusterPullSecret
}

// Covers tells whether a copy of a ClusterPullSecret holds a credential for an
// image, by the registries in its status, so that no program needs to read a
// Secret for it.
func Covers(cps *v1alpha1.ClusterPullSecret, image grant.Image) bool {
	if image.KubeletAlone {
		return dockerconfig.CoversForKubelet(cps.Status.Registries, image.Reference)
	}
	return dockerconfig.Covers(cps.Status.Registries, image.Reference)
}

// New returns the catalogue of a lister.
func New(lister listers.ClusterPullSecretLister) *Catalog { return &Catalog{lister: lister} }

// Get returns the catalogue as of now. Whether it is still the last one is seen by
// the objects in the cache, which are replaced when they change: an event could
// come later than the reconciliation that it causes elsewhere.
func (c *Catalog) Get() (grant.Catalog, error) {
	all, err := c.lister.List(labels.Everything())
	if err != nil {
		return grant.Catalog{}, fmt.Errorf("failed to list ClusterPullSecrets: %w", err)
	}
	// Listers list in no order.
	slices.SortFunc(all, func(a, b *v1alpha1.ClusterPullSecret) int { return strings.Compare(a.Name, b.Name) })
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(all, c.from) {
		c.current, c.from = grant.NewCatalog(all), all
	}
	return c.current, nil
}

// Due returns what a Namespace with these Services may have, and which of it there
// is to be a copy of. An excluded Namespace may have nothing.
func (c *Catalog) Due(namespace *corev1.Namespace, services []*servingv1.Service, excluded bool) (granted grant.Grants, wanted []*v1alpha1.ClusterPullSecret, err error) {
	if excluded {
		return grant.Grants{}, nil, nil
	}
	all, err := c.Get()
	if err != nil {
		return grant.Grants{}, nil, err
	}
	granted = all.For(namespace.Labels)
	if len(granted.Serving) == 0 {
		return granted, nil, nil
	}
	asks := grant.NewAsks(annotation.ForNamespace(namespace.Annotations))
	for _, svc := range services {
		asks.AddService(annotation.ForService(svc.Annotations), Images(svc))
	}
	return granted, granted.Wanted(asks, Covers), nil
}

// Images are the images of a Service's containers and image volumes, in no special
// order.
func Images(svc *servingv1.Service) []grant.Image {
	spec := &svc.Spec.Template.Spec
	var images []grant.Image
	for _, container := range slices.Concat(spec.InitContainers, spec.Containers) {
		images = append(images, grant.Image{Reference: container.Image})
	}
	for i := range spec.Volumes {
		if from := spec.Volumes[i].Image; from != nil {
			images = append(images, grant.Image{Reference: from.Reference, KubeletAlone: true})
		}
	}
	return images
}
