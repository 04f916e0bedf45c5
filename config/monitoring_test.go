// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"pullsecrets.dev/pkg/apis/pullsecrets"
)

// podMonitor and prometheusRule are the fields of the Prometheus operator's kinds that this
// project uses. Decoding is strict, so a misspelled field is an error.
type podMonitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		NamespaceSelector struct {
			MatchNames []string `json:"matchNames"`
		} `json:"namespaceSelector"`
		Selector            metav1.LabelSelector `json:"selector"`
		PodMetricsEndpoints []struct {
			Port        string `json:"port"`
			Path        string `json:"path"`
			Interval    string `json:"interval"`
			HonorLabels bool   `json:"honorLabels"`
		} `json:"podMetricsEndpoints"`
	} `json:"spec"`
}

type alert struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

type prometheusRule struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Groups []struct {
			Name  string  `json:"name"`
			Rules []alert `json:"rules"`
		} `json:"groups"`
	} `json:"spec"`
}

const operatorAPI = "monitoring.coreos.com/v1"

// readMonitoring decodes a manifest of config/monitoring, and checks its metadata.
func readMonitoring(t *testing.T, file string, object metav1.Object) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("monitoring", file))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(content, object); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	want := map[string]string{"app.kubernetes.io/name": "pullsecrets", "app.kubernetes.io/component": "monitoring", "app.kubernetes.io/version": "devel"}
	got := maps.Clone(object.GetLabels())
	delete(got, "grafana_dashboard")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: labels (-want, +got):\n%s", file, diff)
	}
	if object.GetNamespace() != pullsecrets.SystemNamespace {
		t.Errorf("%s is in namespace %q, want %s", file, object.GetNamespace(), pullsecrets.SystemNamespace)
	}
}

// Everything in the directory is a manifest that a test below decodes, since "kubectl apply
// -f config/monitoring/" applies it.
func TestMonitoringDirectory(t *testing.T) {
	entries, err := os.ReadDir("monitoring")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if diff := cmp.Diff([]string{"dashboard.yaml", "grafana", "podmonitor.yaml", "prometheusrule.yaml"}, names); diff != "" {
		t.Error("config/monitoring (-want, +got):", diff)
	}
}

func TestPodMonitorSelectsBothPrograms(t *testing.T) {
	var monitor podMonitor
	readMonitoring(t, "podmonitor.yaml", &monitor)
	if monitor.APIVersion != operatorAPI || monitor.Kind != "PodMonitor" {
		t.Errorf("it is a %s %s", monitor.APIVersion, monitor.Kind)
	}
	if diff := cmp.Diff([]string{pullsecrets.SystemNamespace}, monitor.Spec.NamespaceSelector.MatchNames); diff != "" {
		t.Error("namespaces (-want, +got):", diff)
	}
	if len(monitor.Spec.PodMetricsEndpoints) != 1 {
		t.Fatalf("%d endpoints, want one", len(monitor.Spec.PodMetricsEndpoints))
	}
	endpoint := monitor.Spec.PodMetricsEndpoints[0]
	if _, err := time.ParseDuration(endpoint.Interval); err != nil || endpoint.Path != "/metrics" {
		t.Errorf("endpoint %+v: %v", endpoint, err)
	}
	if !endpoint.HonorLabels {
		t.Error("honorLabels is false, so Prometheus would rename the label namespace of our metrics")
	}
	for file, deployments := range find[*appsv1.Deployment](t) {
		for _, d := range deployments {
			selects(t, file, "the PodMonitor", &monitor.Spec.Selector, d)
			if !slices.ContainsFunc(d.Spec.Template.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool { return p.Name == endpoint.Port }) {
				t.Errorf("%s: Deployment %s has no port %s", file, d.Name, endpoint.Port)
			}
		}
	}
}

// Whoever gets an alert finds out what it means and what to do, in its annotations, in the
// section that it links, and in docs/monitoring.md.
func TestAlertsAreDocumented(t *testing.T) {
	var rule prometheusRule
	readMonitoring(t, "prometheusrule.yaml", &rule)
	if rule.APIVersion != operatorAPI || rule.Kind != "PrometheusRule" {
		t.Errorf("it is a %s %s", rule.APIVersion, rule.Kind)
	}
	page := readDocs(t, "monitoring.md")
	var names []string
	for _, group := range rule.Spec.Groups {
		for _, a := range group.Rules {
			names = append(names, a.Alert)
			checkAlert(t, a)
		}
	}
	documented := regexp.MustCompile("(?m)^\\| `(PullSecrets[A-Za-z]+)` \\|").FindAllStringSubmatch(page, -1)
	var rows []string
	for _, row := range documented {
		rows = append(rows, row[1])
	}
	if diff := cmp.Diff(names, rows); diff != "" {
		t.Errorf("alerts, and rows of docs/monitoring.md in the same order (-manifest, +page):\n%s", diff)
	}
}

func checkAlert(t *testing.T, a alert) {
	t.Helper()
	if diff := cmp.Diff([]string{"description", "runbook_url", "summary"}, slices.Sorted(maps.Keys(a.Annotations))); diff != "" {
		t.Errorf("%s: annotations (-want, +got):\n%s", a.Alert, diff)
	}
	for name, text := range a.Annotations {
		if strings.Contains(text, "\n") {
			t.Errorf("%s: %s has more than one line: %q", a.Alert, name, text)
		}
	}
	if !slices.Contains([]string{"warning", "critical"}, a.Labels["severity"]) || len(a.Labels) != 1 {
		t.Errorf("%s: labels %v, want a severity", a.Alert, a.Labels)
	}
	if a.For != "" {
		if _, err := time.ParseDuration(a.For); err != nil {
			t.Errorf("%s: for: %v", a.Alert, err)
		}
	}
	runbook, err := url.Parse(a.Annotations["runbook_url"])
	if err != nil {
		t.Errorf("%s: runbook_url: %v", a.Alert, err)
		return
	}
	file, inDocs := strings.CutPrefix(runbook.Path, "/docs/")
	if runbook.Scheme != "https" || runbook.Host != "pullsecrets.dev" || !inDocs {
		t.Errorf("%s: runbook_url %s is not https://pullsecrets.dev/docs/...", a.Alert, runbook)
		return
	}
	if !slices.Contains(anchors(readDocs(t, file)), runbook.Fragment) {
		t.Errorf("%s: docs/%s has no heading with the anchor %q", a.Alert, file, runbook.Fragment)
	}
}

func readDocs(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "docs", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// anchors returns the anchors of the headings of a page, as GitHub makes them.
func anchors(page string) (all []string) {
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		all = append(all, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, heading[1]))
	}
	return all
}

// Grafana's sidecar loads the ConfigMap, people import the file. Both are the same.
func TestDashboard(t *testing.T) {
	var cm corev1.ConfigMap
	readMonitoring(t, "dashboard.yaml", &cm)
	if cm.APIVersion != "v1" || cm.Kind != "ConfigMap" || cm.Labels["grafana_dashboard"] != "1" {
		t.Errorf("it is a %s %s with labels %v", cm.APIVersion, cm.Kind, cm.Labels)
	}
	content, err := os.ReadFile(filepath.Join("monitoring", "grafana", "pullsecrets.json"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"pullsecrets.json": string(content)}, cm.Data); diff != "" {
		t.Errorf("run hack/update-codegen.sh (-file, +ConfigMap):\n%s", diff)
	}
	var dashboard struct {
		UID    string `json:"uid"`
		Title  string `json:"title"`
		Panels []struct {
			ID          int    `json:"id"`
			Title       string `json:"title"`
			Description string `json:"description"`
			Type        string `json:"type"`
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct {
				Datasource struct{ Type, UID string }
				Expr       string
			}
		} `json:"panels"`
	}
	if err := json.Unmarshal(content, &dashboard); err != nil {
		t.Fatal(err)
	}
	ids := map[int]string{}
	for _, panel := range dashboard.Panels {
		if other, taken := ids[panel.ID]; taken {
			t.Errorf("panels %q and %q have one ID", panel.Title, other)
		}
		ids[panel.ID] = panel.Title
		if panel.Type == "row" {
			continue
		}
		if panel.Title == "" || panel.Description == "" || len(panel.Targets) == 0 || panel.GridPos.X+panel.GridPos.W > 24 {
			t.Errorf("panel %q needs a title, a description, a query and a place in 24 columns", panel.Title)
		}
		for _, target := range panel.Targets {
			// A fixed data source would exist in one Grafana only.
			if target.Datasource.UID != "${datasource}" || target.Expr == "" {
				t.Errorf("panel %q: query %+v", panel.Title, target)
			}
		}
	}
}
