// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"pullsecrets.dev/pkg/annotation"
	"pullsecrets.dev/pkg/grant"
)

// maxAsks is the number of Namespaces whose requests are kept.
const maxAsks = 1024

// asks keeps what Namespaces request, with the objects that it was parsed from, which
// caches replace when they change. Each object is parsed once, however many
// ClusterPullSecrets select its Namespace.
type asks struct {
	mu     sync.Mutex
	byName map[string]*asked
}

type asked struct {
	namespace *corev1.Namespace
	services  map[*servingv1.Service]serviceAsks
	// sum must not be changed.
	sum grant.Asks
}

type serviceAsks struct {
	annotation.Service
	images []grant.Image
}

func (a *asks) of(namespace *corev1.Namespace, services []*servingv1.Service) grant.Asks {
	a.mu.Lock()
	before := a.byName[namespace.Name]
	a.mu.Unlock()
	if before.isOf(namespace, services) {
		return before.sum
	}
	now := read(namespace, services, before)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byName == nil {
		a.byName = make(map[string]*asked)
	}
	for name := range a.byName {
		if len(a.byName) < maxAsks {
			break
		}
		delete(a.byName, name)
	}
	a.byName[namespace.Name] = now
	return now.sum
}

// isOf reports whether nothing has changed.
func (a *asked) isOf(namespace *corev1.Namespace, services []*servingv1.Service) bool {
	if a == nil || a.namespace != namespace || len(a.services) != len(services) {
		return false
	}
	for _, svc := range services {
		if _, known := a.services[svc]; !known {
			return false
		}
	}
	return true
}

// read parses the Services that were not there before.
func read(namespace *corev1.Namespace, services []*servingv1.Service, before *asked) *asked {
	now := &asked{
		namespace: namespace, services: make(map[*servingv1.Service]serviceAsks, len(services)),
		sum: grant.NewAsks(annotation.ForNamespace(namespace.Annotations)),
	}
	for _, svc := range services {
		var of serviceAsks
		known := false
		if before != nil {
			of, known = before.services[svc]
		}
		if !known {
			of = serviceAsks{annotation.ForService(svc.Annotations), Images(svc)}
		}
		now.services[svc] = of
		now.sum.AddService(of.Service, of.images)
	}
	return now
}
