// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package oracles

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/monitoring"
)

const (
	// root is the root of the repository, relative to this package.
	root = "../../.."
	// scrapeEvery is how often Prometheus reads the metrics of both programs.
	scrapeEvery = 5 * time.Second
	// rates is the window of rates in the report.
	rates = 2 * time.Minute
	// restarting is the part of a soak in which processes are stopped and killed. In the
	// rest, one process of each program runs, so that its growth shows.
	restarting = 0.25
)

// soak observes both programs while TestModel runs. It is nil unless SOAK is the path of a
// report, to which it draws memory, goroutines, work queues and latency.
type soak struct {
	prometheus *monitoring.Prometheus
	report     string
	began      time.Time
	// steady is when the last process was stopped.
	steady time.Time
	ends   time.Time
}

// newSoak starts Prometheus, if SOAK is set.
func newSoak(t *testing.T, e *env.Env, ends time.Time) *soak {
	t.Helper()
	report := os.Getenv("SOAK")
	if report == "" {
		return nil
	}
	programs, err := monitoring.Programs(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	var targets []monitoring.Scrape
	for _, program := range []string{"controller", "webhook"} {
		status, err := e.Processes.Get(t.Context(), program)
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, monitoring.Scrape{Port: status.Ports["metrics"], Interval: scrapeEvery, Labels: map[string]string{"program": program}})
	}
	s := &soak{report: report, began: time.Now(), ends: ends}
	s.steady = s.began.Add(time.Duration(restarting * float64(ends.Sub(s.began))))
	if s.prometheus, err = monitoring.Start(t.Context(), programs, t.TempDir(), nil, targets); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.prometheus.Stop(); err != nil {
			t.Error("stop Prometheus: ", err)
		}
	})
	return s
}

// restarts reports whether processes may be stopped now.
func (s *soak) restarts() bool { return s == nil || time.Now().Before(s.steady) }

// soakPanels are the panels of the report: title, unit of Grafana, query.
var soakPanels = [][3]string{
	{"Resident memory", "bytes", `process_resident_memory_bytes`},
	{"Live heap", "bytes", `go_memory_used_bytes{go_memory_type="other"}`},
	{"Goroutines", "short", `go_goroutine_count`},
	{"Keys in work queues", "short", `sum by (program) (kn_workqueue_depth)`},
	{"Reconciliations per second", "short", `sum by (program) (rate(kn_workqueue_process_duration_seconds_count[$__rate_interval]))`},
	{"Time in a work queue, 99th percentile", "s", `histogram_quantile(0.99, sum by (program, le) (rate(kn_workqueue_queue_duration_seconds_bucket[$__rate_interval])))`},
	{"Admission, 99th percentile", "s", `histogram_quantile(0.99, sum by (program, le) (rate(kn_webhook_handler_duration_seconds_bucket[$__rate_interval])))`},
	{"CPU", "percentunit", `rate(process_cpu_seconds_total[$__rate_interval])`},
}

func soakDashboard() monitoring.Dashboard {
	d := monitoring.Dashboard{Title: "A soak test", Description: "Both programs while random histories are checked against the model."}
	for i, panel := range soakPanels {
		p := monitoring.Panel{Title: panel[0], Type: "timeseries", Targets: []monitoring.Target{{Expr: panel[2], LegendFormat: "{{program}}"}}}
		p.GridPos.X, p.GridPos.Y, p.GridPos.W, p.GridPos.H = 12*(i%2), 9*(i/2), 12, 9
		p.FieldConfig.Defaults.Unit = panel[1]
		d.Panels = append(d.Panels, p)
	}
	return d
}

// finish draws the report, and fails the test if memory or goroutines grew.
func (s *soak) finish(t *testing.T) {
	t.Helper()
	if s == nil {
		return
	}
	ctx, end := context.WithoutCancel(t.Context()), time.Now()
	picture, err := monitoring.Take(ctx, s.prometheus, soakDashboard(), s.began, end, rates, strings.NewReplacer())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(s.report), 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(s.report)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := picture.Draw(file); err != nil {
		t.Fatal(err)
	}
	for i, panel := range soakPanels {
		if len(picture.Results[i]) == 0 {
			t.Errorf("there are no data for %q", panel[0])
		}
	}
	// Each bound is a factor and an offset: a heap varies with the last garbage collection.
	for _, bound := range []struct {
		panel  int
		factor float64
		offset float64
	}{{0, 1.25, 16 << 20}, {1, 1.25, 8 << 20}, {2, 1.1, 20}} {
		for _, line := range picture.Results[bound.panel] {
			first, last, err := growth(line.Points, s.steady, end)
			t.Logf("%s of the %s: %.0f after the last restart, %.0f at the end", soakPanels[bound.panel][0], line.Legend, first, last)
			if err != nil {
				t.Errorf("%s of the %s: %v", soakPanels[bound.panel][0], line.Legend, err)
			} else if last > first*bound.factor+bound.offset {
				t.Errorf("%s of the %s grew from %.0f to %.0f", soakPanels[bound.panel][0], line.Legend, first, last)
			}
		}
	}
}

// growth returns the medians of the first and the last quarter of the points in a time.
func growth(points []monitoring.Point, start, end time.Time) (first, last float64, err error) {
	var values []float64
	for _, point := range points {
		if !point.Time.Before(start) && !point.Time.After(end) {
			values = append(values, point.Value)
		}
	}
	n := len(values) / 4
	if n < 5 {
		return 0, 0, fmt.Errorf("there are only %d points between %s and %s", len(values), start.Format(time.TimeOnly), end.Format(time.TimeOnly))
	}
	middle := func(part []float64) float64 {
		sorted := slices.Sorted(slices.Values(part))
		return sorted[len(sorted)/2]
	}
	return middle(values[:n]), middle(values[len(values)-n:]), nil
}
