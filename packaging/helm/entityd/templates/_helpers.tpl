{{/* The name of the release's objects. */}}
{{- define "entityd.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The labels that select pods. */}}
{{- define "entityd.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The labels of every object. */}}
{{- define "entityd.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "entityd.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "entityd.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "entityd.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "entityd.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{- define "entityd.secret" -}}
{{ .Values.auth.existingSecret | default (include "entityd.fullname" .) }}
{{- end -}}

{{- define "entityd.clusterSecret" -}}
{{ .Values.cluster.existingSecret | default (printf "%s-cluster" (include "entityd.fullname" .)) }}
{{- end -}}

{{- define "entityd.claim" -}}
{{ .Values.persistence.existingClaim | default (printf "%s-data" (include "entityd.fullname" .)) }}
{{- end -}}

{{/* The value at a path such as `a.b.c` of a dictionary, as {"value": ..}; empty if there is none. */}}
{{- define "entityd.at" -}}
{{- $here := .values -}}
{{- $found := true -}}
{{- range splitList "." .path -}}
{{- if and $found (kindIs "map" $here) (hasKey $here .) -}}
{{- $here = index $here . -}}
{{- else -}}
{{- $found = false -}}
{{- end -}}
{{- end -}}
{{- if and $found (not (kindIs "invalid" $here)) -}}{{ dict "value" $here | toJson }}{{- end -}}
{{- end -}}

{{/* A number or text as a variable's value: without an exponent. */}}
{{- define "entityd.scalar" -}}
{{- if kindIs "float64" . -}}
{{- if eq (floor .) . }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- else -}}
{{ toString . }}
{{- end -}}
{{- end -}}

{{/* The variables that hold settings, as a dictionary in JSON. Later ones win. */}}
{{- define "entityd.variables" -}}
{{- $out := dict -}}
{{- $_ := set $out "ENTITYD_LISTEN" (printf "%s:8851" .Values.bindAddress) -}}
{{- $_ := set $out "ENTITYD_S3_LISTEN" (printf "%s:8852" .Values.bindAddress) -}}
{{- $_ := set $out "ENTITYD_OPS_LISTEN" (printf "%s:8853" .Values.bindAddress) -}}
{{- $_ := set $out "ENTITYD_DATA_DIR" "/data" -}}
{{- $_ := set $out "ENTITYD_LOG_FORMAT" "json" -}}
{{- $_ := set $out "ENTITYD_DRAIN_TIMEOUT_MS" (printf "%ds" (int .Values.drainTimeoutSeconds)) -}}
{{- $_ := set $out "ENTITYD_ADMIN_TOKEN_FILE" "/secrets/auth/admin-token" -}}
{{- if .Values.auth.requireAdminToken }}{{ $_ := set $out "ENTITYD_REQUIRE_ADMIN_TOKEN" "true" }}{{ end -}}
{{- if eq .Values.tls.mode "self-signed" -}}
{{- $_ := set $out "ENTITYD_TLS" "self-signed" -}}
{{- else if eq .Values.tls.mode "secret" -}}
{{- $_ := set $out "ENTITYD_TLS_CERT" "/secrets/tls/tls.crt" -}}
{{- $_ := set $out "ENTITYD_TLS_KEY" "/secrets/tls/tls.key" -}}
{{- end -}}
{{- if .Values.tls.clientCaSecret }}{{ $_ := set $out "ENTITYD_TLS_CLIENT_CA" "/secrets/client-ca/ca.crt" }}{{ end -}}
{{- if .Values.ingress.trustedProxies }}{{ $_ := set $out "ENTITYD_TRUSTED_PROXIES" (join "," .Values.ingress.trustedProxies) }}{{ end -}}
{{- with .Values.objectStore -}}
{{- if .location }}{{ $_ := set $out "ENTITYD_OBJECTS" .location }}{{ end -}}
{{- if .endpoint }}{{ $_ := set $out "ENTITYD_OBJECTS_ENDPOINT" .endpoint }}{{ end -}}
{{- if .region }}{{ $_ := set $out "ENTITYD_OBJECTS_REGION" .region }}{{ end -}}
{{- if .existingSecret }}{{ $_ := set $out "ENTITYD_S3_SECRET_KEY_FILE" "/secrets/objects/secret-key" }}{{ end -}}
{{- end -}}
{{- if and (not .Values.objectStore.location) .Values.uploads.enabled -}}
{{- $_ := set $out "ENTITYD_S3_SECRET_KEY_FILE" "/secrets/auth/s3-secret-key" -}}
{{- end -}}
{{- $_ := set $out "ENTITYD_EXTERNAL_UPLOADS" (toString .Values.uploads.enabled) -}}
{{- $_ := set $out "ENTITYD_UPLOAD_BUCKET" .Values.uploads.bucket -}}
{{- if .Values.uploads.endpoint }}{{ $_ := set $out "ENTITYD_UPLOAD_ENDPOINT" .Values.uploads.endpoint }}{{ end -}}
{{- if ne (toString .Values.uploads.secure) "" }}{{ $_ := set $out "ENTITYD_UPLOAD_SECURE" (toString .Values.uploads.secure) }}{{ end -}}
{{- $old := dict "anonlink.objectstore.uploadEnabled" "EXTERNAL_UPLOADS"
      "anonlink.objectstore.uploadServer" "UPLOAD_ENDPOINT"
      "anonlink.objectstore.uploadSecure" "UPLOAD_SECURE"
      "anonlink.objectstore.uploadBucket.name" "UPLOAD_BUCKET"
      "anonlink.objectstore.downloadServer" "DOWNLOAD_ENDPOINT"
      "anonlink.objectstore.downloadSecure" "DOWNLOAD_SECURE"
      "minio.defaultBucket.name" "DOWNLOAD_BUCKET"
      "workers.CHUNK_SIZE_AIM" "COMPARISONS_PER_JOB"
      "workers.celery.CONCURRENCY" "WORKER_THREADS" -}}
{{- $values := .Values -}}
{{- range $path, $name := $old -}}
{{- $json := include "entityd.at" (dict "values" $values "path" $path) -}}
{{- if $json }}{{ $_ := set $out (printf "ENTITYD_%s" $name) (include "entityd.scalar" (index ($json | fromJson) "value")) }}{{ end -}}
{{- end -}}
{{- with .Values.database -}}
{{- if .url }}{{ $_ := set $out "ENTITYD_DATABASE" .url }}{{ end -}}
{{- if .existingSecret }}{{ $_ := set $out "ENTITYD_DATABASE_PASSWORD_FILE" "/secrets/database/password" }}{{ end -}}
{{- if .caSecret }}{{ $_ := set $out "ENTITYD_DATABASE_CA_FILE" "/secrets/database-ca/ca.crt" }}{{ end -}}
{{- if .clientCertSecret -}}
{{- $_ := set $out "ENTITYD_DATABASE_CERT_FILE" "/secrets/database-cert/tls.crt" -}}
{{- $_ := set $out "ENTITYD_DATABASE_KEY_FILE" "/secrets/database-cert/tls.key" -}}
{{- end -}}
{{- end -}}
{{- with .Values.queue -}}
{{- if .url }}{{ $_ := set $out "ENTITYD_QUEUE" .url }}{{ end -}}
{{- if .existingSecret }}{{ $_ := set $out "ENTITYD_QUEUE_PASSWORD_FILE" "/secrets/queue/password" }}{{ end -}}
{{- if .caSecret }}{{ $_ := set $out "ENTITYD_QUEUE_CA" "/secrets/queue-ca/ca.crt" }}{{ end -}}
{{- if .clientCertSecret -}}
{{- $_ := set $out "ENTITYD_QUEUE_CERT" "/secrets/queue-cert/tls.crt" -}}
{{- $_ := set $out "ENTITYD_QUEUE_KEY" "/secrets/queue-cert/tls.key" -}}
{{- end -}}
{{- end -}}
{{- if .Values.cluster.enabled -}}
{{- $_ := set $out "ENTITYD_ROLE" "api" -}}
{{- $_ := set $out "ENTITYD_WORKER_LISTEN" (printf "%s:8854" .Values.bindAddress) -}}
{{- $_ := set $out "ENTITYD_JOIN_TOKEN_FILE" "/secrets/cluster/join-token" -}}
{{- end -}}
{{- range $name, $value := .Values.settings -}}
{{- $_ := set $out (printf "ENTITYD_%s" (upper $name)) (include "entityd.scalar" $value) -}}
{{- end -}}
{{- $out | toJson -}}
{{- end -}}

{{/* Not empty if several pods serve. They have no volume: everything that lasts is in the engines that they share. */}}
{{- define "entityd.several" -}}
{{- if and .Values.cluster.enabled (gt (int .Values.cluster.apiReplicas) 1) }}true{{ end -}}
{{- end -}}
