{{/* Names are fixed, because the operator, its command line and its policies know them: one installation per cluster. */}}

{{/* Labels of every object. `version` comes after `name`, because scripts/manifests.py removes the labels between. */}}
{{- define "spotalis.labels" -}}
app.kubernetes.io/name: spotalis
app.kubernetes.io/version: {{ .Chart.AppVersion }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "spotalis.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "spotalis.account" -}}
system:serviceaccount:{{ .Release.Namespace }}:spotalis
{{- end }}

{{/* The namespaces that the operator never manages, as a list in JSON. */}}
{{- define "spotalis.excludedNamespaces" -}}
{{ concat (list "kube-system" .Release.Namespace) (.Values.settings.excludedNamespaces | default list) | uniq | toJson }}
{{- end }}

{{/* Whether the operator issues its own certificate; empty if not. */}}
{{- define "spotalis.issuesCertificate" -}}
{{ if eq .Values.certificates.source "self" }}true{{ end }}
{{- end }}

{{- define "spotalis.certificateSecret" -}}
{{ .Values.certificates.secretName | default "spotalis-webhook-tls" }}
{{- end }}

{{/* The port of a name, which the settings can change. */}}
{{- define "spotalis.port" -}}
{{ get (.root.Values.settings.serving | default dict) (printf "%sPort" .name) | default (get (dict "webhook" 9443 "metrics" 8080 "health" 8081) .name) }}
{{- end }}

{{- define "spotalis.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/*
Grants rules to the operator's account: by a ClusterRole, or with `settings.watchNamespaces` by a Role in each of these
namespaces and a ClusterRole for resources without a namespace.
Arguments: root; optional: name of the optional permission, empty for those that are always needed; rules.
*/}}
{{- define "spotalis.grant" -}}
{{- $root := .root }}
{{- $name := ternary (printf "spotalis-%s" .optional) "spotalis" (ne .optional "") }}
{{- $withoutNamespace := list "nodes" "namespaces" "persistentvolumes" "nodepools" "mutatingwebhookconfigurations" }}
{{- $watched := $root.Values.settings.watchNamespaces | default list }}
{{- $everywhere := list }}
{{- $perNamespace := list }}
{{- range .rules }}
{{- if or (empty $watched) (has (first .resources) $withoutNamespace) }}
{{- $everywhere = append $everywhere . }}
{{- else }}
{{- $perNamespace = append $perNamespace . }}
{{- end }}
{{- end }}
{{- if $everywhere }}
{{- include "spotalis.role" (dict "root" $root "optional" .optional "scope" "Cluster" "name" $name "rules" $everywhere) }}
{{- end }}
{{- range $index, $namespace := $watched }}
{{- if $perNamespace }}
{{- if or $index $everywhere }}
---
{{ end }}
{{- include "spotalis.role" (dict "root" $root "optional" $.optional "scope" "" "namespace" $namespace "name" (printf "%s-managed" $name) "rules" $perNamespace) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "spotalis.role" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .scope }}Role
metadata:
  {{- include "spotalis.roleMetadata" . | nindent 2 }}
rules:
  {{- range .rules }}
  - apiGroups: {{ .apiGroups | toJson }}
    resources: [{{ join ", " .resources }}]
    {{- with .resourceNames }}
    resourceNames: [{{ join ", " . }}]
    {{- end }}
    verbs: [{{ join ", " .verbs }}]
  {{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .scope }}RoleBinding
metadata:
  {{- include "spotalis.roleMetadata" . | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .scope }}Role
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: spotalis
    namespace: {{ .root.Release.Namespace }}
{{ end }}

{{- define "spotalis.roleMetadata" -}}
name: {{ .name }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- include "spotalis.labels" .root | nindent 2 }}
  {{- with .optional }}
  spotalis.io/optional: {{ . }}
  {{- end }}
{{- end }}
