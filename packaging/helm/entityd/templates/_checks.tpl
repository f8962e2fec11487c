{{/* Refuses values that contradict each other, and those of the reference's chart that have another name. */}}
{{- define "entityd.checks" -}}
{{- $values := .Values -}}
{{- range (.Files.Get "files/reference-values.yaml" | fromYamlArray) -}}
{{- if and (not .works) (include "entityd.at" (dict "values" $values "path" .value)) -}}
{{- if .use -}}
{{- fail (printf "%s is a value of the reference's chart: set %s instead%s" .value .use (ternary (printf "; %s" .reason) "" (hasKey . "reason"))) -}}
{{- else -}}
{{- fail (printf "%s is a value of the reference's chart without a meaning here: remove it, since %s" .value .remove) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.tls -}}
{{- if and (eq .mode "secret") (not .existingSecret) -}}
{{- fail "tls.mode is secret: name the Secret with tls.crt and tls.key in tls.existingSecret" -}}
{{- end -}}
{{- if and (ne .mode "secret") .existingSecret -}}
{{- fail (printf "tls.existingSecret is set and tls.mode is %s: set tls.mode to secret" .mode) -}}
{{- end -}}
{{- if and (eq .mode "off") .clientCaSecret -}}
{{- fail "tls.clientCaSecret needs TLS: set tls.mode to secret or self-signed" -}}
{{- end -}}
{{- end -}}
{{- with .Values.persistence -}}
{{- if and (not .enabled) .existingClaim -}}
{{- fail "persistence.existingClaim is set and persistence.enabled is false: set one of them only" -}}
{{- end -}}
{{- if not (mustHas (first .accessModes) (list "ReadWriteOnce" "ReadWriteOncePod" "ReadWriteMany")) -}}
{{- fail (printf "persistence.accessModes: %s cannot be written; give ReadWriteOnce" (first .accessModes)) -}}
{{- end -}}
{{- end -}}
{{- with .Values.objectStore -}}
{{- if and .location (not .existingSecret) (not .ambientCredentials) -}}
{{- fail "objectStore.location needs credentials: name a Secret in objectStore.existingSecret, or set objectStore.ambientCredentials if the pod's service account or extraEnv has them" -}}
{{- end -}}
{{- if and .existingSecret .ambientCredentials -}}
{{- fail "objectStore.existingSecret and objectStore.ambientCredentials exclude each other" -}}
{{- end -}}
{{- if and (not .location) (or .endpoint .region .existingSecret .ambientCredentials) -}}
{{- fail "objectStore has an endpoint, region or credentials and no location: give objectStore.location, such as s3://bucket/prefix" -}}
{{- end -}}
{{- if and .existingSecret (not (hasPrefix "s3://" .location)) -}}
{{- fail "objectStore.existingSecret has keys of S3: for az:// and gs:// put the credentials into extraEnv and set objectStore.ambientCredentials" -}}
{{- end -}}
{{- end -}}
{{- with .Values.cluster -}}
{{- if .enabled -}}
{{- if eq $values.tls.mode "self-signed" -}}
{{- fail "cluster.enabled: workers cannot know a certificate that is made at the first start: set tls.mode to secret or off" -}}
{{- end -}}
{{- if not (or .workers.replicas .workers.autoscaling.enabled) -}}
{{- fail "cluster.workers.replicas is 0: no pod would compare; set it, or cluster.workers.autoscaling.enabled" -}}
{{- end -}}
{{- range $name, $worker := dict "workers" .workers "highMemoryWorkers" .highMemoryWorkers -}}
{{- if gt (int $worker.autoscaling.minReplicas) (int $worker.autoscaling.maxReplicas) -}}
{{- fail (printf "cluster.%s.autoscaling: minReplicas %d exceeds maxReplicas %d" $name (int $worker.autoscaling.minReplicas) (int $worker.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- if and $worker.autoscaling.enabled (not $worker.autoscaling.backlogSeconds) (not ((($worker.resources).requests).cpu)) -}}
{{- fail (printf "cluster.%s.autoscaling scales by processor time: set cluster.%s.resources.requests.cpu" $name $name) -}}
{{- end -}}
{{- end -}}
{{- if and (gt (int .apiReplicas) 1) (not (and $values.database.url $values.queue.url $values.objectStore.location)) -}}
{{- fail (printf "cluster.apiReplicas is %d: pods that serve share everything that lasts; set database.url, queue.url and objectStore.location" (int .apiReplicas)) -}}
{{- end -}}
{{- if hasKey $values.settings "queues" -}}
{{- fail "settings.queues has a value of its own: set cluster.workers and cluster.highMemoryWorkers instead" -}}
{{- end -}}
{{- else if .existingSecret -}}
{{- fail "cluster.existingSecret is set and cluster.enabled is false: enable it, or remove the Secret" -}}
{{- else if gt (int .apiReplicas) 1 -}}
{{- fail "cluster.apiReplicas is set and cluster.enabled is false: enable it" -}}
{{- end -}}
{{- end -}}
{{- with .Values.database -}}
{{- if and (not .url) (or .existingSecret .caSecret .clientCertSecret) -}}
{{- fail "database has a Secret and no url: give database.url, such as postgres://user@host/name?sslmode=verify-full" -}}
{{- end -}}
{{- if regexMatch "^[a-z-]+://[^/@]*:[^/@]*@" .url -}}
{{- fail "database.url holds a password, which everybody may read in the ConfigMap: put it into the Secret that database.existingSecret names" -}}
{{- end -}}
{{- end -}}
{{- with .Values.queue -}}
{{- if and (not .url) (or .existingSecret .caSecret .clientCertSecret) -}}
{{- fail "queue has a Secret and no url: give queue.url, such as redis://host:6379/0" -}}
{{- end -}}
{{- if regexMatch "^[a-z-]+://[^/@]*:[^/@]*@" .url -}}
{{- fail "queue.url holds a password, which everybody may read in the ConfigMap: put it into the Secret that queue.existingSecret names" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.enabled needs ingress.hosts, such as [{host: entityd.example.org}]" -}}
{{- end -}}
{{- range .Values.ingress.tls -}}
{{- $tls := . -}}
{{- range .hosts -}}
{{- $host := . -}}
{{- $served := false -}}
{{- range $values.ingress.hosts }}{{ if eq .host $host }}{{ $served = true }}{{ end }}{{ end -}}
{{- if not $served }}{{ fail (printf "ingress.tls names the host %s, which is not in ingress.hosts" $host) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- $owned := dict "listen" "bindAddress" "s3_listen" "bindAddress" "ops_listen" "bindAddress" "data_dir" "persistence"
      "admin_token_file" "auth" "s3_access_key" "auth" "s3_secret_key" "auth" "s3_secret_key_file" "auth" "require_admin_token" "auth.requireAdminToken"
      "tls" "tls.mode" "tls_cert" "tls" "tls_key" "tls" "tls_client_ca" "tls.clientCaSecret" "drain_timeout_ms" "drainTimeoutSeconds"
      "objects" "objectStore.location" "objects_endpoint" "objectStore.endpoint" "objects_region" "objectStore.region"
      "external_uploads" "uploads.enabled" "upload_bucket" "uploads.bucket" "upload_endpoint" "uploads.endpoint" "upload_secure" "uploads.secure"
      "database" "database.url" "database_password" "database.existingSecret" "database_password_file" "database.existingSecret" "database_ca_file" "database.caSecret" "database_cert_file" "database.clientCertSecret" "database_key_file" "database.clientCertSecret" "queue" "queue.url" "queue_password" "queue.existingSecret" "queue_password_file" "queue.existingSecret" "queue_ca" "queue.caSecret" "queue_cert" "queue.clientCertSecret" "queue_key" "queue.clientCertSecret" "trusted_proxies" "ingress.trustedProxies" "role" "cluster.enabled" "worker_listen" "cluster" "join" "cluster" "join_token_file" "cluster.existingSecret" "join_ca" "tls" -}}
{{- $known := .Files.Get "files/settings.txt" | splitList "\n" -}}
{{- range $name, $_ := .Values.settings -}}
{{- if or (not $name) (not (has $name $known)) -}}
{{- fail (printf "settings.%s is not the name of a setting of this version, such as lease_ms; config/all.toml lists them" $name) -}}
{{- end -}}
{{- if hasKey $owned $name -}}
{{- fail (printf "settings.%s has a value of its own: set %s instead" $name (index $owned $name)) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.settings.proxy_header (not .Values.ingress.trustedProxies) -}}
{{- fail "settings.proxy_header is read from trusted proxies alone: set ingress.trustedProxies to the networks of the proxies" -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if hasPrefix "ENTITYD_" .name -}}
{{- fail (printf "extraEnv has %s: set settings.%s instead" .name (.name | trimPrefix "ENTITYD_" | lower)) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.service.loadBalancerSourceRanges (ne .Values.service.type "LoadBalancer") -}}
{{- fail (printf "service.loadBalancerSourceRanges needs service.type LoadBalancer, not %s" .Values.service.type) -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.networkPolicy.enabled (not .Values.networkPolicy.opsFrom) -}}
{{- fail "serviceMonitor.enabled: Prometheus cannot reach the pods; name its namespace in networkPolicy.opsFrom, such as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]" -}}
{{- end -}}
{{- end -}}
