// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"pullsecrets.dev/pkg/merge"
)

// metrics are the reconciler's own; queue lengths, latencies and API requests
// come from knative.dev/pkg.
type metrics struct {
	added     metric.Int64Counter
	contested metric.Int64Counter
}

// Paths by which an entry comes into a Service.
const (
	pathBackfill = "backfill"
	// pathReport counts what backfill: report would have added.
	pathReport = "report"
)

func newMetrics() (metrics, error) {
	meter := otel.GetMeterProvider().Meter("pullsecrets.dev/pkg/reconciler/service")
	added, err := meter.Int64Counter("pullsecrets.entries.added",
		metric.WithDescription("Entries added to imagePullSecrets of Services, by the kind of their origin and by path"),
		metric.WithUnit("{entry}"))
	if err != nil {
		return metrics{}, err
	}
	contested, err := meter.Int64Counter("pullsecrets.services.contested",
		metric.WithDescription("Services left alone because somebody keeps removing what is declared"),
		metric.WithUnit("{service}"))
	return metrics{added, contested}, err
}

func (m metrics) countAdded(ctx context.Context, entries []merge.Entry, path string) {
	for _, e := range entries {
		// Names of ClusterPullSecrets and ServiceAccounts would make a series each.
		m.added.Add(ctx, 1, metric.WithAttributes(attribute.String("origin", e.Origin.Kind()), attribute.String("path", path)))
	}
}
