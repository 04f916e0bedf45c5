{{- /*
Copyright The Pull Secrets for Knative Authors
SPDX-License-Identifier: Apache-2.0

Renders nothing. Fails if the release cannot work.
*/ -}}
{{- if ne .Release.Namespace "pullsecrets-system" }}
{{- fail (printf "the namespace of this release is %s, and must be pullsecrets-system, because policies and webhook configurations refer to it: use --namespace pullsecrets-system" .Release.Namespace) }}
{{- end }}
