// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"context"
	"maps"
	"slices"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/pkg/memory"
	"pullsecrets.dev/pkg/reconciler/namespace/resources"
)

// removals holds, by Namespace, since when each copy is to be removed or to lose our
// labels. Copies are identified by UID, so a Secret that another writer recreates again
// and again is not one old removal.
type removals struct {
	memory.Table[types.UID, time.Time]
}

func newRemovals(m *memory.Memory) removals {
	return removals{memory.NewTable[types.UID, time.Time](m)}
}

// removes reports whether a verb ends the existence of a copy.
func removes(verb resources.Verb) bool {
	return slices.Contains([]resources.Verb{resources.Remove, resources.Revoke, resources.Release, resources.Retain}, verb)
}

// decided records which copies of a namespace are to be removed now. A copy that is not
// among them was removed, or is needed again.
func (r removals) decided(namespace string, uids []types.UID) {
	now := time.Now()
	r.Do(byNamespace(namespace), func(since map[types.UID]time.Time) {
		maps.DeleteFunc(since, func(uid types.UID, _ time.Time) bool { return !slices.Contains(uids, uid) })
		for _, uid := range uids {
			if _, known := since[uid]; !known {
				since[uid] = now
			}
		}
	})
}

// delay returns for how long the oldest removal of all namespaces has not succeeded, or
// zero.
func (r removals) delay() time.Duration {
	now, oldest := time.Now(), time.Duration(0)
	r.Each(func(_ types.NamespacedName, since *map[types.UID]time.Time) {
		for _, began := range *since {
			oldest = max(oldest, now.Sub(began))
		}
	})
	return oldest
}

// record registers the gauge of the delay. It has no attribute for the Namespace, of
// which there may be thousands.
func (r removals) record() error {
	_, err := otel.GetMeterProvider().Meter(scope).Float64ObservableGauge("pullsecrets.revocation.delay",
		metric.WithDescription("For how long the oldest copy that must be removed still exists"),
		metric.WithUnit("s"), metric.WithFloat64Callback(func(_ context.Context, observer metric.Float64Observer) error {
			observer.Observe(r.delay().Seconds())
			return nil
		}))
	return err
}
