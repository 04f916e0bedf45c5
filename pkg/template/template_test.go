// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package template

import (
	"encoding/json"
	"testing"

	"knative.dev/serving/pkg/apis/config"
	"sigs.k8s.io/yaml"
)

// service returns a Service with this template.
func service(t *testing.T, template string) Service {
	t.Helper()
	var s Service
	if err := yaml.Unmarshal([]byte(template), &s.Template); err != nil {
		t.Fatal(err)
	}
	object, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"name": "app", "namespace": "team"}, "spec": map[string]any{"template": s.Template},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Object = object
	return s
}

// stored is a template as Knative stores it.
const stored = `
metadata: {creationTimestamp: null, annotations: {a: b}}
spec:
  containerConcurrency: 0
  enableServiceLinks: false
  timeoutSeconds: 300
  imagePullSecrets: [{name: x}]
  containers:
  - name: user-container-0
    image: ghcr.io/acme/app:v1
    ports: [{containerPort: 80, protocol: TCP}]
    resources: {}
    readinessProbe: {successThreshold: 1, tcpSocket: {port: 0}}
    livenessProbe: {httpGet: {path: /, port: 0}}
    env: [{name: A}]
    volumeMounts: [{name: t, mountPath: /t}]
  - name: user-container-1
    image: ghcr.io/acme/sidecar:v1
    resources: {requests: {cpu: "1", memory: 1Gi}}
  volumes: [{name: t, emptyDir: {}}]
`

func TestChanged(t *testing.T) {
	const (
		head    = `{metadata: {annotations: {a: b}}, spec: {enableServiceLinks: false, volumes: [{name: t, emptyDir: {}}], `
		app     = `{image: "ghcr.io/acme/app:v1", ports: [{containerPort: 80, protocol: TCP}], livenessProbe: {httpGet: {path: /, port: 0}}, env: [{name: A}], volumeMounts: [{name: t, mountPath: /t}]`
		sidecar = `, {image: "ghcr.io/acme/sidecar:v1", resources: {requests: {cpu: "1", memory: 1Gi}}}`
	)
	tests := []struct {
		reason   string
		template string
		want     bool
	}{
		{"the same", stored, false},
		{"without defaults", head + `containers: [` + app + `}` + sidecar + `]}}`, false},
		{"other pull secrets", head + `imagePullSecrets: [{name: other}], containers: [` + app + `}` + sidecar + `]}}`, false},
		{"an empty name", head + `containers: [` + app + `, name: ""}` + sidecar + `]}}`, false},
		{"empty objects, lists and nulls", head + `nodeSelector: {}, tolerations: [], affinity: null, containers: [` + app + `, args: [], resources: {limits: {}}}` + sidecar + `]}}`, false},
		{"an empty value of a variable", head + `containers: [{image: "ghcr.io/acme/app:v1", ports: [{containerPort: 80, protocol: TCP}], livenessProbe: {httpGet: {path: /, port: 0}}, env: [{name: A, value: ""}], volumeMounts: [{name: t, mountPath: /t}]}` + sidecar + `]}}`, false},
		{"a probe's delay of 0", head + `containers: [{image: "ghcr.io/acme/app:v1", ports: [{containerPort: 80, protocol: TCP}], livenessProbe: {httpGet: {path: /, port: 0}, initialDelaySeconds: 0}, env: [{name: A}], volumeMounts: [{name: t, mountPath: /t, readOnly: false}]}` + sidecar + `]}}`, false},
		{"quantities in another form", head + `containers: [` + app + `}, {image: "ghcr.io/acme/sidecar:v1", resources: {requests: {cpu: 1000m, memory: 1024Mi}}}]}}`, false},
		{"a quantity as a number", head + `containers: [` + app + `}, {image: "ghcr.io/acme/sidecar:v1", resources: {requests: {cpu: 1, memory: 1073741824}}}]}}`, false},
		{"another quantity", head + `containers: [` + app + `}, {image: "ghcr.io/acme/sidecar:v1", resources: {requests: {cpu: 1001m, memory: 1Gi}}}]}}`, true},
		{"an immense quantity", head + `containers: [` + app + `}, {image: "ghcr.io/acme/sidecar:v1", resources: {requests: {cpu: "1e-2147483648", memory: 1e100000000}}}]}}`, true},
		{"no quantity", head + `containers: [` + app + `}, {image: "ghcr.io/acme/sidecar:v1", resources: {requests: {cpu: much}}}]}}`, true},
		{"no requests", head + `containers: [` + app + `}, {image: "ghcr.io/acme/sidecar:v1"}]}}`, true},
		{"another image", head + `containers: [` + app + `}, {image: "ghcr.io/acme/sidecar:v2", resources: {requests: {cpu: "1", memory: 1Gi}}}]}}`, true},
		{"a container less", head + `containers: [` + app + `}]}}`, true},
		{"a new annotation", `{metadata: {annotations: {a: b, c: d}}, spec: {enableServiceLinks: false, volumes: [{name: t, emptyDir: {}}], containers: [` + app + `}` + sidecar + `]}}`, true},
		{"no annotation", `{spec: {enableServiceLinks: false, volumes: [{name: t, emptyDir: {}}], containers: [` + app + `}` + sidecar + `]}}`, true},
		{"no env", head + `containers: [{image: "ghcr.io/acme/app:v1", ports: [{containerPort: 80, protocol: TCP}], livenessProbe: {httpGet: {path: /, port: 0}}, volumeMounts: [{name: t, mountPath: /t}]}` + sidecar + `]}}`, true},
		{"no probe", head + `containers: [{image: "ghcr.io/acme/app:v1", ports: [{containerPort: 80, protocol: TCP}], env: [{name: A}], volumeMounts: [{name: t, mountPath: /t}]}` + sidecar + `]}}`, true},
		{"a ServiceAccount", head + `serviceAccountName: robot, containers: [` + app + `}` + sidecar + `]}}`, true},
		{"another timeout", head + `timeoutSeconds: 301, containers: [` + app + `}` + sidecar + `]}}`, true},
		{"a value of another type", head + `containers: {}}}`, true},
		{"a field that no type knows", head + `tomorrow: {a: 1}, containers: [` + app + `}` + sidecar + `]}}`, true},
		{"one in a list", head + `containers: [` + app + `, tomorrow: x}` + sidecar + `]}}`, true},
		{"one that says nothing", head + `tomorrow: {a: 0}, containers: [` + app + `, tomorrow: null}` + sidecar + `]}}`, false},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			if got := NewSettings(nil, nil).Changed(service(t, stored), service(t, tt.template)); got != tt.want {
				t.Errorf("Changed() = %v, want %v", got, tt.want)
			}
		})
	}
}

// A change of settings is not a change of a Service: the defaults of earlier settings
// stay, and what the request omits gets today's defaults.
func TestChangedBySettings(t *testing.T) {
	defaults, err := config.NewDefaultsConfigFromMap(map[string]string{
		"revision-timeout-seconds": "60", "revision-cpu-request": "100m", "container-name-template": "{{.Name}}",
	})
	if err != nil {
		t.Fatal(err)
	}
	const (
		minimal   = `{spec: {containers: [{image: x}]}}`
		defaulted = `{spec: {timeoutSeconds: 60, containerConcurrency: 0, containers: [{name: app, image: x, readinessProbe: {tcpSocket: {port: 0}, successThreshold: 1}, resources: {requests: {cpu: 100m}}}]}}`
		before    = `{spec: {timeoutSeconds: 300, containerConcurrency: 0, containers: [{name: user-container, image: x, readinessProbe: {tcpSocket: {port: 0}, successThreshold: 1}, resources: {}}]}}`
	)
	for _, tt := range []struct {
		reason         string
		old, requested string
		settings       Settings
		want           bool
	}{
		{"the cluster's settings filled it in", defaulted, minimal, NewSettings(defaults, nil), false},
		{"other settings would fill in others", defaulted, minimal, NewSettings(nil, nil), true},
		{"a setting that is new is no change", before, before + " ", NewSettings(defaults, nil), false},
		{"a field that the request omits gets the new default", before, minimal, NewSettings(defaults, nil), true},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			if got := tt.settings.Changed(service(t, tt.old), service(t, tt.requested)); got != tt.want {
				t.Errorf("Changed() = %v, want %v", got, tt.want)
			}
		})
	}
}
