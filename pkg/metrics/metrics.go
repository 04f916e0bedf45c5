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

// scope is the name of the meter.
const scope = "pullsecrets.dev/pkg/metrics"

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

// NewAdded registers the counter with the program's meter provider. All series start at
// zero: Prometheus sees no increase in a series that appears with its first value.
func NewAdded() (Added, error) {
	counter, err := otel.GetMeterProvider().Meter(scope).Int64Counter("pullsecrets.entries.added",
		metric.WithDescription("Entries added to imagePullSecrets of Services, by the kind of their origin and by path"),
		metric.WithUnit("{entry}"))
	if err != nil {
		return Added{}, err
	}
	a := Added{counter}
	for _, kind := range merge.Kinds() {
		for _, path := range []Path{Admission, Backfill, Missed, Report} {
			a.add(context.Background(), 0, kind, path)
		}
	}
	return a, nil
}

// Count counts the entries. The origin is recorded by its kind, because names of
// ClusterPullSecrets and ServiceAccounts would create a series each.
func (a Added) Count(ctx context.Context, entries []merge.Entry, path Path) {
	for _, e := range entries {
		a.add(ctx, 1, e.Origin.Kind(), path)
	}
}

func (a Added) add(ctx context.Context, n int64, kind string, path Path) {
	a.counter.Add(ctx, n, metric.WithAttributes(attribute.String("origin", kind), attribute.String("path", string(path))))
}
