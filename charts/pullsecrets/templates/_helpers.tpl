{{- /*
Copyright The Pull Secrets for Knative Authors
SPDX-License-Identifier: Apache-2.0
*/ -}}

{{- /* The reference of an image. The arguments are the values of both images, and of one. */ -}}
{{- define "pullsecrets.image" -}}
{{- $all := index . 0 }}
{{- with index . 1 }}
{{- with $all.registry }}{{ . }}/{{ end }}{{ .repository }}{{ with .tag }}:{{ . }}{{ end }}{{ with .digest }}@{{ . }}{{ end }}
{{- end }}
{{- end }}

{{- /* Not empty if the policies for an outage are part of the release. */ -}}
{{- define "pullsecrets.outagePolicies" -}}
{{- if eq .Values.outagePolicies "auto" }}
{{- if .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" }}true{{ end }}
{{- else if eq .Values.outagePolicies "enabled" }}true{{ end }}
{{- end }}

{{- /* A checksum of the settings that the programs read when they start, so that a change
restarts them. Empty by default. */ -}}
{{- define "pullsecrets.settingsOfStart" -}}
{{- $observability := omit (default dict .Values.config.observability) "runtime-profiling" }}
{{- $logging := pick (default dict .Values.config.logging) "zap-logger-config" }}
{{- $settings := merge $observability $logging (default dict .Values.config.leaderElection) }}
{{- if ne (toJson $settings) `{"metrics-protocol":"prometheus"}` }}{{ toJson $settings | sha256sum }}{{ end }}
{{- end }}
