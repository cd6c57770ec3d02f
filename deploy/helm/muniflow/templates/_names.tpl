{{/* Every resource name, label and URL of the chart. No template spells a name by itself. */}}

{{- define "muniflow.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A part of the system: (list $ "coordinator"). Parts are coordinator, gateway, broker, store, client, test. */}}
{{- define "muniflow.part" -}}
{{- printf "%s-%s" (include "muniflow.fullname" (index . 0)) (index . 1) -}}
{{- end -}}

{{/* The component of a stage: "step-resize". Operations may have a "_", names of resources may not. */}}
{{- define "muniflow.step.component" -}}
{{- printf "step-%s" (replace "_" "-" .) -}}
{{- end -}}

{{/* The queue of an operation; `muniflow.model.topology.step_queue` says the same, and a test compares them. */}}
{{- define "muniflow.step.queue" -}}
{{- printf "muniflow.step.%s" . -}}
{{- end -}}

{{/* Both queues of an operation, as a JSON list; `muniflow.model.topology.work_queues` says the same, and a test compares them. */}}
{{- define "muniflow.step.queues" -}}
{{- $queue := include "muniflow.step.queue" . -}}
{{- list $queue (printf "muniflow.express.%s" .) | toJson -}}
{{- end -}}

{{/*
Put settings in place of others: (list $others $settings); changes the first, writes nothing. Whatever is said holds, also
0, false, "" and []. Maps are joined key by key, except those of placement: half of one selector and half of another
select no node. Not `merge`, which keeps the first, nor `mergeOverwrite`, to which {} says nothing.
*/}}
{{- define "muniflow.overlay" -}}
{{- $under := index . 0 -}}
{{- range $key, $value := index . 1 -}}
{{- if and (kindIs "map" $value) (kindIs "map" (index $under $key)) (not (has $key (list "nodeSelector" "affinity"))) -}}
{{- include "muniflow.overlay" (list (index $under $key) $value) -}}
{{- else -}}
{{- $_ := set $under $key (deepCopy $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A stage's settings, complete, as YAML: (list $ "resize"). */}}
{{- define "muniflow.step.settings" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $own := default dict (index $root.Values.steps $name) -}}
{{- $step := deepCopy $root.Values.stepDefaults -}}
{{- include "muniflow.overlay" (list $step $own) -}}
{{- if $step.gpu.enabled -}}{{- include "muniflow.step.onGpu" (list $step $own) -}}{{- end -}}
{{- if not $step.operations -}}{{- $_ := set $step "operations" (list $name) -}}{{- end -}}
{{- if not $step.image.repository -}}{{- $_ := set $step.image "repository" (printf "muniflow-%s" (replace "_" "-" $name)) -}}{{- end -}}
{{- toYaml $step -}}
{{- end -}}

{{/*
Place a stage on GPU nodes: (list $settings $own); changes the first, writes nothing. The defaults' placement is that of
CPU nodes, so none of it holds: what counts is `gpu`, and what the stage's own entry says besides. Of two labels with one
key, the stage's own is taken.
*/}}
{{- define "muniflow.step.onGpu" -}}
{{- $step := index . 0 -}}
{{- $own := index . 1 -}}
{{- $selector := deepCopy $step.gpu.nodeSelector -}}
{{- include "muniflow.overlay" (list $selector (default dict $own.nodeSelector)) -}}
{{- include "muniflow.overlay" (list $selector (default dict (default dict $own.gpu).nodeSelector)) -}}
{{- $_ := set $step "nodeSelector" $selector -}}
{{- $_ := set $step "tolerations" (concat (default list $own.tolerations) $step.gpu.tolerations) -}}
{{- $_ := set $step "affinity" (default dict $own.affinity) -}}
{{- end -}}

{{/* Labels that select a part: (list $ "coordinator"). They never change in the life of a release. */}}
{{- define "muniflow.selector" -}}
app.kubernetes.io/name: {{ default (index . 0).Chart.Name (index . 0).Values.nameOverride }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* All labels of a part. */}}
{{- define "muniflow.labels" -}}
{{ include "muniflow.selector" . }}
app.kubernetes.io/part-of: muniflow
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Name, namespace and labels: (list $ "coordinator"), or with a suffix of the name: (list $ "coordinator" "data"). */}}
{{- define "muniflow.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "muniflow.part" . }}{{ if gt (len .) 2 }}-{{ index . 2 }}{{ end }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "muniflow.labels" . | nindent 2 }}
{{- end -}}

{{/*
An image: (list $ .Values.coordinator.image "-gpu"). A digest stands behind the tag: its own, or that of `image.digests` for
just this name, so that another tag or registry is never pulled by the digest of a release.
*/}}
{{- define "muniflow.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $suffix := index . 2 -}}
{{- $tag := coalesce $image.tag $root.Values.image.tag $root.Chart.AppVersion -}}
{{- if and $suffix (not (contains "@" $tag)) -}}{{- $tag = printf "%s%s" $tag $suffix -}}{{- end -}}
{{- $path := $image.repository -}}
{{- if $root.Values.image.registry -}}{{- $path = printf "%s/%s" (trimSuffix "/" $root.Values.image.registry) $path -}}{{- end -}}
{{- $name := printf "%s:%s" $path $tag -}}
{{- $digest := coalesce $image.digest (get (default dict $root.Values.image.digests) $name) "" -}}
{{- if and $digest (not (contains "@" $tag)) -}}{{- $name = printf "%s@%s" $name $digest -}}{{- end -}}
{{- $name -}}
{{- end -}}

{{/* AMQP users, one per service: a YAML list. */}}
{{- define "muniflow.users" -}}
- coordinator
- client
- monitor
{{- if .Values.gateway.enabled }}
- gateway
{{- end }}
{{- range $name := keys .Values.steps | sortAlpha }}
- {{ include "muniflow.step.component" $name }}
{{- end }}
{{- end -}}

{{/* The Secret with the credentials of an AMQP user, keys `username` and `password`: (list $ "coordinator"). */}}
{{- define "muniflow.user.secret" -}}
{{- $root := index . 0 -}}
{{- if eq $root.Values.broker.kind "clusterOperator" -}}
{{- printf "%s-amqp-%s-user-credentials" (include "muniflow.fullname" $root) (index . 1) -}}
{{- else -}}
{{- printf "%s-amqp-%s" (include "muniflow.fullname" $root) (index . 1) -}}
{{- end -}}
{{- end -}}

{{/* Labels of the broker's pods: the operator labels its pods by the name of the cluster. */}}
{{- define "muniflow.broker.selector" -}}
{{- if eq .Values.broker.kind "clusterOperator" -}}
app.kubernetes.io/name: {{ include "muniflow.part" (list . "broker") }}
{{- else -}}
{{- include "muniflow.selector" (list . "broker") -}}
{{- end -}}
{{- end -}}

{{- define "muniflow.broker.host" -}}
{{- printf "%s.%s.svc" (include "muniflow.part" (list . "broker")) .Release.Namespace -}}
{{- end -}}

{{- define "muniflow.public.url" -}}
{{- if .publicUrl -}}
{{- .publicUrl -}}
{{- else if and .ingress.enabled .ingress.tlsSecretName -}}
{{- printf "https://%s" .ingress.host -}}
{{- end -}}
{{- end -}}

{{- define "muniflow.coordinator.url" -}}
{{- printf "http://%s.%s.svc:9100" (include "muniflow.part" (list . "coordinator")) .Release.Namespace -}}
{{- end -}}

{{/* The Secret of hashed API keys; one that was named must be there, the other may come later. */}}
{{- define "muniflow.apikeys.secret" -}}
{{- default (include "muniflow.part" (list . "api-keys")) .Values.gateway.apiKeys.existingSecret -}}
{{- end -}}

{{/* The claim of `store.kind: volume`. */}}
{{- define "muniflow.store.claim" -}}
{{- default (include "muniflow.part" (list . "store")) .Values.store.volume.existingClaim -}}
{{- end -}}

{{/* Parts that touch the store, each with credentials of its own: a YAML list. */}}
{{- define "muniflow.store.users" -}}
- coordinator
{{- if .Values.gateway.enabled }}
- gateway
{{- end }}
{{- if .Values.test.enabled }}
- test
{{- end }}
{{- range $name := keys .Values.steps | sortAlpha }}
- {{ include "muniflow.step.component" $name }}
{{- end }}
{{- end -}}

{{/* What a map says of a part: (list $map "step-blur"), where "step" holds for all stages. */}}
{{- define "muniflow.store.of" -}}
{{- $map := default dict (index . 0) -}}
{{- $part := index . 1 -}}
{{- get $map $part | default (hasPrefix "step-" $part | ternary (get $map "step") "") -}}
{{- end -}}

{{/* The Secret with the store credentials of a part, or nothing where workload identity is used: (list $ "gateway"). */}}
{{- define "muniflow.store.secret" -}}
{{- $store := (index . 0).Values.store -}}
{{- if ne $store.kind "builtin" -}}
{{- default $store.existingSecret (include "muniflow.store.of" (list $store.secrets (index . 1))) -}}
{{- else if eq $store.builtin.credentials "existing" -}}
{{- include "muniflow.part" (list (index . 0) "store") -}}
{{- else -}}
{{- printf "%s-%s" (include "muniflow.part" (list (index . 0) "store")) (index . 1) -}}
{{- end -}}
{{- end -}}

{{/* "true" where some part has no Secret, and so needs the server that gives credentials. */}}
{{- define "muniflow.store.identity" -}}
{{- $root := . -}}
{{- $without := false -}}
{{- range $part := include "muniflow.store.users" . | fromYamlArray -}}
{{- if not (include "muniflow.store.secret" (list $root $part)) -}}{{- $without = true -}}{{- end -}}
{{- end -}}
{{- if $without -}}true{{- end -}}
{{- end -}}

{{/* Where a root of the store is: (list $ "source"). */}}
{{- define "muniflow.store.url" -}}
{{- $root := index . 0 -}}
{{- $which := index . 1 -}}
{{- $given := index $root.Values.store.urls $which -}}
{{- if $given -}}{{- $given -}}
{{- else if eq $root.Values.store.kind "builtin" -}}{{- printf "s3://%s" $which -}}
{{- else if eq $root.Values.store.kind "volume" -}}{{- printf "file:///data/%s" $which -}}
{{- else -}}{{- fail (printf "store.urls.%s: required with store.kind %q" $which $root.Values.store.kind) -}}
{{- end -}}
{{- end -}}

{{/* The stages for the coordinator, as JSON: what `muniflow.forecast.stage` reads. */}}
{{- define "muniflow.stages" -}}
{{- $root := . -}}
{{- $stages := list -}}
{{- range $name := keys .Values.steps | sortAlpha -}}
{{- $step := include "muniflow.step.settings" (list $root $name) | fromYaml -}}
{{- $least := int $step.scaling.min -}}
{{- if eq $root.Values.autoscaling.mode "hpa" -}}{{- $least = max 1 $least -}}{{- end -}}
{{- $stages = append $stages (dict
    "name" $name
    "operations" $step.operations
    "children" (int $step.children)
    "device" (ternary "opencl" "cpu" $step.gpu.enabled)
    "min" $least
    "max" (int $step.scaling.max)
    "start_s" (int $step.scaling.startSeconds)
    "horizon_s" (int $step.scaling.horizonSeconds)
    "pool" (default (ternary "gpu" "cpu" $step.gpu.enabled) $step.scaling.pool)
) -}}
{{- end -}}
{{- toJson $stages -}}
{{- end -}}
