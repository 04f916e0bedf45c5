// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package metrics holds the metrics that more than one program records.
package metrics

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"pullsecrets.dev/pkg/merge"
)

// Path is how an entry is added to a Service.
type Path string

const (
	// Admission is a request for the Service.
	Admission Path = "admission"
	// Backfill is a write of the controller after something other than the Service
	// changed.
	Backfill Path = "backfill"
	// Missed is a write of the controller for a Service that was written after its
	// Namespace, so that the webhook should have added the entry.
	Missed Path = "missed"
	// Report is an entry that is not added, because of backfill: report.
	Report Path = "report"
)

// Added counts entries that are added to Services.
type Added struct {
	counter metric.Int64Counter
}

// NewAdded registers the counter with the program's meter provider.
func NewAdded() (Added, error) {
	counter, err := otel.GetMeterProvider().Meter("pullsecrets.dev/pkg/metrics").Int64Counter("pullsecrets.entries.added",
		metric.WithDescription("Entries added to imagePullSecrets of Services, by the kind of their origin and by path"),
		metric.WithUnit("{entry}"))
	return Added{counter}, err
}

// Count counts the entries. The origin is recorded by its kind, because names of
// ClusterPullSecrets and ServiceAccounts would create a series each.
func (a Added) Count(ctx context.Context, entries []merge.Entry, path Path) {
	for _, e := range entries {
		a.counter.Add(ctx, 1, metric.WithAttributes(
			attribute.String("origin", e.Origin.Kind()), attribute.String("path", string(path))))
	}
}
