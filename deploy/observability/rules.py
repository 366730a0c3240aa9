"""Makes the files of the alert rules: plain ones for any Prometheus, and the chart's template of a PrometheusRule."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

from deploy.observability.alerts import ALERTS, RUNBOOKS, THRESHOLDS, Alert, with_defaults
from deploy.observability.scope import scoped

_MADE = "Made by `python -m deploy.observability.generate` of deploy/observability/alerts.py: change it there."
_OF_THE_RELEASE = {
    "namespace": '="{{ .Release.Namespace }}"',
    "pod": '=~"{{ include "streamgauge.fullname" . }}-[0-9]+"',
}
"""ServiceMonitor and PodMonitor both give these labels."""


def plain() -> str:
    """Return rules with the default thresholds, for every worker that a Prometheus sees."""
    return "\n".join(
        [
            f"# {_MADE}",
            "# Every alert is told of in docs/runbooks; the chart has the same ones, with thresholds as values.",
            "groups:",
            "  - name: streamgauge",
            "    rules:",
            *(line for alert in ALERTS for line in _indented(6, _rule(alert))),
            "",
        ]
    )


def _rule(alert: Alert) -> Iterator[str]:
    yield f"- alert: {alert.name}"
    yield "  expr: |-"
    yield from _indented(4, with_defaults(alert.expression).splitlines())
    yield from _for(alert)
    yield "  labels:"
    yield f"    severity: {alert.severity}"
    yield "  annotations:"
    yield from _indented(4, _annotations(alert, f"{RUNBOOKS}/{alert.name}.md", json.dumps))


def chart() -> str:
    """Return the template of the chart."""
    return "\n".join(
        [
            f"{{{{/* {_MADE} */}}}}",
            "{{- if .Values.alerts.enabled }}",
            "{{- $thresholds := .Values.alerts.thresholds }}",
            "{{- $disabled := .Values.alerts.disabled }}",
            '{{- $runbooks := trimSuffix "/" .Values.alerts.runbookUrl }}',
            "apiVersion: monitoring.coreos.com/v1",
            "kind: PrometheusRule",
            "metadata:",
            '  name: {{ include "streamgauge.fullname" . | quote }}',
            "  labels:",
            '    {{- include "streamgauge.labels" . | nindent 4 }}',
            "    {{- with .Values.alerts.labels }}",
            "    {{- toYaml . | nindent 4 }}",
            "    {{- end }}",
            "spec:",
            "  groups:",
            "    - name: streamgauge",
            "      rules:",
            *(line for alert in ALERTS for line in _template(alert)),
            "{{- end }}",
            "",
        ]
    )


def _template(alert: Alert) -> Iterator[str]:
    expression = scoped(alert.expression, _OF_THE_RELEASE)
    for name in THRESHOLDS:
        expression = expression.replace(f"<{name}>", f"{{{{ $thresholds.{name} }}}}")
    yield f'        {{{{- if not (has "{alert.name}" $disabled) }}}}'
    yield f"        - alert: {alert.name}"
    yield "          expr: |-"
    yield from _indented(12, expression.splitlines())
    yield from _indented(8, _for(alert))
    yield "          labels:"
    yield f"            severity: {alert.severity}"
    yield "            {{- with .Values.alerts.alertLabels }}"
    yield "            {{- toYaml . | nindent 12 }}"
    yield "            {{- end }}"
    yield "          annotations:"
    link = f"{{{{ $runbooks }}}}/{alert.name}.md"
    yield from _indented(12, _annotations(alert, link, lambda text: json.dumps(_escaped(text))))
    yield "        {{- end }}"


def _escaped(text: str) -> str:
    """Return a template of Prometheus as one of Helm that gives it."""
    return re.sub(r"\{\{.*?\}\}", lambda found: "{{ `" + found[0] + "` }}", text)


def _for(alert: Alert) -> Iterator[str]:
    if alert.fires_after != "0s":
        yield f"  for: {alert.fires_after}"


def _annotations(alert: Alert, link: str, quoted: Callable[[str], str]) -> Iterator[str]:
    yield f"summary: {quoted(alert.summary)}"
    yield f"description: {quoted(alert.description)}"
    yield f"runbook_url: {json.dumps(link)}"


def _indented(by: int, lines: Iterator[str] | list[str]) -> Iterator[str]:
    return (" " * by + line for line in lines)
