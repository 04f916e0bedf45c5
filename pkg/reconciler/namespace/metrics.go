// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// A result is what became of a copy in one attempt to write it.
type result string

const (
	created  result = "created"
	updated  result = "updated"
	removed  result = "removed"
	retained result = "retained"
	// conflict: a Secret of the user's stands in its place.
	conflict result = "conflict"
	failed   result = "failed"
)

// recorded is what the reconciler records.
type recorded struct{ copies metric.Int64Counter }

func newMetrics() (recorded, error) {
	copies, err := otel.GetMeterProvider().Meter("pullsecrets.dev/pkg/reconciler/namespace").Int64Counter("pullsecrets.copies",
		metric.WithDescription("Attempts to write a copy of a credential, by result"),
		metric.WithUnit("{copy}"))
	return recorded{copies}, err
}

// count counts one attempt. Neither namespace nor ClusterPullSecret is told, of
// which there may be thousands; the status of the ClusterPullSecret names those that
// fail.
func (r recorded) count(ctx context.Context, result result) {
	r.copies.Add(ctx, 1, metric.WithAttributes(attribute.String("result", string(result))))
}

// attempt counts a result, or the failure.
func (r recorded) attempt(ctx context.Context, result result, err error) {
	if err != nil {
		result = failed
	}
	r.count(ctx, result)
}
