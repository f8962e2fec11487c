{{/* The security context of every container. */}}
{{- define "entityd.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop:
    - ALL
{{- end -}}

{{/* The security context of every pod. */}}
{{- define "entityd.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Probes of the operations listener, which answers from the first moment of a start to the end of a drain. */}}
{{- define "entityd.probes" -}}
{{- $scheme := ternary "HTTP" "HTTPS" (eq .Values.tls.mode "off") -}}
startupProbe:
  httpGet:
    path: /startupz
    port: ops
    scheme: {{ $scheme }}
  periodSeconds: 2
  failureThreshold: 300
livenessProbe:
  httpGet:
    path: /healthz
    port: ops
    scheme: {{ $scheme }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: /readyz
    port: ops
    scheme: {{ $scheme }}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end -}}

{{/* Where nodes of a pod run. */}}
{{- define "entityd.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}
