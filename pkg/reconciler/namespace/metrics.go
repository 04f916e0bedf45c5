// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

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
	copies, err := otel.GetMeterProvider().Meter("pullsecrets.dev/pkg/reconciler/namespace").Int64Counter("pullsecrets.copies",
		metric.WithDescription("Attempts to write a copy of a credential, by result"),
		metric.WithUnit("{copy}"))
	return recorded{copies}, err
}

// count counts one attempt. It has no labels for the Namespace or the ClusterPullSecret,
// of which there may be thousands. The status of the ClusterPullSecret lists the
// failures.
func (r recorded) count(ctx context.Context, result result) {
	r.copies.Add(ctx, 1, metric.WithAttributes(attribute.String("result", string(result))))
}

// attempt counts the result of a write, which is failed if there was an error.
func (r recorded) attempt(ctx context.Context, result result, err error) {
	if err != nil {
		result = failed
	}
	r.count(ctx, result)
}
