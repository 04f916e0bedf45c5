// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

// Package monitoring reads what is in config/monitoring and runs it: the alerts in a real
// Prometheus, and the dashboard as a picture.
//
// The manifests are the only place where a rule or a query is written. Tests take them from
// there: promtool tests the rules of testdata, and the end-to-end suite lets alerts fire and
// clear for real causes.
package monitoring

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// Group is a group of rules of Prometheus.
type Group struct {
	Name  string `json:"name"`
	Rules []Rule `json:"rules"`
}

// Rule is an alert. Prometheus has more fields, which this project does not use.
type Rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// ReadRules returns the groups of the PrometheusRule. root is the root of the repository.
func ReadRules(root string) ([]Group, error) {
	file := filepath.Join(root, "config", "monitoring", "prometheusrule.yaml")
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var manifest struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Metadata   map[string]any `json:"metadata"`
		Spec       struct {
			Groups []Group `json:"groups"`
		} `json:"spec"`
	}
	if err := yaml.UnmarshalStrict(content, &manifest); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if manifest.APIVersion != "monitoring.coreos.com/v1" || manifest.Kind != "PrometheusRule" {
		return nil, fmt.Errorf("%s has a %s %s, want a PrometheusRule", file, manifest.APIVersion, manifest.Kind)
	}
	return manifest.Spec.Groups, nil
}

// RuleFile returns the groups as a file that Prometheus reads.
func RuleFile(groups []Group) ([]byte, error) {
	return yaml.Marshal(map[string]any{"groups": groups})
}

var (
	window = regexp.MustCompile(`\[([0-9]+[a-z]+)\]`)
	offset = regexp.MustCompile(`\boffset ([0-9]+[a-z]+)`)
)

// Accelerate divides all durations of the rules by a factor: how long a condition must hold,
// and the windows and offsets of expressions. Thresholds stay as they are.
func Accelerate(groups []Group, factor int) ([]Group, error) {
	var errs []error
	shorter := func(text string) string {
		d, err := time.ParseDuration(text)
		errs = append(errs, err)
		return fmt.Sprintf("%dms", (d / time.Duration(factor)).Milliseconds())
	}
	var all []Group
	for _, group := range groups {
		fast := Group{Name: group.Name}
		for _, rule := range group.Rules {
			if rule.For != "" {
				rule.For = shorter(rule.For)
			}
			rule.Expr = window.ReplaceAllStringFunc(rule.Expr, func(found string) string {
				return "[" + shorter(found[1:len(found)-1]) + "]"
			})
			rule.Expr = offset.ReplaceAllStringFunc(rule.Expr, func(found string) string {
				return "offset " + shorter(strings.TrimPrefix(found, "offset "))
			})
			fast.Rules = append(fast.Rules, rule)
		}
		all = append(all, fast)
	}
	return all, errors.Join(errs...)
}

// Dashboard is the part of a Grafana dashboard that is drawn.
type Dashboard struct {
	Title       string  `json:"title"`
	Description string  `json:"description"`
	Panels      []Panel `json:"panels"`
}

// Panel is a panel of a dashboard, or a row of panels.
type Panel struct {
	Title       string `json:"title"`
	Description string `json:"description"`
	Type        string `json:"type"`
	GridPos     struct {
		X int `json:"x"`
		Y int `json:"y"`
		W int `json:"w"`
		H int `json:"h"`
	} `json:"gridPos"`
	Targets     []Target `json:"targets"`
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
}

// Target is a query of a panel.
type Target struct {
	Expr         string `json:"expr"`
	LegendFormat string `json:"legendFormat"`
}

// DashboardFile is the path of the dashboard in the repository.
const DashboardFile = "config/monitoring/grafana/pullsecrets.json"

// ReadDashboard returns the dashboard. root is the root of the repository.
func ReadDashboard(root string) (Dashboard, error) {
	content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(DashboardFile)))
	if err != nil {
		return Dashboard{}, err
	}
	var d Dashboard
	err = json.Unmarshal(content, &d)
	return d, err
}

// Query returns the query with a value for Grafana's own variables. rate is the window of
// rates, at least four times the interval at which targets are scraped.
func (t Target) Query(rate time.Duration) string {
	return strings.ReplaceAll(t.Expr, "$__rate_interval", fmt.Sprintf("%dms", rate.Milliseconds()))
}

var metric = regexp.MustCompile(`\b(?:pullsecrets|kn|apiserver|go|http|process)_[a-z0-9_]+\b|\b(?:up|ALERTS)\b`)

// Metrics returns the names of metrics in an expression.
func Metrics(expr string) []string {
	// Labels in by() and their values in quotation marks may look like metrics.
	return metric.FindAllString(quoted.ReplaceAllString(grouping.ReplaceAllString(expr, ""), `""`), -1)
}

var (
	quoted   = regexp.MustCompile(`"[^"]*"`)
	grouping = regexp.MustCompile(`\b(?:by|without|on|ignoring)\s*\([^)]*\)`)
)

// Programs returns the directory of prometheus and promtool, and downloads them if the
// machine has none. root is the root of the repository.
func Programs(ctx context.Context, root string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(root, "test", "prometheus.sh"))
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("find Prometheus: %w\n%s", err, stderr.String())
	}
	return strings.TrimSpace(stdout.String()), nil
}
