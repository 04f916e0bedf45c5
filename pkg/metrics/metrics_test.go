// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"pullsecrets.dev/pkg/merge"
	readers "pullsecrets.dev/pkg/reconciler/testing"
)

// The first entry that admission missed is an increase, not the first value of a series.
func TestAddedStartsAtZero(t *testing.T) {
	reader, before := metric.NewManualReader(), otel.GetMeterProvider()
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(reader)))
	t.Cleanup(func() { otel.SetMeterProvider(before) })
	if _, err := NewAdded(); err != nil {
		t.Fatal(err)
	}
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	points := all.ScopeMetrics[0].Metrics[0].Data.(metricdata.Sum[int64]).DataPoints
	if want := 4 * 4; len(points) != want {
		t.Errorf("%d series, want %d: each path of each kind of origin", len(points), want)
	}
	for _, p := range points {
		if p.Value != 0 {
			t.Errorf("%v starts at %d, want 0", p.Attributes.ToSlice(), p.Value)
		}
	}
}

func TestAddedByKindAndPath(t *testing.T) {
	read := readers.Metrics(t)
	a, err := NewAdded()
	if err != nil {
		t.Fatal(err)
	}
	a.Count(t.Context(), []merge.Entry{
		{Name: "a", Origin: merge.FromNamespace}, {Name: "b", Origin: merge.FromClusterPullSecret("b")}, {Name: "c", Origin: merge.FromClusterPullSecret("c")},
	}, Missed)
	want := map[string]int64{
		"pullsecrets.entries.added{origin=namespace,path=missed}": 1, "pullsecrets.entries.added{origin=clusterpullsecret,path=missed}": 2,
	}
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Error("counted (-want, +got):", diff)
	}
}
