// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
)

// recorded is what the reconciler records.
type recorded struct {
	// duration is from a source's change to its last copy.
	duration metric.Float64Histogram
}

func newMetrics() (recorded, error) {
	duration, err := otel.GetMeterProvider().Meter("pullsecrets.dev/pkg/reconciler/clusterpullsecret").Float64Histogram("pullsecrets.distribution.duration",
		metric.WithDescription("Time from the change of a source, as seen by the controller, until the last of its copies was up to date"),
		metric.WithUnit("s"),
		// A handful of copies takes a second, thousands take minutes, and one that
		// is in somebody's way takes until that is settled.
		metric.WithExplicitBucketBoundaries(1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600))
	return recorded{duration}, err
}
