// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"pullsecrets.dev/pkg/memory"
)

// recheckAfter is when a Service with missing Secrets is requeued. No event says when a
// user creates a Secret, under a name of their own or that of a copy.
const recheckAfter = 10 * time.Minute

// missing holds the Secrets that Services declare and that did not exist, or were of an
// unusable type, at the last read.
type missing struct{ *memory.Store[[]string] }

// note records the unusable names of a Service.
func (m missing) note(service types.NamespacedName, names []string) {
	m.Do(service, func(known *[]string) bool {
		*known = names
		return len(names) > 0
	})
}

// of reports whether Secrets of a Service were missing at the last read.
func (m missing) of(service types.NamespacedName) (lacks bool) {
	m.Do(service, func(known *[]string) bool {
		lacks = len(*known) > 0
		return lacks
	})
	return lacks
}

// observe is the callback of the gauge. A namespace without missing Secrets has no
// series.
func (m missing) observe(_ context.Context, observer metric.Int64Observer) error {
	byNamespace := make(map[string]sets.Set[string])
	m.Each(func(service types.NamespacedName, names *[]string) {
		if byNamespace[service.Namespace] == nil {
			byNamespace[service.Namespace] = sets.New[string]()
		}
		byNamespace[service.Namespace].Insert(*names...)
	})
	for namespace, names := range byNamespace {
		observer.Observe(int64(names.Len()), metric.WithAttributes(attribute.String("namespace", namespace)))
	}
	return nil
}
