// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const root = "../.."

func rules(t *testing.T) []Group {
	t.Helper()
	groups, err := ReadRules(root)
	if err != nil {
		t.Fatal(err)
	}
	return groups
}

// promtool runs promtool in a directory. A machine that has none and cannot download it does
// not run the test, which must not count as passed.
func promtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	programs, err := Programs(t.Context(), root)
	if err != nil {
		t.Skipf("NOT RUN: %s: needs promtool: %v", t.Name(), err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(programs, "promtool"), args...)
	cmd.Dir = dir
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, output)
	}
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// The rules of the manifest are valid, and the tests of testdata pass.
func TestRules(t *testing.T) {
	dir := t.TempDir()
	content, err := RuleFile(rules(t))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "rules.yaml"), content)
	promtool(t, dir, "check", "rules", "rules.yaml")
	for _, file := range testFiles(t) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, filepath.Base(file)), content)
		promtool(t, dir, "test", "rules", filepath.Base(file))
	}
}

// promtool accepts rules that are accelerated.
func TestAcceleratedRulesAreValid(t *testing.T) {
	dir := t.TempDir()
	fast, err := Accelerate(rules(t), 60)
	if err != nil {
		t.Fatal(err)
	}
	content, err := RuleFile(fast)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "rules.yaml"), content)
	promtool(t, dir, "check", "rules", "rules.yaml")
}

func TestAccelerate(t *testing.T) {
	groups := []Group{{Name: "g", Rules: []Rule{{Alert: "A", For: "10m", Expr: "increase(a[10m]) > 60 or b offset 1h unless c offset 30s"}, {Alert: "B", Expr: "b"}}}}
	want := []Group{{Name: "g", Rules: []Rule{{Alert: "A", For: "10000ms", Expr: "increase(a[10000ms]) > 60 or b offset 60000ms unless c offset 500ms"}, {Alert: "B", Expr: "b"}}}}
	got, err := Accelerate(groups, 60)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Accelerate() = %v (-want, +got):\n%s", err, diff)
	}
	groups[0].Rules[0].For = "soon"
	if _, err := Accelerate(groups, 60); err == nil {
		t.Error("Accelerate() accepts a duration that does not parse")
	}
}

func testFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	return files
}

// scenario is a test for promtool.
type scenario struct {
	Name  string `json:"name"`
	Evals []struct {
		Time  string `json:"eval_time"`
		Alert string `json:"alertname"`
		Want  []any  `json:"exp_alerts"`
	} `json:"alert_rule_test"`
}

// states returns whether the scenario expects the alert to fire, in the order of time.
func (s scenario) states(t *testing.T, alert string) (firing []bool) {
	t.Helper()
	var last time.Duration
	for _, eval := range s.Evals {
		at, err := time.ParseDuration(eval.Time)
		if err != nil || at < last {
			t.Errorf("scenario %q: %s comes after %s (%v)", s.Name, eval.Time, last, err)
		}
		last = at
		if eval.Alert == alert {
			firing = append(firing, len(eval.Want) > 0)
		}
	}
	return firing
}

// Each alert is seen to start, to end, and not to fire in a scenario that is close to it.
func TestEachAlertIsTested(t *testing.T) {
	var scenarios []scenario
	for _, file := range testFiles(t) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var all struct {
			Tests []scenario `json:"tests"`
		}
		if err := yaml.Unmarshal(content, &all); err != nil {
			t.Fatal(err)
		}
		scenarios = append(scenarios, all.Tests...)
	}
	for _, group := range rules(t) {
		for _, rule := range group.Rules {
			var starts, ends, silent bool
			for _, s := range scenarios {
				states := s.states(t, rule.Alert)
				if len(states) > 0 && !slices.Contains(states, true) {
					silent = true
				}
				for i := range states[:max(0, len(states)-1)] {
					starts = starts || !states[i] && states[i+1]
					ends = ends || states[i] && !states[i+1]
				}
			}
			if !starts || !ends || !silent {
				t.Errorf("%s: the scenarios show that it starts: %t, that it ends: %t, and that it can be silent: %t", rule.Alert, starts, ends, silent)
			}
		}
	}
}

// The queries of the dashboard are valid for Prometheus.
func TestQueriesOfTheDashboard(t *testing.T) {
	d, err := ReadDashboard(root)
	if err != nil {
		t.Fatal(err)
	}
	type record struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var all []record
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			all = append(all, record{fmt.Sprintf("query:%d", len(all)), target.Query(time.Minute)})
		}
	}
	if len(all) < 20 {
		t.Fatalf("the dashboard has %d queries", len(all))
	}
	content, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": all}}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "rules.yaml"), content)
	promtool(t, dir, "check", "rules", "rules.yaml")
}

// A Prometheus starts, evaluates, and ends.
func TestPrometheus(t *testing.T) {
	programs, err := Programs(t.Context(), root)
	if err != nil {
		t.Skipf("NOT RUN: %s: needs Prometheus: %v", t.Name(), err)
	}
	up := []Group{{Name: "g", Rules: []Rule{{Alert: "Always", Expr: "vector(7)", Labels: map[string]string{"severity": "none"}, Annotations: map[string]string{"summary": "{{ $value }}"}}}}}
	p, err := Start(t.Context(), programs, t.TempDir(), up, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		if _, err := p.Query(context.WithoutCancel(t.Context()), "1"); err == nil {
			t.Error("Prometheus answers after Stop")
		}
	})
	found, err := p.Query(t.Context(), "vector(2) + 1")
	if err != nil || len(found) != 1 || found[0].Points[0].Value != 3 {
		t.Errorf("Query() = %v, %v; want 3", found, err)
	}
	if found, err := p.Query(t.Context(), "1"); err != nil || found[0].Points[0].Value != 1 {
		t.Errorf("Query() of a scalar = %v, %v; want 1", found, err)
	}
	if _, err := p.Query(t.Context(), "sum("); err == nil || !strings.Contains(err.Error(), "parse error") {
		t.Errorf("Query() of an invalid expression = %v, want a parse error", err)
	}
	now := time.Now()
	if found, err := p.QueryRange(t.Context(), "vector(1)", now.Add(-time.Minute), now, time.Second); err != nil || len(found) != 1 || len(found[0].Points) != 61 {
		t.Errorf("QueryRange() = %v, %v; want 61 points", found, err)
	}
	for {
		alerts, err := p.Alerts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(alerts) == 1 && alerts[0].State == "firing" && alerts[0].Annotations["summary"] == "7" {
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("alerts are %v, want Always", alerts)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func TestMetrics(t *testing.T) {
	for expr, want := range map[string][]string{
		`sum by (kn_webhook_resource_kind) (rate(kn_webhook_handler_duration_seconds_count{container="webhook"}[1m]))`: {"kn_webhook_handler_duration_seconds_count"},
		`count(ALERTS{alertname=~"PullSecrets.+"}) or vector(0)`:                                                       {"ALERTS"},
		`absent(up{a="pullsecrets_x"} == 1) and on (pullsecrets_y) pullsecrets_z offset 1m`:                            {"up", "pullsecrets_z"},
		`vector(1)`: nil,
	} {
		if diff := cmp.Diff(want, Metrics(expr)); diff != "" {
			t.Errorf("Metrics(%s) (-want, +got):\n%s", expr, diff)
		}
	}
}
