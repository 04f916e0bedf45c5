{{- /*
Copyright The Pull Secrets for Knative Authors
SPDX-License-Identifier: Apache-2.0

Renders nothing. Fails if the release cannot work, before anything is installed.
*/ -}}
{{- if ne .Release.Namespace "pullsecrets-system" }}
{{- fail (printf "the namespace of this release is %s, and must be pullsecrets-system, because policies and webhook configurations refer to it: use --namespace pullsecrets-system" .Release.Namespace) }}
{{- end }}
{{- with .Values.webhook.autoscaling }}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) }}
{{- fail (printf "webhook.autoscaling.minReplicas is %v, and must not be more than maxReplicas, which is %v" .minReplicas .maxReplicas) }}
{{- end }}
{{- end }}
{{- $protocol := dig "metrics-protocol" "none" (default dict .Values.config.observability) }}
{{- if and .Values.monitoring.enabled (ne $protocol "prometheus") }}
{{- fail (printf "monitoring.enabled is true, and config.observability.metrics-protocol is %s, and must be prometheus: the alerts would report that both programs are down" $protocol) }}
{{- end }}
{{- $reserved := list "POD_NAME" "SYSTEM_NAMESPACE" "KNATIVE_NAMESPACE" "CONFIG_LOGGING_NAME" "CONFIG_OBSERVABILITY_NAME" "CONFIG_LEADERELECTION_NAME" "KUBE_API_QPS" "KUBE_API_BURST" "PROBES_PORT" "METRICS_PROMETHEUS_PORT" "PROFILING_PORT" }}
{{- range $program, $names := dict "controller" (list "K_THREADS_PER_CONTROLLER") "webhook" (list "WEBHOOK_NAME" "WEBHOOK_PORT") }}
{{- range (index $.Values $program).extraEnv }}
{{- if has .name (concat $reserved $names) }}
{{- fail (printf "%s.extraEnv has %s, which the chart sets: remove it, because server-side apply rejects a variable that is there twice" $program .name) }}
{{- end }}
{{- end }}
{{- end }}
