// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package pairs

// Fields of a Service that Knative accepts without feature flags, each with values as
// JSON: common values, zero values and defaults, and unusual forms of the same.
var (
	ofContainer = map[string][]string{
		"image":                    {`"registry.example.com/app:v1"`, `"registry.example.com/app:v2"`, `"registry.example.com/app@sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"`},
		"name":                     {`""`, `"web"`, `"user-container"`, `null`},
		"command":                  {`[]`, `["/app"]`, `["/app", ""]`},
		"args":                     {`[]`, `["-v"]`, `["-v", "-x"]`, `["-x", "-v"]`},
		"workingDir":               {`""`, `"/"`, `"/work"`},
		"env":                      {`[]`, `[{"name": "A", "value": ""}]`, `[{"name": "A"}]`, `[{"name": "A", "value": "1"}]`, `[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]`, `[{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]`, `[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": false}}}]`, `[{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]`},
		"envFrom":                  {`[]`, `[{"prefix": "", "configMapRef": {"name": "c"}}]`, `[{"prefix": "P_", "secretRef": {"name": "s", "optional": true}}]`, `[{"secretRef": {"name": "s", "optional": false}}]`},
		"ports":                    {`[]`, `[{"containerPort": 8080}]`, `[{"containerPort": 8080, "name": "", "protocol": "TCP"}]`, `[{"containerPort": 8081, "name": "h2c"}]`, `[{"containerPort": 8080, "name": "http1", "hostPort": 0}]`, `[{"name": "http1"}]`},
		"resources":                {`{}`, `null`, `{"requests": {"cpu": "1000m"}}`, `{"requests": {"cpu": "1"}}`, `{"requests": {"cpu": 1}}`, `{"requests": {"cpu": "0.5", "memory": "128Mi"}, "limits": {"cpu": "1e0"}}`, `{"limits": {"memory": "1024Ki"}}`, `{"limits": {"memory": "1Mi"}}`, `{"requests": {"cpu": "0"}}`, `{"requests": {"memory": "1.5Gi"}}`, `{"requests": {}}`, `{"limits": {"cpu": "500m"}, "requests": {"cpu": "500m"}}`, `{"claims": []}`},
		"livenessProbe":            {`{}`, `null`, `{"httpGet": {"path": "/"}}`, `{"httpGet": {"path": "/", "port": 0}, "initialDelaySeconds": 0}`, `{"httpGet": {"path": "/", "scheme": "HTTP"}, "periodSeconds": 10}`, `{"tcpSocket": {}, "timeoutSeconds": 0}`, `{"exec": {"command": ["true"]}, "failureThreshold": 3}`, `{"httpGet": {"path": "/", "httpHeaders": []}}`, `{"grpc": {"service": ""}}`, `{"grpc": {"port": 0}}`},
		"readinessProbe":           {`{}`, `null`, `{"httpGet": {"path": "/"}}`, `{"httpGet": {"path": "/", "port": 8080}, "successThreshold": 1}`, `{"tcpSocket": {"port": 0}}`, `{"tcpSocket": {}, "periodSeconds": 0, "successThreshold": 1}`, `{"initialDelaySeconds": 0}`, `{"exec": {"command": ["true"]}}`, `{"grpc": {}}`, `{"periodSeconds": 5, "timeoutSeconds": 1, "failureThreshold": 2}`},
		"startupProbe":             {`{}`, `null`, `{"httpGet": {"path": "/"}, "periodSeconds": 0}`, `{"tcpSocket": {"port": 0}, "failureThreshold": 1}`, `{"exec": {"command": ["true"]}}`},
		"imagePullPolicy":          {`""`, `"Always"`, `"IfNotPresent"`},
		"securityContext":          {`{}`, `null`, `{"runAsUser": 0}`, `{"runAsUser": 1000}`, `{"runAsNonRoot": false}`, `{"runAsNonRoot": true}`, `{"readOnlyRootFilesystem": false}`, `{"readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false}`, `{"capabilities": {"drop": ["ALL"]}}`, `{"capabilities": {"add": [], "drop": []}}`, `{"capabilities": {}}`, `{"seccompProfile": {"type": "RuntimeDefault"}}`},
		"terminationMessagePath":   {`""`, `"/dev/termination-log"`},
		"terminationMessagePolicy": {`""`, `"File"`, `"FallbackToLogsOnError"`},
		"volumeMounts":             {`[]`, `[{"name": "data", "mountPath": "/data"}]`, `[{"name": "data", "mountPath": "/data", "readOnly": false}]`, `[{"name": "data", "mountPath": "/data", "readOnly": true, "subPath": ""}]`},
		"fieldOfTomorrow":          {`true`, `""`, `{"a": 0}`},
	}
	ofSpec = map[string][]string{
		"containerConcurrency":         {`0`, `10`, `null`},
		"timeoutSeconds":               {`0`, `300`, `30`, `null`},
		"idleTimeoutSeconds":           {`0`, `10`},
		"responseStartTimeoutSeconds":  {`0`, `10`},
		"serviceAccountName":           {`""`, `"default"`, `"builder"`},
		"enableServiceLinks":           {`false`, `true`, `null`},
		"automountServiceAccountToken": {`false`, `true`},
		"imagePullSecrets":             {`[]`, `null`, `[{"name": "own-a"}]`, `[{"name": "own-a"}, {"name": "own-b"}]`, `[{"name": "own-b"}, {"name": "own-a"}]`},
		"volumes": {`[]`, `[{"name": "data", "emptyDir": {}}]`, `[{"name": "data", "emptyDir": {"medium": ""}}]`, `[{"name": "data", "emptyDir": {"sizeLimit": "1024Mi"}}]`, `[{"name": "data", "emptyDir": {"sizeLimit": "1Gi"}}]`,
			`[{"name": "data", "secret": {"secretName": "s", "optional": false}}]`, `[{"name": "data", "configMap": {"name": "c", "items": []}}]`, `[{"name": "data", "secret": {"secretName": "s", "defaultMode": 420}}]`,
			`[{"name": "data", "projected": {"sources": [{"secret": {"name": "s"}}]}}]`},
		"containers": {
			`[{"image": "registry.example.com/app:v1"}]`,
			`[{"image": "registry.example.com/app:v1", "ports": [{"containerPort": 8080}]}, {"image": "registry.example.com/sidecar:v1"}]`,
			`[{"image": "registry.example.com/app:v1", "ports": [{"containerPort": 8080}], "name": "app"}, {"image": "registry.example.com/sidecar:v1", "name": "side"}]`,
		},
		"fieldOfTomorrow": {`true`, `0`},
		"nodeSelector":    {`{}`, `{"disk": "ssd"}`},
		"hostNetwork":     {`false`},
	}
	ofTemplate = map[string][]string{
		"metadata": {
			`{}`, `{"creationTimestamp": null}`, `{"labels": {}}`, `{"labels": {"a": ""}}`, `{"labels": {"a": "b"}}`, `{"annotations": {}}`, `{"annotations": {"a": "b"}}`, `{"annotations": {"a": ""}}`,
			`{"annotations": {"autoscaling.knative.dev/min-scale": "1"}}`, `{"annotations": {"autoscaling.knative.dev/min-scale": "0"}}`, `{"annotations": {"autoscaling.knative.dev/class": ""}}`,
			`{"name": ""}`, `{"name": "NAME-one"}`, `{"name": "NAME-two"}`, `{"name": "NAME-one", "labels": {"a": "b"}}`,
		},
	}
	ofService = map[string][]string{
		"metadata": {`{}`, `{"labels": {"a": "b"}}`, `{"annotations": {"a": "b"}}`, `{"labels": {"a": ""}, "annotations": {"a": ""}}`},
	}
)
