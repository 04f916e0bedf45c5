// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package testing

import (
	"fmt"
	"slices"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// Metrics collects the metrics of instruments that the test creates from now on. It
// returns a function that reads them. The keys are names with attributes, as in
// "pullsecrets.copies{result=created}". The values are those of counters and gauges, and
// the number of recordings of histograms. Counters that are zero are left out, because
// every counter starts with all of its series at zero. The provider is global, so tests that use it
// must not run in parallel.
func Metrics(t *testing.T) func() map[string]int64 {
	t.Helper()
	reader, before := metric.NewManualReader(), otel.GetMeterProvider()
	// The first provider that is set inherits the instruments that were created before.
	otel.SetMeterProvider(noop.NewMeterProvider())
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(reader)))
	t.Cleanup(func() { otel.SetMeterProvider(before) })
	return func() map[string]int64 {
		t.Helper()
		var all metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &all); err != nil {
			t.Fatal(err)
		}
		values := map[string]int64{}
		for _, scope := range all.ScopeMetrics {
			for _, m := range scope.Metrics {
				read(values, m)
			}
		}
		return values
	}
}

func read(values map[string]int64, m metricdata.Metrics) {
	points := func(all []metricdata.DataPoint[int64]) {
		for _, p := range all {
			values[series(m.Name, p.Attributes)] = p.Value
		}
	}
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		points(slices.DeleteFunc(data.DataPoints, func(p metricdata.DataPoint[int64]) bool { return p.Value == 0 }))
	case metricdata.Gauge[int64]:
		points(data.DataPoints)
	case metricdata.Gauge[float64]:
		for _, p := range data.DataPoints {
			values[series(m.Name, p.Attributes)] = int64(p.Value)
		}
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			values[series(m.Name, p.Attributes)] = int64(p.Count)
		}
	default:
		panic(fmt.Sprintf("metric %s has unsupported type %T", m.Name, m.Data))
	}
}

func series(name string, attributes attribute.Set) string {
	if attributes.Len() == 0 {
		return name
	}
	return fmt.Sprintf("%s{%s}", name, attributes.Encoded(attribute.DefaultEncoder()))
}
