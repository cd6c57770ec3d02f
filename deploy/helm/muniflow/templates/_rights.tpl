{{/*
What each AMQP user may do, as three regular expressions: (list $ "coordinator").

RabbitMQ asks for `configure` to declare or delete, `write` to publish to an exchange (and to bind a queue), `read` to
consume from a queue (and to bind from an exchange, and to declare a queue that dead-letters). The coordinator declares
and binds everything. A worker declares and binds nothing, takes from its own queues only, and publishes tasks, retries and
events. A gateway declares its own queue of notices, binds it, and publishes batches and commands; RabbitMQ gives the right
to an exchange, not to single keys of a direct one, so there is one exchange for each direction. With `broker.earlierBuild`
a worker may also do what those of the build before do, and what one does under a coordinator of that build.
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
{{- $operations := join "|" $step.operations -}}
{{- $takes := printf "muniflow\\.(step|express)\\.(%s)" $operations -}}
{{- $publishes := "muniflow\\.(tasks|events|retry\\.[0-9]+s)" -}}
{{- if $root.Values.broker.earlierBuild -}}
{{- $before := printf "muniflow|muniflow\\.dead|muniflow\\.step\\.(%s)(\\.dead|\\.express)?" $operations -}}
configure: '^({{ $before }})$'
write: '^({{ $publishes }}|muniflow\.delay\.[0-9]+s|{{ $before }})$'
read: '^({{ $takes }}|{{ $before }})$'
{{- else -}}
configure: '^$'
write: '^{{ $publishes }}$'
read: '^{{ $takes }}$'
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
The limits of each dead-letter queue, as a policy of the broker (`muniflow.model.topology` has the same). What is full
refuses, and loses nothing: docs/adr/0052-limits-of-dead-letters.md.
*/}}
{{- define "muniflow.deadLetters" -}}
pattern: '^muniflow\..+\.dead$'
definition:
  max-length: 100000
  max-length-bytes: 268435456
  overflow: reject-publish
{{- end -}}
