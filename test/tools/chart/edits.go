// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package main

import "slices"

// folders are the directories of manifests, and where their templates are.
var folders = []struct{ manifests, templates string }{
	{"config", "."},
	{"config/monitoring", "monitoring"},
	{"config/outage", "outage"},
}

// conditions are the objects that values can leave out.
var conditions = []condition{
	{"config/100-namespace.yaml", "pullsecrets-system", ".Values.namespaces.system"},
	{"config/100-namespace.yaml", "pullsecrets-sources", ".Values.namespaces.sources"},
	{"config/501-controller-pdb.yaml", "", ".Values.controller.podDisruptionBudget.enabled"},
	{"config/511-webhook-pdb.yaml", "", ".Values.webhook.podDisruptionBudget.enabled"},
	{"config/512-webhook-hpa.yaml", "", ".Values.webhook.autoscaling.enabled"},
	{"config/monitoring/*.yaml", "", ".Values.monitoring.enabled"},
	{"config/outage/*.yaml", "", `include "pullsecrets.outagePolicies" .`},
}

// edits are all changes that make templates of manifests.
var edits = slices.Concat(general, kept, settings, budgets, deployment("500-controller", "controller"), deployment("510-webhook", "webhook"))

var general = []edit{
	{"config/*.yaml", "    app.kubernetes.io/version: devel\n", "    app.kubernetes.io/version: {{ .Chart.AppVersion }}\n"},
	{"config/*/*.yaml", "    app.kubernetes.io/version: devel\n", "    app.kubernetes.io/version: {{ .Chart.AppVersion }}\n"},
	{"config/5?0-*.yaml", "        app.kubernetes.io/version: devel\n", "        app.kubernetes.io/version: {{ .Chart.AppVersion }}\n"},

	// Many installations of Prometheus select its objects by a label.
	{"config/monitoring/p*.yaml", "    app.kubernetes.io/version: {{ .Chart.AppVersion }}\n", `    app.kubernetes.io/version: {{ .Chart.AppVersion }}
    {{- with .Values.monitoring.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
`},

	{"config/202-*.yaml", "  namespace: knative-serving\n", "  namespace: {{ quote .Values.knativeNamespace }}\n"},
	{"config/5?0-*.yaml", "              value: knative-serving\n", "              value: {{ quote .Values.knativeNamespace }}\n"},
	{"config/60[13]-*.yaml", "            - knative-serving\n", "            - {{ quote .Values.knativeNamespace }}\n"},
	{"config/outage/*.yaml", "            - knative-serving\n", "            - {{ quote .Values.knativeNamespace }}\n"},
}

// keep are the annotations for "helm uninstall", which Argo CD follows when an Application is
// deleted, and for Argo CD's pruning, which ignores the first.
const keep = "  annotations:\n    helm.sh/resource-policy: keep\n    argocd.argoproj.io/sync-options: Prune=false\n"

// kept are the objects that no tool may remove with the release, because other objects would
// be deleted with them: ClusterPullSecrets with the CRD, Secrets with a Namespace.
var kept = []edit{
	{"config/100-*.yaml", "metadata:\n", "metadata:\n" + keep},
	{"config/300-*.yaml", "  annotations:\n", keep},
}

var settings = slices.Concat(
	entries("pullsecrets", "pullsecrets", ""),
	entries("logging", "logging", ""),
	entries("leader-election", "leaderElection", ""),
	entries("observability", "observability", "  # Knative's own default is none.\n  metrics-protocol: \"prometheus\"\n"),
)

// entries puts values into a ConfigMap. They replace its existing entries.
func entries(name, value, existing string) []edit {
	return []edit{{"config/400-config-" + name + ".yaml", "data:\n" + existing, `data:
  {{- range $key, $value := .Values.config.` + value + ` }}
  {{ $key }}: {{ $value | toJson }}
  {{- end }}
`}}
}

var budgets = []edit{
	{"config/501-*.yaml", "  maxUnavailable: 1\n", "  maxUnavailable: {{ .Values.controller.podDisruptionBudget.maxUnavailable }}\n"},
	{"config/511-*.yaml", "  maxUnavailable: 1\n", "  maxUnavailable: {{ .Values.webhook.podDisruptionBudget.maxUnavailable }}\n"},
	{"config/512-*.yaml", "  minReplicas: 2\n", "  minReplicas: {{ .Values.webhook.autoscaling.minReplicas }}\n"},
	{"config/512-*.yaml", "  maxReplicas: 5\n", "  maxReplicas: {{ .Values.webhook.autoscaling.maxReplicas }}\n"},
	{"config/512-*.yaml", "          averageUtilization: 100\n", "          averageUtilization: {{ .Values.webhook.autoscaling.targetCPUUtilizationPercentage }}\n"},
	{"config/500-*.yaml", "  replicas: 2\n", "  replicas: {{ .Values.controller.replicas }}\n"},
	{"config/510-*.yaml", `  # No replicas field: the HorizontalPodAutoscaler owns it, and applying this manifest
  # again must not reset it.
`, `  {{- if .Values.webhook.autoscaling.enabled }}
  # No replicas field: the HorizontalPodAutoscaler owns it, and applying this manifest
  # again must not reset it.
  {{- else }}
  replicas: {{ .Values.webhook.replicas }}
  {{- end }}
`},
}

// deployment has what both Deployments take from the values of their program.
func deployment(file, program string) []edit {
	file = "config/" + file + ".yaml"
	values := ".Values." + program
	replicas := "both"
	if program == "webhook" {
		replicas = "all"
	}
	affinity := "      # The loss of one node must not take down " + replicas + " replicas.\n      affinity:\n"
	return []edit{
		// The programs read these settings only when they start.
		{file, "    metadata:\n", `    metadata:
      {{- with include "pullsecrets.settingsOfStart" . }}
      annotations:
        checksum/config: {{ . }}
      {{- end }}
`},
		{file, "      serviceAccountName: " + program + "\n", "      serviceAccountName: " + program + `
      {{- with .Values.image.pullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with ` + values + `.priorityClassName }}
      priorityClassName: {{ quote . }}
      {{- end }}
      {{- with ` + values + `.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with ` + values + `.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with ` + values + `.extraVolumes }}
      volumes:
        {{- toYaml . | nindent 8 }}
      {{- end }}
`},
		{file, "            - name: PROFILING_PORT\n              value: \"8008\"\n", `            - name: PROFILING_PORT
              value: "8008"
            {{- with ` + values + `.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
`},
		{file, affinity, `      {{- with ` + values + `.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- else }}
` + affinity},
		{file, "      securityContext:\n", "      {{- end }}\n      securityContext:\n"},
		{file, `          # ko builds this Go package and replaces the value by the image's digest.
          image: ko://pullsecrets.dev/cmd/` + program + "\n",
			`          image: {{ include "pullsecrets.image" (list .Values.image ` + values + `.image) }}
          {{- with .Values.image.pullPolicy }}
          imagePullPolicy: {{ . }}
          {{- end }}
`},
		{file, `          resources:
            requests:
              cpu: 100m
              memory: 100Mi
            limits:
              cpu: 1000m
              memory: 1000Mi
`, `          resources:
            {{- toYaml ` + values + `.resources | nindent 12 }}
          {{- with ` + values + `.extraVolumeMounts }}
          volumeMounts:
            {{- toYaml . | nindent 12 }}
          {{- end }}
`},
	}
}
