{{- define "type" }}
{{- if markdownShouldRenderType . }}

### {{ .Name }}

{{ .Doc }}
{{- if .References }}

Used by {{ range $i, $user := .SortedReferences }}{{ if $i }}, {{ end }}{{ markdownRenderTypeLink $user }}{{ end }}.
{{- end }}
{{- if .EnumValues }}

| value | |
| --- | --- |
{{- range .EnumValues }}
| `{{ .Name }}` | {{ markdownRenderFieldDoc .Doc | replace "<br />" " " | trim }} |
{{- end }}
{{- end }}
{{- if .Members }}

| field | type | | default | validation |
| --- | --- | --- | --- | --- |
{{- if .GVK }}
| `apiVersion` | string | `{{ .GVK.Group }}/{{ .GVK.Version }}` | | |
| `kind` | string | `{{ .GVK.Kind }}` | | |
{{- end }}
{{- range .Members }}
| `{{ .Name }}` | {{ markdownRenderType .Type }} | {{ template "type_members" . }} | {{ with .Default }}`{{ . }}`{{ end }} | {{ template "validation" . }} |
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "validation" -}}
{{- $rules := list -}}
{{- if not (contains "Optional: " (join " " .Validation)) }}{{ $rules = append $rules "required" }}{{ end -}}
{{- range .Validation }}{{ if not (hasPrefix "Optional: " .) }}{{ $rules = append $rules (markdownRenderFieldDoc .) }}{{ end }}{{ end -}}
{{- join "<br/>" $rules -}}
{{- end -}}
