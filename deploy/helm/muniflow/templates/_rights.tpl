{{/*
What each AMQP user may do, as three regular expressions: (list $ "coordinator").

RabbitMQ asks for `configure` to declare or delete, `write` to publish to an exchange (and to bind a queue), `read` to
consume from a queue (and to bind from an exchange, and to declare a queue that dead-letters). The coordinator declares
everything; a worker declares its own queues and the two exchanges that they hang on (`muniflow.model.topology.worker_topology`),
takes from its own queues only, and may publish to the exchanges. A gateway declares its own queue of notices, binds it,
and publishes batches and commands; RabbitMQ gives the right to an exchange, not to single keys of a direct one.
tests/deploy/test_rights.py tries each on a broker.
*/}}
{{- define "muniflow.rights" -}}
{{- $root := index . 0 -}}
{{- $user := index . 1 -}}
{{- if eq $user "coordinator" -}}
configure: '^muniflow($|\.)'
write: '^muniflow($|\.)'
read: '^muniflow($|\.)'
{{- else if eq $user "gateway" -}}
configure: '^muniflow\.gateway\.'
write: '^(muniflow|muniflow\.gateway\..*)$'
read: '^(muniflow\.notify|muniflow\.gateway\..*)$'
{{- else if eq $user "client" -}}
configure: '^$'
write: '^muniflow$'
read: '^$'
{{- else if eq $user "monitor" -}}
configure: '^$'
write: '^$'
read: '^$'
{{- else -}}
{{- range $name := keys $root.Values.steps | sortAlpha -}}
{{- if eq (include "muniflow.step.component" $name) $user -}}
{{- $step := include "muniflow.step.settings" (list $root $name) | fromYaml -}}
{{- $own := printf "muniflow\\.step\\.(%s)(\\.dead|\\.express)?" (join "|" $step.operations) -}}
configure: '^(muniflow|muniflow\.dead|{{ $own }})$'
write: '^(muniflow|muniflow\.dead|muniflow\.delay\.[0-9]+s|{{ $own }})$'
read: '^(muniflow|muniflow\.dead|{{ $own }})$'
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
