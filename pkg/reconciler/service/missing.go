// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"maps"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
)

// lookAgain is when a Service is looked at again of which Secrets are missing:
// nothing tells when a Secret of the user's comes, under a name of their own or
// under that of a copy.
const lookAgain = 10 * time.Minute

// missing is which Secrets Services declare that cannot be used, as of the last
// look: they do not exist, or are of another type. The zero value is ready to use.
type missing struct {
	mu       sync.Mutex
	services map[types.NamespacedName][]string
}

// note notes what a look at the Secrets of a Service has found.
func (m *missing) note(service types.NamespacedName, names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(names) == 0 {
		delete(m.services, service)
		return
	}
	if m.services == nil {
		m.services = make(map[types.NamespacedName][]string)
	}
	m.services[service] = names
}

// of tells whether Secrets of a Service were missing at the last look.
func (m *missing) of(service types.NamespacedName) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.services[service]) > 0
}

// forgetThose drops what was found of certain Services, for a process that no longer
// leads for them.
func (m *missing) forgetThose(are func(types.NamespacedName) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.services, func(key types.NamespacedName, _ []string) bool { return are(key) })
}

// observe is the callback of the gauge. A namespace that lacks nothing has no
// series, so that there are only as many as there is something to do.
func (m *missing) observe(_ context.Context, observer metric.Int64Observer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	byNamespace := make(map[string]sets.Set[string])
	for service, names := range m.services {
		if byNamespace[service.Namespace] == nil {
			byNamespace[service.Namespace] = sets.New[string]()
		}
		byNamespace[service.Namespace].Insert(names...)
	}
	for namespace, names := range byNamespace {
		observer.Observe(int64(names.Len()), metric.WithAttributes(attribute.String("namespace", namespace)))
	}
	return nil
}
