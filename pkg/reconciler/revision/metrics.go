// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package revision

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
)

// recorded holds the metrics of this reconciler.
type recorded struct {
	retried metric.Int64Counter
}

func newMetrics(found findings) (recorded, error) {
	meter := otel.GetMeterProvider().Meter("pullsecrets.dev/pkg/reconciler/revision")
	_, err := meter.Int64ObservableGauge("pullsecrets.images.uncovered",
		metric.WithDescription("Images in a namespace, of Revisions that are the newest or get traffic, that no credential covers"),
		metric.WithUnit("{image}"), metric.WithInt64Callback(found.observe))
	if err != nil {
		return recorded{}, err
	}
	retried, err := meter.Int64Counter("pullsecrets.revisions.retried",
		metric.WithDescription("Revisions that were never Ready and were deleted, so that Knative creates them again"),
		metric.WithUnit("{revision}"))
	return recorded{retried}, err
}
