// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package clusterpullsecret

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pullsecrets.dev/pkg/memory"
	"pullsecrets.dev/pkg/verify"
)

// recorded holds the metrics of this reconciler.
type recorded struct {
	// duration is the time from a change of a source to its last copy.
	duration metric.Float64Histogram
	// credentials is what the gauges show, by ClusterPullSecret.
	credentials *memory.Store[credential]
	// checks counts the checks of credentials.
	checks metric.Int64Counter
}

// credential is what gauges show of the credential of a ClusterPullSecret.
type credential struct {
	// expires is in seconds since 1970, or zero if it is not known.
	expires int64
	// verified means that the credential was checked, and rejected that a registry rejected
	// it.
	verified, rejected bool
}

func newMetrics(mem *memory.Memory) (recorded, error) {
	meter := otel.GetMeterProvider().Meter("pullsecrets.dev/pkg/reconciler/clusterpullsecret")
	duration, err := meter.Float64Histogram("pullsecrets.distribution.duration",
		metric.WithDescription("Time from the change of a source, as seen by the controller, until the last of its copies was up to date"),
		metric.WithUnit("s"),
		// A few copies take a second, thousands take minutes, and a blocked copy takes
		// until the cause is resolved.
		metric.WithExplicitBucketBoundaries(1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600))
	if err != nil {
		return recorded{}, err
	}
	checks, err := meter.Int64Counter("pullsecrets.credential.checks",
		metric.WithDescription("Checks of the credentials of ClusterPullSecrets at their registries, by result"),
		metric.WithUnit("{check}"))
	if err != nil {
		return recorded{}, err
	}
	r := recorded{duration, memory.NewStore[credential](mem), checks}
	_, err = meter.Int64ObservableGauge("pullsecrets.credential.rejected",
		metric.WithDescription("Whether a registry rejects the credential of a ClusterPullSecret, 0 or 1, if it was checked"),
		metric.WithInt64Callback(r.observeRejected))
	if err != nil {
		return recorded{}, err
	}
	_, err = meter.Int64ObservableGauge("pullsecrets.credential.expires",
		metric.WithDescription("When the first credential of a ClusterPullSecret expires, in seconds since 1970, if it is known"),
		metric.WithUnit("s"), metric.WithInt64Callback(r.observeExpires))
	return r, err
}

// noteExpires sets the value of the gauge. The zero time removes it.
func (r recorded) noteExpires(name string, at metav1.Time) {
	r.credentials.Do(keyFor(name), func(known *credential) bool {
		known.expires = 0
		if !at.IsZero() {
			known.expires = at.Unix()
		}
		return *known != credential{}
	})
}

// noteCheck counts a check. The counter names no ClusterPullSecret, because the series of one
// that is deleted would stay.
func (r recorded) noteCheck(ctx context.Context, result verify.Result) {
	r.checks.Add(ctx, 1, metric.WithAttributes(attribute.String("result", string(result))))
}

// noteRejected sets the value of the gauge. Nil removes it.
func (r recorded) noteRejected(name string, rejected *bool) {
	r.credentials.Do(keyFor(name), func(known *credential) bool {
		known.verified, known.rejected = rejected != nil, rejected != nil && *rejected
		return *known != credential{}
	})
}

// observeRejected is the callback of the gauge. A ClusterPullSecret without spec.verify has no
// series.
func (r recorded) observeRejected(_ context.Context, observer metric.Int64Observer) error {
	r.credentials.Each(func(key types.NamespacedName, known *credential) {
		if known.verified {
			value := map[bool]int64{true: 1}[known.rejected]
			observer.Observe(value, metric.WithAttributes(attribute.String("cluster_pull_secret", key.Name)))
		}
	})
	return nil
}

// observeExpires is the callback of the gauge. A ClusterPullSecret without a known expiry has
// no series.
func (r recorded) observeExpires(_ context.Context, observer metric.Int64Observer) error {
	r.credentials.Each(func(key types.NamespacedName, known *credential) {
		if known.expires != 0 {
			observer.Observe(known.expires, metric.WithAttributes(attribute.String("cluster_pull_secret", key.Name)))
		}
	})
	return nil
}
