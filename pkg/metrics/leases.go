// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"k8s.io/client-go/tools/leaderelection"
)

// RecordLeases records in how many leader elections this process takes part, and how many
// leases it holds. It must be called once, before the first election starts. Without
// leader election, both are zero.
func RecordLeases() error {
	p, err := newLeases()
	if err != nil {
		return err
	}
	leaderelection.SetProvider(p)
	return nil
}

// leases is the provider of the metrics of client-go's leader elections. Their names are no
// attribute: knative.dev/pkg names each election after the process.
type leases struct{ elections, held metric.Int64UpDownCounter }

func newLeases() (*leases, error) {
	meter := otel.GetMeterProvider().Meter(scope)
	elections, err := meter.Int64UpDownCounter("pullsecrets.leader.elections",
		metric.WithDescription("Leader elections that the process takes part in"), metric.WithUnit("{election}"))
	if err != nil {
		return nil, err
	}
	held, err := meter.Int64UpDownCounter("pullsecrets.leader.leases",
		metric.WithDescription("Leases of leader election that the process holds"), metric.WithUnit("{lease}"))
	if err != nil {
		return nil, err
	}
	elections.Add(context.Background(), 0)
	held.Add(context.Background(), 0)
	return &leases{elections, held}, nil
}

// NewLeaderMetric is called once for each election.
func (l *leases) NewLeaderMetric() leaderelection.LeaderMetric {
	l.elections.Add(context.Background(), 1)
	return &lease{held: l.held}
}

// lease is one election. client-go also reports losses of a lease that the process did not
// hold.
type lease struct {
	held metric.Int64UpDownCounter
	on   atomic.Bool
}

func (l *lease) On(string) {
	if !l.on.Swap(true) {
		l.held.Add(context.Background(), 1)
	}
}

func (l *lease) Off(string) {
	if l.on.Swap(false) {
		l.held.Add(context.Background(), -1)
	}
}

func (l *lease) SlowpathExercised(string) {}
