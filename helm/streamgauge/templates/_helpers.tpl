{{- define "streamgauge.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 52 characters: the pods of a StatefulSet have its name and a hash in a label of 63. */}}
{{- define "streamgauge.fullname" -}}
{{- $name := include "streamgauge.name" . -}}
{{- $both := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- default $both .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* What selects all that belongs to the release; the workers have a component besides. */}}
{{- define "streamgauge.releaseLabels" -}}
app.kubernetes.io/name: {{ include "streamgauge.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "streamgauge.workerLabels" -}}
{{ include "streamgauge.releaseLabels" . }}
app.kubernetes.io/component: worker
{{- end -}}

{{- define "streamgauge.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "streamgauge.releaseLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "streamgauge.serviceAccountName" -}}
{{- $made := .Values.serviceAccount.create | ternary (include "streamgauge.fullname" .) "default" -}}
{{- default $made .Values.serviceAccount.name -}}
{{- end -}}

{{- define "streamgauge.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}
{{- end -}}
{{- end -}}

{{- define "streamgauge.pipelineConfigMap" -}}
{{- default (printf "%s-pipeline" (include "streamgauge.fullname" .)) .Values.existingConfigMap.name -}}
{{- end -}}

{{- define "streamgauge.pipelineKey" -}}
{{- empty .Values.existingConfigMap.name | ternary "pipeline.yaml" .Values.existingConfigMap.key -}}
{{- end -}}

{{/* A whole number of the pipeline file, which may be written as text; fails at what only the worker can read. */}}
{{- define "streamgauge.number" -}}
{{- $text := kindIs "string" .value | ternary .value (toString (.value | int64)) -}}
{{- if not (regexMatch "^[0-9]{1,9}$" $text) -}}
{{- fail (printf "%s of the pipeline file is %q, and the chart must know it: write a number" .name (toString .value)) -}}
{{- end -}}
{{- $text -}}
{{- end -}}

{{/* The pipeline file as a map; only the keys read below are looked at, all others are the worker's business. */}}
{{- define "streamgauge.pipeline" -}}
{{- if and .Values.pipeline .Values.existingConfigMap.name -}}
{{- fail "pipeline and existingConfigMap.name are both set: leave one of them out" -}}
{{- end -}}
{{- if not (or .Values.pipeline .Values.existingConfigMap.name) -}}
{{- fail "there is no pipeline: --set-file pipeline=FILE, or --set existingConfigMap.name=NAME" -}}
{{- end -}}
{{- if not (kindIs "string" .Values.pipeline) -}}
{{- fail "pipeline must be text: --set-file pipeline=FILE, or `pipeline: |` and the file behind it. Helm sorts the keys of a map, and `let` and `select` go by their order" -}}
{{- end -}}
{{- if and .Values.pipeline (not (contains ":" .Values.pipeline)) -}}
{{- fail (printf "pipeline is %q, which is no pipeline file. `--set-file pipeline=FILE` takes what the file holds, `--set` only its name" (trunc 80 .Values.pipeline)) -}}
{{- end -}}
{{- $pipeline := fromYaml .Values.pipeline -}}
{{- if hasKey $pipeline "Error" -}}
{{- fail (printf "pipeline is no YAML: %s; `streamgauge check FILE` says more" $pipeline.Error) -}}
{{- end -}}
{{- toYaml $pipeline -}}
{{- end -}}

{{/* What the chart must know of the pipeline file, checked: port, graceMillis, onStop, stream (may be empty). */}}
{{- define "streamgauge.facts" -}}
{{- $pipeline := include "streamgauge.pipeline" . | fromYaml -}}
{{- $worker := default dict $pipeline.worker -}}
{{- $kcl := default dict $worker.kcl -}}
{{- $port := hasKey $worker "metrics_port" | ternary $worker.metrics_port 9102 -}}
{{- $grace := hasKey $kcl "shutdownGraceMillis" | ternary $kcl.shutdownGraceMillis 45000 -}}
{{- with .Values.existingConfigMap -}}
{{- if .name -}}
{{- $port = .metricsPort -}}
{{- $grace = .shutdownGraceMillis -}}
{{- end -}}
{{- end -}}
{{- $port = include "streamgauge.number" (dict "name" "worker.metrics_port" "value" $port) -}}
{{- $grace = include "streamgauge.number" (dict "name" "worker.kcl.shutdownGraceMillis" "value" $grace) -}}
{{- if or (lt (int64 $port) 1) (gt (int64 $port) 65535) -}}
{{- fail (printf "worker.metrics_port of the pipeline file is %s: probes and Prometheus need a port of 1 to 65535" $port) -}}
{{- end -}}
{{- $needed := add 15 (ceil (divf $grace 1000) | int64) -}}
{{- if lt (.Values.terminationGracePeriodSeconds | int64) $needed -}}
{{- fail (printf "terminationGracePeriodSeconds is %d, and a worker may take %d s to stop (shutdownGraceMillis, %s, and 15 s more): set it to %d at least, or set worker.kcl.shutdownGraceMillis of the pipeline file to less" (.Values.terminationGracePeriodSeconds | int64) $needed $grace $needed) -}}
{{- end -}}
{{- if and $worker.identifier (not (contains "${POD_NAME" (toString $worker.identifier))) -}}
{{- fail "worker.identifier of the pipeline file would be the same in all pods, which would fence each other: leave it out, and the pod's name is taken" -}}
{{- end -}}
port: {{ $port }}
graceMillis: {{ $grace }}
onStop: {{ default "keep" $worker.on_stop }}
stream: {{ dig "source" "stream" "" $pipeline | toString | quote }}
{{- end -}}

{{/* What the worker and the test of the release have in common. */}}
{{- define "streamgauge.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "streamgauge.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "streamgauge.env" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- with .Values.aws.region }}
- name: AWS_REGION
  value: {{ . | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "streamgauge.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ .Values.tmp.sizeLimit }}
- name: pipeline
  configMap:
    name: {{ include "streamgauge.pipelineConfigMap" . | quote }}
    items:
      - key: {{ include "streamgauge.pipelineKey" . | quote }}
        path: pipeline.yaml
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "streamgauge.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
- name: pipeline
  mountPath: /etc/streamgauge
  readOnly: true
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}
