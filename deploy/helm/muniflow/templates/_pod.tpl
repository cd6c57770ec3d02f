{{/* Parts of pods that all services share. */}}

{{/* Security of a pod that runs as the given user: (list $ 10001). */}}
{{- define "muniflow.pod.security" -}}
{{- $root := index . 0 -}}
runAsNonRoot: true
{{- if not (kindIs "invalid" $root.Values.podSecurity.runAsUser) }}
runAsUser: {{ index . 1 }}
runAsGroup: {{ index . 1 }}
{{- end }}
{{- if not (kindIs "invalid" $root.Values.podSecurity.fsGroup) }}
fsGroup: {{ $root.Values.podSecurity.fsGroup }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "muniflow.container.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Spread over nodes and zones: (list $ "coordinator" true (list "host" "zone")), the third: count the pods of a revision by itself. */}}
{{- define "muniflow.spread" -}}
{{- $context := . -}}
{{- $keys := dict "host" "kubernetes.io/hostname" "zone" "topology.kubernetes.io/zone" -}}
{{- range $over := index . 3 }}
- maxSkew: 1
  topologyKey: {{ get $keys $over }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "muniflow.selector" $context | nindent 6 }}
  {{- if index $context 2 }}
  matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end -}}

{{/* Liveness never depends on the broker; readiness does. At a port that serves nothing else: "health". */}}
{{- define "muniflow.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: {{ . }}}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: {{ . }}}
  periodSeconds: 15
  timeoutSeconds: 5
  failureThreshold: 4
readinessProbe:
  httpGet: {path: /readyz, port: {{ . }}}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end -}}

{{/* Pod fields that every service takes from its values: (list $ values "component" "service account"). */}}
{{- define "muniflow.pod.common" -}}
{{- $root := index . 0 -}}
{{- $values := index . 1 -}}
serviceAccountName: {{ include "muniflow.part" (list $root (index . 2)) }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* How to reach the broker; who one is there is in files. */}}
{{- define "muniflow.env.broker" -}}
{{- if ne .Values.broker.kind "external" }}
- name: MUNIFLOW_AMQP_URL
  value: {{ printf "%s://%s:%s/%s" (ternary "amqps" "amqp" .Values.broker.tls.enabled) (include "muniflow.broker.host" .) (ternary "5671" "5672" .Values.broker.tls.enabled) (urlquery .Values.broker.vhost) }}
{{- end }}
{{- if and .Values.broker.tls.enabled .Values.broker.tls.caSecret }}
- {name: MUNIFLOW_AMQP_CA_FILE, value: /etc/muniflow/broker-ca/ca.crt}
{{- end }}
{{- end -}}

{{/* What owners may do, as coordinator and gateway both know it. */}}
{{- define "muniflow.env.grants" -}}
{{- with .Values.owners.sourceGrants }}
- {name: MUNIFLOW_SOURCE_GRANTS, value: {{ toJson . | quote }}}
{{- end }}
{{- end -}}

{{/* With which keys tasks are signed or verified: (list $ "signing"), or "verify" for workers. */}}
{{- define "muniflow.env.signing" -}}
{{- $root := index . 0 -}}
{{- $which := index . 1 -}}
{{- if ne $root.Values.signing.keys "none" -}}
- {name: {{ ternary "MUNIFLOW_SIGNING_KEY_FILE" "MUNIFLOW_VERIFY_KEYS_FILE" (eq $which "signing") }}, value: /etc/muniflow/{{ $which }}/{{ $which }}-keys.pem}
- {name: MUNIFLOW_UNSIGNED_TASKS, value: {{ $root.Values.signing.unsignedTasks }}}
{{- end }}
{{- end -}}

{{/* Their mount, and their volume: the Secret for the coordinator alone. */}}
{{- define "muniflow.mount.signing" -}}
{{- if ne (index . 0).Values.signing.keys "none" -}}
- {name: {{ index . 1 }}-keys, mountPath: /etc/muniflow/{{ index . 1 }}, readOnly: true}
{{- end }}
{{- end -}}

{{- define "muniflow.volume.signing" -}}
{{- $root := index . 0 -}}
{{- $name := printf "%s-keys" (index . 1) -}}
{{- if ne $root.Values.signing.keys "none" -}}
- name: {{ $name }}
  {{- if eq $name "signing-keys" }}
  secret: {secretName: {{ include "muniflow.part" (list $root $name) }}, defaultMode: 0400}
  {{- else }}
  configMap: {name: {{ include "muniflow.part" (list $root $name) }}}
  {{- end }}
{{- end }}
{{- end -}}

{{/* What batches and owners may ask for, as coordinator and gateway both know it. */}}
{{- define "muniflow.env.budgets" -}}
{{- with .Values.budgets.batch }}
- {name: MUNIFLOW_BATCH_BUDGET, value: {{ toJson . | quote }}}
{{- end }}
{{- with .Values.budgets.day }}
- {name: MUNIFLOW_DAY_BUDGET, value: {{ toJson . | quote }}}
{{- end }}
{{- with .Values.budgets.owners }}
- {name: MUNIFLOW_OWNER_BUDGETS, value: {{ toJson . | quote }}}
{{- end }}
{{- end -}}

{{/* Whom the coordinator believes what: users by their names, which are those of their Secrets. */}}
{{- define "muniflow.env.senders" -}}
{{- $root := . -}}
{{- $owners := .Values.owners -}}
{{- $external := eq .Values.broker.kind "external" -}}
{{- $operators := $owners.operatorUsers -}}
{{- if and $external (eq .Values.broker.external.keys "perService") }}
{{- if .Values.gateway.enabled }}
- {name: MUNIFLOW_GATEWAY_USER, value: {{ required "owners.gatewayUser: required with broker.external.keys perService; the name of the gateway's user" $owners.gatewayUser | quote }}}
{{- end }}
{{- if $owners.clientOperates }}
{{- $operators = append $operators $owners.clientUser }}
{{- end }}
{{- end }}
{{- with $operators }}
- {name: MUNIFLOW_OPERATOR_USERS, value: {{ join "," . | quote }}}
{{- end }}
{{- $served := dict }}
{{- range $name := keys .Values.steps | sortAlpha }}
{{- $component := include "muniflow.step.component" $name }}
{{- $user := index (default dict $owners.stepUsers) $name | default $component }}
{{- if not $external }}
{{- $variable := printf "AMQP_%s_USERNAME" ($component | upper | replace "-" "_") }}
{{- $user = printf "$(%s)" $variable }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef: {name: {{ include "muniflow.user.secret" (list $root $component) }}, key: username}
{{- end }}
{{- $_ := set $served $user (include "muniflow.step.settings" (list $root $name) | fromYaml).operations }}
{{- end }}
{{- if not (and $external (eq .Values.broker.external.keys "one")) }}
- {name: MUNIFLOW_STEP_USERS, value: {{ toJson $served | quote }}}
{{- end }}
- {name: MUNIFLOW_EARLIER_BUILD, value: {{ .Values.broker.earlierBuild | quote }}}
- {name: MUNIFLOW_UNNAMED_SENDERS, value: {{ $owners.unnamedSenders }}}
- {name: MUNIFLOW_MAX_WEIGHT, value: {{ $owners.maxWeight | quote }}}
{{- with $owners.keepDays }}
- {name: MUNIFLOW_OWNER_KEEP_DAYS, value: {{ toJson . | quote }}}
{{- end }}
{{- end -}}

{{/* How to reach the store. */}}
{{- define "muniflow.env.store" -}}
{{- $root := . -}}
{{- range $which := list "source" "work" "output" }}
- name: MUNIFLOW_{{ upper $which }}_URL
  value: {{ include "muniflow.store.url" (list $root $which) | quote }}
{{- end }}
{{- if eq .Values.store.kind "builtin" }}
- {name: AWS_ENDPOINT_URL, value: "http://{{ include "muniflow.part" (list . "store") }}.{{ .Release.Namespace }}.svc:7070"}
- {name: AWS_ALLOW_HTTP, value: "true"}
- {name: AWS_REGION, value: us-east-1}
{{- end }}
{{- include "muniflow.env.map" .Values.store.env }}
{{- end -}}

{{- define "muniflow.env.map" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{- define "muniflow.env.process" -}}
- {name: MUNIFLOW_SECRETS_DIR, value: /etc/muniflow/secrets}
- {name: MUNIFLOW_HTTP_BIND, value: "0.0.0.0:9100"}
- {name: MUNIFLOW_LOG_FORMAT, value: json}
{{- end -}}

{{/*
The files of `MUNIFLOW_SECRETS_DIR`, each named as the variable whose value it holds: (list $ "coordinator"). No secret is
in a variable: `kubectl describe`, crash reports and child processes show those.
*/}}
{{- define "muniflow.secrets" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
{{- $broker := $root.Values.broker -}}
{{- $user := eq $part "test" | ternary "client" $part -}}
{{- if eq $broker.kind "external" }}
- secret:
    name: {{ required "broker.external.existingSecret: required with broker.kind external" $broker.external.existingSecret }}
    items: [{key: {{ eq $broker.external.keys "perService" | ternary $user "url" }}, path: MUNIFLOW_AMQP_URL}]
{{- else }}
- secret:
    name: {{ include "muniflow.user.secret" (list $root $user) }}
    items: [{key: username, path: MUNIFLOW_AMQP_USERNAME}, {key: password, path: MUNIFLOW_AMQP_PASSWORD}]
{{- end }}
{{- with include "muniflow.store.secret" . }}
- secret: {name: {{ . }}}
{{- end }}
{{- if eq $part "coordinator" }}
{{- include "muniflow.secrets.coordinator" $root }}
{{- else if and (eq $part "test") $root.Values.gateway.enabled }}
- secret:
    name: {{ default (include "muniflow.part" (list $root "test-api-key")) $root.Values.test.apiKeySecret }}
    items: [{key: api-key, path: GATEWAY_API_KEY}]
    optional: {{ empty $root.Values.test.apiKeySecret }}
{{- end }}
{{- end -}}

{{/* What the coordinator has besides: its database, and the users whom it believes more than others. */}}
{{- define "muniflow.secrets.coordinator" -}}
{{- if ne .Values.database.kind "sqlite" }}
- secret:
    name: {{ required "database.postgres.existingSecret: required with database.kind postgres" .Values.database.postgres.existingSecret }}
    items: [{key: {{ .Values.database.postgres.key }}, path: MUNIFLOW_DATABASE_URL}]
{{- end }}
{{- if ne .Values.broker.kind "external" }}
{{- if .Values.gateway.enabled }}
- secret:
    name: {{ include "muniflow.user.secret" (list . "gateway") }}
    items: [{key: username, path: MUNIFLOW_GATEWAY_USER}]
{{- end }}
{{- if .Values.owners.clientOperates }}
- secret:
    name: {{ include "muniflow.user.secret" (list . "client") }}
    items: [{key: username, path: MUNIFLOW_CLIENT_USER}]
{{- end }}
{{- end }}
{{- end -}}

{{/* Mounts that every service has: (list $). */}}
{{- define "muniflow.mounts" -}}
{{- $root := index . 0 -}}
- {name: scratch, mountPath: /tmp}
- {name: secrets, mountPath: /etc/muniflow/secrets, readOnly: true}
{{- if and $root.Values.broker.tls.enabled $root.Values.broker.tls.caSecret }}
- {name: broker-ca, mountPath: /etc/muniflow/broker-ca, readOnly: true}
{{- end }}
{{- if eq $root.Values.store.kind "volume" }}
- {name: store, mountPath: /data}
{{- end }}
{{- end -}}

{{/* Their volumes: (list $ "64Mi" "gateway"). */}}
{{- define "muniflow.volumes" -}}
{{- $root := index . 0 -}}
- name: scratch
  emptyDir: {medium: Memory, sizeLimit: {{ index . 1 }}}
- name: secrets
  projected:
    defaultMode: 0400
    sources:
      {{- include "muniflow.secrets" (list $root (index . 2)) | trim | nindent 6 }}
{{- if and $root.Values.broker.tls.enabled $root.Values.broker.tls.caSecret }}
- name: broker-ca
  secret:
    secretName: {{ $root.Values.broker.tls.caSecret }}
    defaultMode: 0400
    items: [{key: ca.crt, path: ca.crt}]
{{- end }}
{{- if eq $root.Values.store.kind "volume" }}
- name: store
  persistentVolumeClaim: {claimName: {{ include "muniflow.store.claim" $root }}}
{{- end }}
{{- end -}}

{{/* Labels and annotations of a service's pods: (list $ values "component"). */}}
{{- define "muniflow.pod.metadata" -}}
{{- $root := index . 0 -}}
{{- $values := index . 1 -}}
labels:
  {{- include "muniflow.labels" (list $root (index . 2)) | nindent 2 }}
  {{- $own := deepCopy $root.Values.serviceAccount.labels }}
  {{- include "muniflow.overlay" (list $own $values.podLabels) }}
  {{- with $own }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
