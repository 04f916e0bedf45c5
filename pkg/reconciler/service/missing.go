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

// lookAgain is when a Service is looked at again of which Secrets are missing:
// nothing tells when a Secret of the user's comes, under a name of their own or
// under that of a copy.
const lookAgain = 10 * time.Minute

// missing is which Secrets Services declare that cannot be used, as of the last
// read: they do not exist, or are of another type.
type missing struct{ *memory.Store[[]string] }

// note records what a read of the Secrets of a Service has found.
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

// observe is the callback of the gauge. A namespace that lacks nothing has no
// series, so that there are only as many as there is something to do.
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
