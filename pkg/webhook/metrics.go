// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"pullsecrets.dev/pkg/merge"
)

// metrics are admission's own; durations come from knative.dev/pkg.
type metrics struct {
	added metric.Int64Counter
}

func newMetrics() (metrics, error) {
	added, err := otel.GetMeterProvider().Meter("pullsecrets.dev/pkg/webhook").Int64Counter("pullsecrets.entries.added",
		metric.WithDescription("Entries added to imagePullSecrets of Services, by the kind of their origin and by path"),
		metric.WithUnit("{entry}"))
	return metrics{added}, err
}

func (m metrics) countAdded(ctx context.Context, entries []merge.Entry) {
	for _, e := range entries {
		m.added.Add(ctx, 1, metric.WithAttributes(
			attribute.String("origin", e.Origin.Kind()), attribute.String("path", "admission")))
	}
}
