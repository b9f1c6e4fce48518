{{- define "llmcloud.fullname" -}}
{{- $name := .Release.Name -}}
{{- if not (contains .Chart.Name $name) -}}
{{- $name = printf "%s-%s" $name .Chart.Name -}}
{{- end -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* (list $ COMPONENT): what selects the pods of a component. The operator finds gateways by it. */}}
{{- define "llmcloud.selector" -}}
{{- $root := first . -}}
app.kubernetes.io/name: llmcloud
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end -}}

{{- define "llmcloud.labels" -}}
{{- $root := first . -}}
{{ include "llmcloud.selector" . }}
app.kubernetes.io/part-of: llmcloud
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end -}}

{{/* (list $ IMAGE): [registry/]repository with the digest, or else the tag. */}}
{{- define "llmcloud.image" -}}
{{- $root := first . -}}
{{- $images := $root.Values.images -}}
{{- $image := get $images (last .) -}}
{{- with $images.registry -}}{{ trimSuffix "/" . }}/{{- end -}}
{{- $image.repository -}}
{{- if $image.digest -}}@{{ $image.digest }}{{- else -}}:{{ $image.tag | default $root.Chart.AppVersion }}{{- end -}}
{{- end -}}

{{- define "llmcloud.gatewayUrl" -}}
{{- $ingress := .Values.gateway.ingress -}}
{{- if .Values.gateway.url -}}
{{- trimSuffix "/" .Values.gateway.url -}}
{{- else if $ingress.enabled -}}
{{- ternary "https" "http" (ne $ingress.tlsSecretName "") }}://{{ $ingress.host }}
{{- else -}}
http://{{ include "llmcloud.fullname" . }}-gateway.{{ .Release.Namespace }}
{{- end -}}
{{- end -}}

{{- define "llmcloud.storeHost" -}}
{{ include "llmcloud.fullname" . }}-store.{{ .Release.Namespace }}
{{- end -}}

{{- define "llmcloud.storeSecret" -}}
{{ .Values.embeddedStore.existingSecret | default (printf "%s-store-keys" (include "llmcloud.fullname" .)) }}
{{- end -}}

{{/* What `llmcloud run --settings` reads: llmcloud.settings.Settings. */}}
{{- define "llmcloud.settings" -}}
{{- $values := .Values -}}
{{- $env := dict -}}
{{- with $values.proxy.http }}{{ $_ := set $env "HTTP_PROXY" . }}{{ end -}}
{{- with $values.proxy.https }}{{ $_ := set $env "HTTPS_PROXY" . }}{{ end -}}
{{- if $env -}}
{{- $direct := list $values.proxy.noProxy -}}
{{- if $values.embeddedStore.enabled }}{{ $direct = append $direct (include "llmcloud.storeHost" .) }}{{ end -}}
{{- $_ := set $env "NO_PROXY" (join "," (compact $direct)) -}}
{{- end -}}
{{- with $values.hubMirror }}{{ $_ := set $env "HF_ENDPOINT" . }}{{ end -}}
images:
  operator: {{ include "llmcloud.image" (list . "operator") | quote }}
  data: {{ include "llmcloud.image" (list . "data") | quote }}
  runtime: {{ include "llmcloud.image" (list . "runtime") | quote }}
  gateway: {{ include "llmcloud.image" (list . "gateway") | quote }}
  vllm: {{ include "llmcloud.image" (list . "vllm") | quote }}
  pullPolicy: {{ $values.images.pullPolicy }}
  pullSecrets: {{ toJson $values.imagePullSecrets }}
namespace: {{ .Release.Namespace }}
watchNamespace: {{ $values.watchNamespace | default nil | toJson }}
gatewayUrl: {{ include "llmcloud.gatewayUrl" . | quote }}
tolerations: {{ toJson $values.tolerations }}
platform: {{ $values.platform | quote }}
platforms: {{ toJson $values.platforms }}
accelerators: {{ toJson $values.accelerators }}
env: {{ toJson $env }}
authorities: {{ toJson ($values.caBundle | default "") }}
allowedNetworks: {{ toJson $values.egress.allowedNetworks }}
refusedNetworks: {{ toJson $values.egress.refusedNetworks }}
workers: {{ $values.operator.workers }}
resyncSeconds: {{ $values.operator.resyncSeconds }}
storeCheckSeconds: {{ $values.operator.storeCheckSeconds }}
logLevel: {{ $values.operator.logLevel }}
{{- end -}}
