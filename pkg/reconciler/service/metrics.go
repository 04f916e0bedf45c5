// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"

	"pullsecrets.dev/pkg/metrics"
)

// recorded is what the reconciler records; queue lengths, latencies and API
// requests come from knative.dev/pkg.
type recorded struct {
	added     metrics.Added
	contested metric.Int64Counter
}

func newMetrics() (recorded, error) {
	added, err := metrics.NewAdded()
	if err != nil {
		return recorded{}, err
	}
	contested, err := otel.GetMeterProvider().Meter("pullsecrets.dev/pkg/reconciler/service").Int64Counter("pullsecrets.services.contested",
		metric.WithDescription("Services left alone because somebody keeps removing what is declared"),
		metric.WithUnit("{service}"))
	return recorded{added, contested}, err
}
