{{/* Names do not bear the release's: one release in a namespace, and they are those of deploy/k8s. */}}

{{/* Labels of what belongs to a tier (`component`, may be empty). */}}
{{- define "parlor.labels" -}}
app.kubernetes.io/name: parlor
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "parlor.image" -}}
{{ with .root.Values.image.registry }}{{ . }}/{{ end }}parlor/{{ .component }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{/* How many pods a tier (`values`) has at least. */}}
{{- define "parlor.atLeast" -}}
{{ if .autoscaling.enabled }}{{ .autoscaling.minReplicas }}{{ else }}{{ .replicas }}{{ end }}
{{- end }}

{{- define "parlor.trustedHops" -}}
{{- if kindIs "invalid" .Values.gateway.trustedHops -}}
{{ if or .Values.ingress.enabled .Values.gatewayApi.enabled }}1{{ else }}0{{ end }}
{{- else -}}
{{ int .Values.gateway.trustedHops }}
{{- end -}}
{{- end }}

{{/* A value as a program reads it: Helm's numbers are floats, which would be written as 2e+06. */}}
{{- define "parlor.text" -}}
{{ if kindIs "float64" . }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}
