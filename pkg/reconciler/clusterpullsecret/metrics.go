// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
)

// recorded holds the metrics of this reconciler.
type recorded struct {
	// duration is the time from a change of a source to its last copy.
	duration metric.Float64Histogram
}

func newMetrics() (recorded, error) {
	duration, err := otel.GetMeterProvider().Meter("pullsecrets.dev/pkg/reconciler/clusterpullsecret").Float64Histogram("pullsecrets.distribution.duration",
		metric.WithDescription("Time from the change of a source, as seen by the controller, until the last of its copies was up to date"),
		metric.WithUnit("s"),
		// A few copies take a second, thousands take minutes, and a blocked copy takes
		// until the cause is resolved.
		metric.WithExplicitBucketBoundaries(1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600))
	return recorded{duration}, err
}
