{{/*
The `replicas` of a Deployment that a scaler scales: (list $ "step-blur" 0), the last: the fewest it may state. Nothing on the
first install, and where the chart is rendered without a cluster.

A release that stops stating `replicas` makes Kubernetes say 1 until the scaler looks again: 6 pods become 1 and then 6.
So what runs is stated again. Server-side apply (Helm 4) refuses to change a number that the scaler owns; it is left out
there, and stays, because who owns it has not let go.
*/}}
{{- define "muniflow.replicas.running" -}}
{{- $root := index . 0 -}}
{{- $now := lookup "apps/v1" "Deployment" $root.Release.Namespace (include "muniflow.part" .) -}}
{{- if $now -}}
{{- $applied := false -}}
{{- $scaled := false -}}
{{- range $entry := default list $now.metadata.managedFields -}}
{{- $fields := dig "fieldsV1" "f:spec" dict $entry -}}
{{- if and (eq $entry.operation "Apply") (hasKey $fields "f:template") -}}{{- $applied = true -}}{{- end -}}
{{- if and (eq (default "" $entry.subresource) "scale") (hasKey $fields "f:replicas") -}}{{- $scaled = true -}}{{- end -}}
{{- end -}}
{{- $count := int $now.spec.replicas -}}
{{- if or (lt $count (index . 2)) (not (and $applied $scaled)) -}}
replicas: {{ max (index . 2) $count }}
{{- end -}}
{{- end -}}
{{- end -}}
