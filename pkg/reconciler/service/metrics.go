// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"

	"pullsecrets.dev/pkg/memory"
	"pullsecrets.dev/pkg/metrics"
)

// recorded holds the reconciler's own metrics. knative.dev/pkg records queue lengths,
// latencies and API requests.
type recorded struct {
	added     metrics.Added
	contested metric.Int64Counter
	missing   missing
}

func newMetrics(mem *memory.Memory) (recorded, error) {
	added, err := metrics.NewAdded()
	if err != nil {
		return recorded{}, err
	}
	meter := otel.GetMeterProvider().Meter("pullsecrets.dev/pkg/reconciler/service")
	contested, err := meter.Int64Counter("pullsecrets.services.contested",
		metric.WithDescription("Services left alone because declared pull secrets are removed again and again"),
		metric.WithUnit("{service}"))
	if err != nil {
		return recorded{}, err
	}
	m := recorded{added, contested, missing{memory.NewStore[[]string](mem)}}
	_, err = meter.Int64ObservableGauge("pullsecrets.secrets.missing",
		metric.WithDescription("Secrets that Services of a namespace declare and that do not exist or cannot be used for pulling"),
		metric.WithUnit("{secret}"), metric.WithInt64Callback(m.missing.observe))
	return m, err
}
