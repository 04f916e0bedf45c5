// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pullsecrets.dev/pkg/apis/pullsecrets"
	"pullsecrets.dev/test/env"
	"pullsecrets.dev/test/monitoring"
	"pullsecrets.dev/test/pages"
)

const (
	// repository is the root of the repository, relative to this package.
	repository = "../.."
	// acceleration is by how much the durations of rules are shorter here: ten minutes are
	// fifteen seconds.
	acceleration = 40
	// rateWindow is the window of rates in the dashboard.
	rateWindow = 15 * time.Second
	// The API server has so many metrics that a busy machine takes a while to read them.
	interval, apiServerInterval = 2 * time.Second, 4 * time.Second
)

// monitored is a cluster with a Prometheus that scrapes our programs and the API server, and
// has the rules of config/monitoring.
type monitored struct {
	*env.Env
	prometheus *monitoring.Prometheus
	start      time.Time
}

func newMonitored(t *testing.T) *monitored {
	t.Helper()
	e := env.Get(t)
	e.Need(t, env.ProcessControl, env.LoopbackCalls)
	programs, err := monitoring.Programs(t.Context(), repository)
	if err != nil {
		t.Skipf("NOT RUN: %s: needs Prometheus: %v", t.Name(), err)
	}
	groups, err := monitoring.ReadRules(repository)
	if err == nil {
		groups, err = monitoring.Accelerate(groups, acceleration)
	}
	if err != nil {
		t.Fatal(err)
	}
	m := &monitored{Env: e, start: time.Now()}
	m.prometheus, err = monitoring.Start(t.Context(), programs, t.TempDir(), groups, append(m.programs(t), m.apiServer(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.prometheus.Stop(); err != nil {
			t.Error("stop Prometheus: ", err)
		}
	})
	eventually(t, func(ctx context.Context) error {
		found, err := m.prometheus.Query(ctx, "up == 1")
		if err == nil && len(found) != 3 {
			err = fmt.Errorf("targets that are scraped: %v, want three", found)
		}
		return err
	})
	return m
}

// programs returns our programs with the labels that the Prometheus operator would give them.
func (m *monitored) programs(t *testing.T) (targets []monitoring.Scrape) {
	t.Helper()
	for _, program := range []string{"controller", "webhook"} {
		status, err := m.Processes.Get(t.Context(), program)
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, monitoring.Scrape{Port: status.Ports["metrics"], Interval: interval, Labels: map[string]string{
			"job": "pullsecrets-system/pullsecrets", "namespace": pullsecrets.SystemNamespace, "container": program, "pod": program, "instance": program,
		}})
	}
	return targets
}

// apiServer returns the API server, with the certificate of the suite's own user.
func (m *monitored) apiServer(t *testing.T) monitoring.Scrape {
	t.Helper()
	server, err := url.Parse(m.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(server.Port())
	if err != nil {
		t.Fatal(err)
	}
	tls, dir, files := m.Config.TLSClientConfig, t.TempDir(), map[string]string{}
	for name, content := range map[string][]byte{"ca_file": tls.CAData, "cert_file": tls.CertData, "key_file": tls.KeyData} {
		files[name] = filepath.Join(dir, name)
		if err := os.WriteFile(files[name], content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return monitoring.Scrape{Port: port, Interval: apiServerInterval, TLS: files, Labels: map[string]string{"job": "apiserver", "instance": "apiserver"}}
}

// waitForAlert waits until an alert with these labels fires.
func (m *monitored) waitForAlert(t *testing.T, alert string, labels map[string]string) {
	t.Helper()
	m.waitForState(t, alert, labels, true)
}

// waitForEnd waits until no alert with these labels fires.
func (m *monitored) waitForEnd(t *testing.T, alert string, labels map[string]string) {
	t.Helper()
	m.waitForState(t, alert, labels, false)
}

func (m *monitored) waitForState(t *testing.T, alert string, labels map[string]string, want bool) {
	t.Helper()
	began := time.Now()
	eventually(t, func(ctx context.Context) error {
		all, err := m.prometheus.Alerts(ctx)
		if err == nil && slices.ContainsFunc(all, func(a monitoring.Alert) bool { return firesAs(a, alert, labels) }) != want {
			err = fmt.Errorf("want that alert %s with %v fires: %t; there are %+v", alert, labels, want, all)
		}
		return err
	})
	t.Logf("%s with %v fires: %t, after %s", alert, labels, want, time.Since(began).Round(time.Second))
}

func firesAs(a monitoring.Alert, alert string, labels map[string]string) bool {
	for name, value := range labels {
		if a.Labels[name] != value {
			return false
		}
	}
	return a.State == "firing" && a.Labels["alertname"] == alert
}

// checkQuiet checks that no alert fires.
func (m *monitored) checkQuiet(t *testing.T) {
	t.Helper()
	all, err := m.prometheus.Alerts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if a.State == "firing" {
			t.Errorf("alert %v fires, and nothing is wrong", a.Labels)
		}
	}
}

// checkDashboard checks that every query of the dashboard has a valid result, and that every
// metric in it and in the rules exists: it was scraped, or is documented, which another test
// compares with the code.
func (m *monitored) checkDashboard(t *testing.T) monitoring.Dashboard {
	t.Helper()
	d, err := monitoring.ReadDashboard(repository)
	if err != nil {
		t.Fatal(err)
	}
	groups, err := monitoring.ReadRules(repository)
	if err != nil {
		t.Fatal(err)
	}
	known, err := m.prometheus.Names(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range documentedMetrics(t) {
		known = append(known, name, name+"_bucket")
	}
	expressions := map[string]string{}
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			expressions[target.Query(rateWindow)] = "panel " + panel.Title
		}
	}
	for _, group := range groups {
		for _, rule := range group.Rules {
			expressions[rule.Expr] = rule.Alert
		}
	}
	for expr, where := range expressions {
		found, err := m.prometheus.Query(t.Context(), expr)
		if err != nil {
			t.Errorf("%s: %v", where, err)
		}
		names := monitoring.Metrics(expr)
		if len(names) == 0 {
			t.Errorf("%s: found no metric in %s", where, expr)
		}
		for _, name := range names {
			if !slices.Contains(known, name) {
				t.Errorf("%s: there is no metric %s", where, name)
			}
		}
		t.Logf("%s: %d series", where, len(found))
	}
	return d
}

// documentedMetrics returns the names of the metrics in docs/operations.md.
func documentedMetrics(t *testing.T) (names []string) {
	t.Helper()
	text, err := pages.Section(docs, "operations.md", "Metrics")
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile("(?m)^\\| `(pullsecrets_[a-z_]+)` ").FindAllStringSubmatch(text, -1) {
		names = append(names, found[1])
	}
	return names
}

// draw writes the picture of the dashboard with the data since the start to the file that
// DASHBOARD names, with other names.
func (m *monitored) draw(t *testing.T, d monitoring.Dashboard, names *strings.Replacer) {
	t.Helper()
	file := os.Getenv("DASHBOARD")
	if file == "" {
		return
	}
	picture, err := monitoring.Take(t.Context(), m.prometheus, d, m.start, time.Now(), rateWindow, names)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := picture.Draw(out); err != nil {
		t.Fatal(err)
	}
}
