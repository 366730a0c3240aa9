"""Alarms and dashboard of a pipeline in AWS Lambda: what alerts and boards are for workers, made of the metrics there.

`python -m deploy.observability.generate` writes them into deploy/lambda/template.yaml. The product's metrics are told
by telemetry/emf.py: with the dimension `pipeline` alone they are of the whole pipeline, and that is all that alarms can
add up. What a label tells apart is then not known, so some alarms are a little coarser than their twins.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from consumer.telemetry.emf import NAMESPACE

LAMBDA = "AWS/Lambda"
OF_THE_LOG = f"{NAMESPACE}/${{AWS::StackName}}"
"""The namespace of metrics that are made of lines of this function's log."""
REJECTED = "sink_rejected_rows"
_BEGIN = "  # From here on made by `python -m deploy.observability.generate` of deploy/observability/cloudwatch.py."
_END = "\nOutputs:\n"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric with the statistic that is looked at."""

    name: str
    statistic: Literal["Sum", "Maximum"] = "Sum"
    namespace: str = NAMESPACE

    @property
    def dimension(self) -> tuple[str, str] | None:
        """Return name and value of its one dimension; what is made of the log has none."""
        return {
            NAMESPACE: ("pipeline", "${PipelineName}"),
            LAMBDA: ("FunctionName", "${Function}"),
        }.get(self.namespace)


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm: it goes off when the expression is above the threshold in so many periods, one after the other.

    `twin` is the alert of workers whose page says what to do. `silence` says what a period without data is.
    """

    name: str
    twin: str
    description: str
    expression: str
    metrics: Mapping[str, Metric]
    threshold: float
    periods: int
    seconds: int = 60
    silence: Literal["notBreaching", "breaching"] = "notBreaching"


def _ours(name: str, statistic: Literal["Sum", "Maximum"] = "Sum") -> Metric:
    return Metric(f"streamgauge_{name}", statistic)


AGE = Metric("IteratorAge", "Maximum", LAMBDA)
RECEIVED = _ours("records_received_total")

ALARMS: tuple[Alarm, ...] = (
    Alarm(
        "IteratorAgeCriticalAlarm",
        "StreamgaugeIteratorAgeCritical",
        "The function is more than five minutes behind the stream.",
        "age / 1000",
        {"age": AGE},
        300,
        2,
    ),
    Alarm(
        "LossAheadAlarm",
        "StreamgaugeLossAhead",
        "The function is behind by more than half of the stream's retention - what is older is deleted unread.",
        "100 * age / (${RetentionHours} * 3600000)",
        {"age": AGE},
        50,
        5,
    ),
    Alarm(
        "FailedRecordsAlarm",
        "StreamgaugeRecordsFailing",
        "More than 1 % of the records are dead letters.",
        "100 * failed / received",
        {"failed": _ours("records_dead_lettered_total"), "received": RECEIVED},
        1,
        1,
        300,
    ),
    Alarm(
        "LateEventsAlarm",
        "StreamgaugeLateEvents",
        "Late events, of all windows, are more than 5 % of the records.",
        "100 * late / received",
        {"late": _ours("records_late_total"), "received": RECEIVED},
        5,
        2,
        300,
    ),
    Alarm(
        "WatermarkStalledAlarm",
        "StreamgaugeWatermarkStalled",
        "Records arrive and no shard's watermark moves - windows stay open.",
        "IF(received > 0 AND DIFF(watermark) <= 0, 1, 0)",
        {"received": RECEIVED, "watermark": _ours("watermark_timestamp_seconds", "Maximum")},
        0,
        2,
        300,
    ),
    Alarm(
        "StateRetriesAlarm",
        "StreamgaugeThrottled",
        "For five minutes calls to the state store have had to be made again.",
        "retries",
        {"retries": _ours("state_retries_total")},
        0,
        5,
    ),
    Alarm(
        "StateNearLimitAlarm",
        "StreamgaugeStateNearLimit",
        "One window of a shard has more than 80 % of the open windows that limits.groups allows the shard.",
        "100 * open / room",
        {"open": _ours("windows_open", "Maximum"), "room": _ours("groups_limit", "Maximum")},
        80,
        5,
    ),
    Alarm(
        "SinkFailingAlarm",
        "StreamgaugeSinkFailing",
        "Nearly every attempt to hand over rows leaves some to send again.",
        "100 * retries / attempts",
        {"retries": _ours("sink_retries_total"), "attempts": _ours("sink_batches_total")},
        90,
        3,
    ),
    Alarm(
        "RowsRejectedAlarm",
        "StreamgaugeRowsRejected",
        "Rows are lost - a sink will never take them.",
        "rejected",
        {"rejected": Metric(REJECTED, "Sum", OF_THE_LOG)},
        0,
        1,
        300,
    ),
    Alarm(
        "GapPassedAlarm",
        "StreamgaugeGapPassed",
        "A shard went on behind records that were never counted.",
        "gaps",
        {"gaps": _ours("gaps_total")},
        0,
        1,
        300,
    ),
    Alarm(
        "GlobalWindowsIncompleteAlarm",
        "StreamgaugeGlobalWindowsIncomplete",
        "Global windows have no rows - a shard held them back for longer than their parts are kept.",
        "incomplete",
        {"incomplete": _ours("global_windows_incomplete_total")},
        0,
        1,
        300,
    ),
    Alarm(
        "SilentAlarm",
        "StreamgaugeMetricsAbsent",
        "The function has not been invoked for five minutes, not even by its tick.",
        "IF(FILL(invocations, 0) == 0, 1, 0)",
        {"invocations": Metric("Invocations", "Sum", LAMBDA)},
        0,
        5,
        60,
        "breaching",
    ),
)

WRITTEN_BY_HAND = ("IteratorAgeAlarm", "ThrottlesAlarm", "ErrorsAlarm", "DeadLettersAlarm")
"""Alarms that stand in the template before ours."""


@dataclass(frozen=True, slots=True)
class Widget:
    """A graph of the dashboard. With a `ratio` it is that many times the first metric divided by the second."""

    title: str
    metrics: Mapping[str, Metric]
    ratio: int = 0
    by: tuple[str, ...] = ()
    """Dimensions by which one line each is drawn, of the first metric."""


WIDGETS: tuple[Widget, ...] = (
    Widget(
        "Records that cannot be used, %",
        {"dead letters": _ours("records_dead_lettered_total"), "records": RECEIVED},
        ratio=100,
    ),
    Widget("Late events, %", {"late": _ours("records_late_total"), "records": RECEIVED}, ratio=100),
    Widget(
        "Errors and throttles",
        {"errors": Metric("Errors", "Sum", LAMBDA), "throttles": Metric("Throttles", "Sum", LAMBDA)},
    ),
    Widget("Behind the stream, ms", {"iterator age": AGE}),
    Widget("Behind in event time, s", {"lag": _ours("event_time_lag_seconds", "Maximum")}),
    Widget(
        "From ready to delivered, s on average",
        {"delay": _ours("emit_delay_seconds_sum"), "commits": _ours("emit_delay_seconds_count")},
        ratio=1,
    ),
    Widget(
        "Rows lost, gaps, global windows without rows",
        {
            "rows lost": Metric(REJECTED, "Sum", OF_THE_LOG),
            "gaps": _ours("gaps_total"),
            "global windows": _ours("global_windows_incomplete_total"),
        },
    ),
    Widget("Batches handed back", {"batches": _ours("batches_returned_total")}),
    Widget("Commits", {"commits": _ours("commits_total")}, by=("result",)),
    Widget("Records in", {"records": RECEIVED}),
    Widget("Results by window", {"results": _ours("results_emitted_total")}, by=("window",)),
    Widget(
        "Parts of global windows",
        {"stored": _ours("contributions_written_total"), "read": _ours("contributions_read_total")},
    ),
    Widget("Dead letters by reason", {"dead letters": _ours("records_dead_lettered_total")}, by=("reason",)),
    Widget("Rows by sink", {"rows": _ours("sink_rows_total")}, by=("result", "sink")),
    Widget("Attempts that left rows", {"attempts": _ours("sink_retries_total")}, by=("reason", "sink")),
    Widget("State calls made again", {"calls": _ours("state_retries_total")}, by=("reason", "step")),
    Widget("Size of a shard's state, bytes", {"largest": _ours("state_bytes", "Maximum")}),
    Widget("Open windows of a shard and window", {"most": _ours("windows_open", "Maximum")}),
    Widget(
        "Invocations and how long they take, ms",
        {"invocations": Metric("Invocations", "Sum", LAMBDA), "longest": Metric("Duration", "Maximum", LAMBDA)},
    ),
)


def with_ours(template: str) -> str:
    """Return the template with what is made here, in the place of what stood there."""
    before, _, rest = template.partition(_BEGIN)
    after = rest or before
    kept = before if rest else before[: before.index(_END)].rstrip("\n") + "\n\n"
    return f"{kept}{_BEGIN}\n{resources()}{_END.lstrip()}{after[after.index(_END) + len(_END) :]}"


def resources() -> str:
    """Return the resources as YAML."""
    blocks = [_filter(), *map(_alarm, ALARMS), _dashboard()]
    return "".join("".join(f"{line}\n" for line in block) + "\n" for block in blocks)


def _filter() -> Iterator[str]:
    yield "  RowsRejectedFilter:"
    yield "    Type: AWS::Logs::MetricFilter"
    yield "    Properties:"
    yield "      LogGroupName: !Ref LogGroup"
    yield "      FilterPattern: '{ $.event = \"sink_rejected\" }'"
    yield "      MetricTransformations:"
    yield f"        - {{MetricNamespace: !Sub '{OF_THE_LOG}', MetricName: {REJECTED}, MetricValue: $.rows}}"


def _alarm(alarm: Alarm) -> Iterator[str]:
    yield f"  {alarm.name}:"
    yield "    Type: AWS::CloudWatch::Alarm"
    yield "    Properties:"
    yield f"      AlarmDescription: {alarm.description} See {alarm.twin} in docs/runbooks."
    yield "      Metrics:"
    yield f"        - {{Id: value, ReturnData: true, Expression: {_text(alarm.expression)}}}"
    for name, metric in alarm.metrics.items():
        yield f"        - Id: {name}"
        yield "          ReturnData: false"
        yield "          MetricStat:"
        yield f"            Metric: {_metric(metric)}"
        yield f"            Period: {alarm.seconds}"
        yield f"            Stat: {metric.statistic}"
    yield f"      EvaluationPeriods: {alarm.periods}"
    yield f"      Threshold: {alarm.threshold:g}"
    yield "      ComparisonOperator: GreaterThanThreshold"
    yield f"      TreatMissingData: {alarm.silence}"
    if alarm.silence == "breaching":  # a function that is not fed, for workers have its pipeline, is silent for good
        yield "      ActionsEnabled: !Ref MappingEnabled"
    yield "      AlarmActions: !If [HasAlarmTopic, [!Ref AlarmTopicArn], !Ref AWS::NoValue]"


def _text(text: str) -> str:
    return f'!Sub "{text}"' if "${" in text else f'"{text}"'


def _metric(metric: Metric) -> str:
    namespace = _text(metric.namespace) if "${" in metric.namespace else metric.namespace
    named = f"Namespace: {namespace}, MetricName: {metric.name}"
    if metric.dimension is None:
        return f"{{{named}}}"
    name, value = metric.dimension
    return f"{{{named}, Dimensions: [{{Name: {name}, Value: !Ref {value.strip('${}')}}}]}}"


def _dashboard() -> Iterator[str]:
    yield "  Dashboard:"
    yield "    Type: AWS::CloudWatch::Dashboard"
    yield "    Properties:"
    yield "      DashboardBody: !Sub |"
    yield '        {"widgets": ['
    widgets = [_alarms_widget(), *(_widget(widget, number) for number, widget in enumerate(WIDGETS))]
    for number, widget in enumerate(widgets, 1):
        yield f"        {json.dumps(widget)}{',' if number < len(widgets) else ''}"
    yield "        ]}"


def _alarms_widget() -> Any:
    names = (*WRITTEN_BY_HAND, *(alarm.name for alarm in ALARMS))
    # By Ref, which moto can resolve; it knows no attribute of an alarm.
    arn = "arn:${AWS::Partition}:cloudwatch:${AWS::Region}:${AWS::AccountId}:alarm:"
    properties = {"title": "Alarms", "alarms": [f"{arn}${{{name}}}" for name in names]}
    return {"type": "alarm", "x": 0, "y": 0, "width": 24, "height": 3, "properties": properties}


def _widget(widget: Widget, number: int) -> Any:
    properties = {"title": widget.title, "region": "${AWS::Region}", "period": 60, "metrics": [*_lines(widget)]}
    place = {"x": number % 3 * 8, "y": 3 + number // 3 * 6, "width": 8, "height": 6}
    return {"type": "metric", **place, "properties": properties}


def _lines(widget: Widget) -> Iterator[Any]:
    if widget.by:
        (metric,) = widget.metrics.values()
        dimensions = ",".join(sorted(("pipeline", "stream", *widget.by)))
        search = f'{{{metric.namespace},{dimensions}}} MetricName="{metric.name}" pipeline="${{PipelineName}}"'
        yield [{"expression": f"SEARCH('{search}', '{metric.statistic}', 60)", "id": "all"}]
        return
    ids = [f"m{number}" for number in range(len(widget.metrics))]
    if widget.ratio:
        yield [{"expression": f"{widget.ratio} * {ids[0]} / {ids[1]}", "label": widget.title, "id": "ratio"}]
    for name, (label, metric) in zip(ids, widget.metrics.items(), strict=True):
        more = {"id": name, "label": label, "stat": metric.statistic, "visible": not widget.ratio}
        yield [metric.namespace, metric.name, *(metric.dimension or ()), more]
