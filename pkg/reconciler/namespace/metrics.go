// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// scope is the name of the meter.
const scope = "pullsecrets.dev/pkg/reconciler/namespace"

// result is the outcome of one attempt to write a copy.
type result string

const (
	created  result = "created"
	updated  result = "updated"
	removed  result = "removed"
	retained result = "retained"
	// conflict means that a user's Secret has the name of the copy.
	conflict result = "conflict"
	failed   result = "failed"
)

// recorded holds the metrics of this reconciler.
type recorded struct{ copies metric.Int64Counter }

func newMetrics() (recorded, error) {
	copies, err := otel.GetMeterProvider().Meter(scope).Int64Counter("pullsecrets.copies",
		metric.WithDescription("Attempts to write a copy of a credential, by result"),
		metric.WithUnit("{copy}"))
	if err != nil {
		return recorded{}, err
	}
	// Prometheus sees no increase in a series that appears with its first value.
	for _, result := range []result{created, updated, removed, retained, conflict, failed} {
		copies.Add(context.Background(), 0, withResult(result))
	}
	return recorded{copies}, nil
}

func withResult(result result) metric.AddOption {
	return metric.WithAttributes(attribute.String("result", string(result)))
}

// count counts one attempt. It has no labels for the Namespace or the ClusterPullSecret,
// of which there may be thousands. The status of the ClusterPullSecret lists the
// failures.
func (r recorded) count(ctx context.Context, result result) {
	r.copies.Add(ctx, 1, withResult(result))
}

// attempt counts the result of a write, which is failed if there was an error.
func (r recorded) attempt(ctx context.Context, result result, err error) {
	if err != nil {
		result = failed
	}
	r.count(ctx, result)
}
