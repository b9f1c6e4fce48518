{{/* What every pod of the release shares; passes Pod Security restricted. */}}
{{- define "llmcloud.podSpec" -}}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* (list $ IMAGE): what every container shares. */}}
{{- define "llmcloud.container" -}}
{{- $root := first . -}}
image: {{ include "llmcloud.image" . | quote }}
imagePullPolicy: {{ $root.Values.images.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
terminationMessagePolicy: FallbackToLogsOnError
{{- end -}}

{{- define "llmcloud.caEnv" -}}
{{- if .Values.caBundle.configMap }}
- name: SSL_CERT_FILE
  value: /etc/llmcloud-ca/{{ .Values.caBundle.key }}
{{- end }}
{{- end -}}

{{- define "llmcloud.caMount" -}}
{{- if .Values.caBundle.configMap }}
- name: ca
  mountPath: /etc/llmcloud-ca
  readOnly: true
{{- end }}
{{- end -}}

{{- define "llmcloud.caVolume" -}}
{{- with .Values.caBundle.configMap }}
- name: ca
  configMap:
    name: {{ . }}
{{- end }}
{{- end -}}
