// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	inController = "Deployment controller spec.template.spec."
	inWebhook    = "Deployment webhook spec.template.spec."
	digest       = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
)

// restarts is a changed checksum of both programs, of the settings that they read only when
// they start.
func restarts(settings string, lines ...string) []string {
	for _, program := range []string{"controller", "webhook"} {
		lines = append(lines, fmt.Sprintf("+Deployment %s spec.template.metadata.annotations.checksum/config: %x", program, sha256.Sum256([]byte(settings))))
	}
	return lines
}

// antiAffinity is what the Deployment of a program has without a value.
func antiAffinity(program string) []string {
	const term = "affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0]."
	prefix := "-Deployment " + program + " spec.template.spec." + term
	return []string{
		prefix + "podAffinityTerm.labelSelector.matchLabels.app.kubernetes.io/component: " + program,
		prefix + "podAffinityTerm.labelSelector.matchLabels.app.kubernetes.io/name: pullsecrets",
		prefix + "podAffinityTerm.topologyKey: kubernetes.io/hostname",
		prefix + "weight: 100",
	}
}

// values are the values of the chart, and all that each changes: lines that begin with - are
// left out, and those that begin with + are added.
var values = []struct {
	values string
	want   []string
}{
	{"profile: full", nil},
	{"global: {}", nil},
	{"{image: {registry: r.example.com}, controller: {image: {repository: c}}, webhook: {image: {repository: w}}}", []string{
		"-" + inController + "containers[0].image: ko://pullsecrets.dev/cmd/controller",
		"+" + inController + "containers[0].image: r.example.com/c",
		"-" + inWebhook + "containers[0].image: ko://pullsecrets.dev/cmd/webhook",
		"+" + inWebhook + "containers[0].image: r.example.com/w",
	}},
	{"image: {pullPolicy: Always}", []string{
		"+" + inController + "containers[0].imagePullPolicy: Always",
		"+" + inWebhook + "containers[0].imagePullPolicy: Always",
	}},
	{"image: {pullSecrets: [{name: mirror}]}", []string{
		"+" + inController + "imagePullSecrets[0].name: mirror",
		"+" + inWebhook + "imagePullSecrets[0].name: mirror",
	}},
	{"controller: {image: {repository: r.example.com/c, tag: v1, digest: '" + digest + "'}}", []string{
		"-" + inController + "containers[0].image: ko://pullsecrets.dev/cmd/controller",
		"+" + inController + "containers[0].image: r.example.com/c:v1@" + digest,
	}},
	{"webhook: {image: {repository: r.example.com/w, tag: v1}}", []string{
		"-" + inWebhook + "containers[0].image: ko://pullsecrets.dev/cmd/webhook",
		"+" + inWebhook + "containers[0].image: r.example.com/w:v1",
	}},
	{"controller: {replicas: 3}", []string{
		"-Deployment controller spec.replicas: 2",
		"+Deployment controller spec.replicas: 3",
	}},
	{"controller: {resources: {requests: {cpu: 200m}, limits: {cpu: null}}}", []string{
		"-" + inController + "containers[0].resources.limits.cpu: 1000m",
		"-" + inController + "containers[0].resources.requests.cpu: 100m",
		"+" + inController + "containers[0].resources.requests.cpu: 200m",
	}},
	{"webhook: {resources: {limits: {memory: 2Gi}}}", []string{
		"-" + inWebhook + "containers[0].resources.limits.memory: 1000Mi",
		"+" + inWebhook + "containers[0].resources.limits.memory: 2Gi",
	}},
	{"controller: {podDisruptionBudget: {maxUnavailable: 50%}}", []string{
		"-PodDisruptionBudget controller spec.maxUnavailable: 1",
		"+PodDisruptionBudget controller spec.maxUnavailable: 50%",
	}},
	{"webhook: {podDisruptionBudget: {maxUnavailable: 2}}", []string{
		"-PodDisruptionBudget webhook spec.maxUnavailable: 1",
		"+PodDisruptionBudget webhook spec.maxUnavailable: 2",
	}},
	{"controller: {podDisruptionBudget: {enabled: false}}", []string{"-PodDisruptionBudget controller"}},
	{"webhook: {podDisruptionBudget: {enabled: false}}", []string{"-PodDisruptionBudget webhook"}},
	{"webhook: {autoscaling: {minReplicas: 3, maxReplicas: 9, targetCPUUtilizationPercentage: 80}}", []string{
		"-HorizontalPodAutoscaler webhook spec.maxReplicas: 5",
		"+HorizontalPodAutoscaler webhook spec.maxReplicas: 9",
		"-HorizontalPodAutoscaler webhook spec.metrics[0].resource.target.averageUtilization: 100",
		"+HorizontalPodAutoscaler webhook spec.metrics[0].resource.target.averageUtilization: 80",
		"-HorizontalPodAutoscaler webhook spec.minReplicas: 2",
		"+HorizontalPodAutoscaler webhook spec.minReplicas: 3",
	}},
	{"webhook: {replicas: 4}", nil},
	{"webhook: {replicas: 4, autoscaling: {enabled: false}}", []string{
		"+Deployment webhook spec.replicas: 4",
		"-HorizontalPodAutoscaler webhook",
	}},
	{"controller: {priorityClassName: high, nodeSelector: {pool: system}, tolerations: [{key: system, operator: Exists}]}", []string{
		"+" + inController + "nodeSelector.pool: system",
		"+" + inController + "priorityClassName: high",
		"+" + inController + "tolerations[0].key: system",
		"+" + inController + "tolerations[0].operator: Exists",
	}},
	{"webhook: {priorityClassName: high, nodeSelector: {pool: system}, tolerations: [{key: system, operator: Exists}]}", []string{
		"+" + inWebhook + "nodeSelector.pool: system",
		"+" + inWebhook + "priorityClassName: high",
		"+" + inWebhook + "tolerations[0].key: system",
		"+" + inWebhook + "tolerations[0].operator: Exists",
	}},
	{"controller: {extraEnv: [{name: HTTPS_PROXY, value: proxy}], extraVolumes: [{name: ca, configMap: {name: registry-ca}}], extraVolumeMounts: [{name: ca, mountPath: /ca}]}", []string{
		"+" + inController + "containers[0].env[12].name: HTTPS_PROXY",
		"+" + inController + "containers[0].env[12].value: proxy",
		"+" + inController + "containers[0].volumeMounts[0].mountPath: /ca",
		"+" + inController + "containers[0].volumeMounts[0].name: ca",
		"+" + inController + "volumes[0].configMap.name: registry-ca",
		"+" + inController + "volumes[0].name: ca",
	}},
	{"controller: {affinity: {nodeAffinity: {a: b}}}", append([]string{"+" + inController + "affinity.nodeAffinity.a: b"}, antiAffinity("controller")...)},
	{"webhook: {affinity: {nodeAffinity: {a: b}}}", append([]string{"+" + inWebhook + "affinity.nodeAffinity.a: b"}, antiAffinity("webhook")...)},
	{"config: {pullsecrets: {backfill: all, backfill-per-minute: '30'}}", []string{
		"+ConfigMap config-pullsecrets data.backfill: all",
		"+ConfigMap config-pullsecrets data.backfill-per-minute: 30",
	}},
	{"config: {logging: {loglevel.controller: debug}}", []string{"+ConfigMap config-logging data.loglevel.controller: debug"}},
	{"config: {logging: {zap-logger-config: \"{\\n  \\\"level\\\": \\\"<debug>\\\"\\n}\\n\"}}", restarts(
		`{"metrics-protocol":"prometheus","zap-logger-config":"{\n  \"level\": \"\u003cdebug\u003e\"\n}\n"}`,
		"+ConfigMap config-logging data.zap-logger-config: {\n  \"level\": \"<debug>\"\n}\n",
	)},
	{"config: {observability: {runtime-profiling: enabled}}", []string{"+ConfigMap config-observability data.runtime-profiling: enabled"}},
	{"config: {observability: {metrics-protocol: none}}", restarts(
		`{"metrics-protocol":"none"}`,
		"-ConfigMap config-observability data.metrics-protocol: prometheus",
		"+ConfigMap config-observability data.metrics-protocol: none",
	)},
	{"config: {pullsecrets: null, logging: null, observability: null, leaderElection: null}", restarts(
		"{}", "-ConfigMap config-observability data.metrics-protocol: prometheus",
	)},
	{"config: {leaderElection: {buckets: '2'}}", restarts(
		`{"buckets":"2","metrics-protocol":"prometheus"}`, "+ConfigMap config-leader-election data.buckets: 2",
	)},
	{"outagePolicies: enabled", policies("+")},
	{"monitoring: {enabled: true}", []string{"+ConfigMap pullsecrets-dashboard", "+PodMonitor pullsecrets", "+PrometheusRule pullsecrets"}},
	{"monitoring: {labels: {release: prometheus}}", nil},
	{"namespaces: {system: true}", []string{"+" + system}},
	{"namespaces: {sources: false}", []string{"-" + sources}},
}

// policies are the policies for an outage.
func policies(sign string) (lines []string) {
	for _, kind := range []string{"services", "serviceaccounts"} {
		lines = append(lines, sign+"MutatingAdmissionPolicy "+kind+".outage.pullsecrets.dev",
			sign+"MutatingAdmissionPolicyBinding "+kind+".outage.pullsecrets.dev", sign+"MutatingAdmissionPolicyBinding "+kind+"-included.outage.pullsecrets.dev")
	}
	return lines
}

// Each value changes what it says, and nothing else.
func TestValues(t *testing.T) {
	before := mustRender(t, "")
	for _, test := range values {
		got := changes(before, mustRender(t, test.values))
		slices.SortFunc(test.want, byPath)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s changes (-want, +got): %s", test.values, diff)
		}
	}
}

// Labels for Prometheus are those of the objects that it selects.
func TestMonitoringLabels(t *testing.T) {
	got := changes(mustRender(t, "monitoring: {enabled: true}"), mustRender(t, "monitoring: {enabled: true, labels: {release: prometheus}}"))
	want := []string{"+PodMonitor pullsecrets metadata.labels.release: prometheus", "+PrometheusRule pullsecrets metadata.labels.release: prometheus"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("monitoring.labels changes (-want, +got):", diff)
	}
}

// "disabled" wins over what the API server has.
func TestOutagePoliciesCanBeDisabled(t *testing.T) {
	with, without := mustRender(t, "", mutatingPolicies), mustRender(t, "outagePolicies: disabled", mutatingPolicies)
	want := policies("-")
	slices.SortFunc(want, byPath)
	if diff := cmp.Diff(want, changes(with, without)); diff != "" {
		t.Error("outagePolicies: disabled changes (-want, +got):", diff)
	}
}

// Knative's namespace is in no manifest where the value names another one.
func TestKnativeNamespace(t *testing.T) {
	got := mustRender(t, "{knativeNamespace: kn-serving, outagePolicies: enabled, monitoring: {enabled: true}}")
	moved := 0
	for name, object := range got {
		text, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), `"knative-serving"`) {
			t.Errorf("%s still has knative-serving", name)
		}
		moved += strings.Count(string(text), `"kn-serving"`)
	}
	if want := 10; moved != want {
		t.Errorf("kn-serving is in %d places, want %d", moved, want)
	}
}

// The schema refuses typing errors, and values that are missing: an empty line in a file, which
// means null, would otherwise remove the default.
func TestSchemaRefuses(t *testing.T) {
	for _, values := range []string{
		"replicas: 2", "controller: {replica: 2}", "controller: {replicas: two}", "controller: {image: {name: x}}",
		"controller: {image: {digest: latest}}", "controller: {resources: {request: {}}}", "webhook: {autoscaling: {enable: true}}",
		"webhook: {podDisruptionBudget: {minAvailable: 1}}", "webhook: {podDisruptionBudget: {maxUnavailable: one}}",
		"image: {pullPolicy: always}", "image: {pullSecrets: [mirror]}", "profile: inject", "profile: ''",
		"config: {pullsecrets: {backfil: all}}", "config: {pullsecrets: {backfill: some}}", "config: {pullsecrets: {backfill-per-minute: 30}}",
		"config: {logging: {loglevel.controller: 1}}", "config: {leaderElection: {bucket: '2'}}", "config: {leaderElection: {map-lease-prefix: x}}",
		"config: {logging: {loglevel.webhook: debug}}", "config: {logging: {loglevel.controller: loud}}",
		"config: {observability: {metrics-protcol: none}}", "config: {observability: {metrics-protocol: promtheus}}",
		"controller: {extraEnv: [{nam: A}]}", "controller: {extraEnv: [{name: A, value: 1}]}", "image: {registry: r.example.com/}",
		"controller: {replicas: null}", "webhook: {autoscaling: {minReplicas: null}}", "webhook: {podDisruptionBudget: {maxUnavailable: null}}",
		"webhook: {autoscaling: null}", "controller: {podDisruptionBudget: null}", "controller: {image: null}", "webhook: {image: {repository: null}}",
		"image: null", "config: null", "namespaces: null", "namespaces: {sources: null}", "monitoring: null", "knativeNamespace: null", "outagePolicies: null",
		"outagePolicies: true", "monitoring: true", "monitoring: {enabled: 'yes'}", "namespaces: {source: false}", "knativeNamespace: ''",
	} {
		_, err := render(filepath.Join(root, chartFolder), namespace, values)
		if err == nil || !strings.Contains(err.Error(), "values don't meet the specifications of the schema") {
			t.Errorf("%s: %v, want a violation of the schema", values, err)
		}
	}
}

// The schema has the settings that the examples of the ConfigMaps explain.
func TestSchemaHasAllSettings(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(root, chartFolder, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	type schema struct {
		Properties map[string]schema `json:"properties"`
	}
	var all schema
	if err := json.Unmarshal(content, &all); err != nil {
		t.Fatal(err)
	}
	manifests := config(t, "config")
	for value, name := range map[string]string{
		"pullsecrets": "config-pullsecrets", "leaderElection": "config-leader-election", "logging": "config-logging", "observability": "config-observability",
	} {
		data, _ := manifests["ConfigMap "+name]["data"].(map[string]any)
		example, _ := data["_example"].(string)
		// Settings without a default are in comments.
		var want []string
		for _, setting := range regexp.MustCompile(`(?m)^(?:# )?([a-z]+[.-][a-z-]+|buckets|backfill|uncovered): ["|]`).FindAllStringSubmatch(example, -1) {
			want = append(want, setting[1])
		}
		slices.Sort(want)
		got := slices.Sorted(maps.Keys(all.Properties["config"].Properties[value].Properties))
		if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
			t.Errorf("settings of %s (-config, +schema): %s", name, diff)
		}
	}
}

// changes lists the differences of two installations, as in values. An object that only one
// has is one line.
func changes(before, after objects) (lines []string) {
	for name := range before {
		if after[name] == nil {
			lines = append(lines, "-"+name)
		}
	}
	for name := range after {
		if before[name] == nil {
			lines = append(lines, "+"+name)
			continue
		}
		was, is := map[string]string{}, map[string]string{}
		flatten(name+" ", before[name], was)
		flatten(name+" ", after[name], is)
		for path, value := range was {
			if is[path] != value {
				lines = append(lines, "-"+path+": "+value)
			}
		}
		for path, value := range is {
			if old, found := was[path]; !found || old != value {
				lines = append(lines, "+"+path+": "+value)
			}
		}
	}
	slices.SortFunc(lines, byPath)
	return lines
}

// byPath orders by the path without the value, and then what is left out first.
func byPath(a, b string) int {
	path := func(line string) string {
		before, _, _ := strings.Cut(line[1:], ": ")
		return before
	}
	if order := strings.Compare(path(a), path(b)); order != 0 {
		return order
	}
	return strings.Compare(b[:1], a[:1])
}

// flatten records the values of an object by their paths.
func flatten(path string, value any, found map[string]string) {
	switch value := value.(type) {
	case map[string]any:
		for key, child := range value {
			separator := "."
			if strings.HasSuffix(path, " ") {
				separator = ""
			}
			flatten(path+separator+key, child, found)
		}
	case []any:
		for i, child := range value {
			flatten(fmt.Sprintf("%s[%d]", path, i), child, found)
		}
	default:
		found[path] = fmt.Sprint(value)
	}
}
