"""The real worker under load and in some trouble, scraped by a real Prometheus, of which every query is asked."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from consumer.emulator.faults import Fault
from consumer.emulator.server import Emulator
from consumer.entrypoints.demo.processes import Child, wait_until
from consumer.runtime import clock
from consumer.telemetry.metrics import DEFINITIONS, PREFIX
from deploy.observability.alerts import ALERTS, with_defaults
from deploy.observability.boards import BOARDS
from deploy.observability.generate import PLAIN_RULES
from tests.end_to_end.rig import Rig
from tests.observability.parts import compared
from tests.observability.prometheus import Prometheus

WITHOUT_DATA: Mapping[str, str] = {
    'result="rejected"': "needs a row larger than the sink takes, which the demo's pipeline cannot make",
}
"""What of an expression has no series here, and why."""
WITHOUT_SERIES = {"groups_dropped_total"}
"""Needs a changed pipeline file that drops a window; the board shows 0 without it."""
PROVOKED = (
    'records_dead_lettered_total{reason="misrouted"}',
    'records_late_total{window="visits"}',
    "reads_throttled_total",
    'state_retries_total{reason="throttled"}',
    'sink_retries_total{reason="throttled"}',
    'sink_rows_total{result="failed"}',
    "shards_ended_total",
    'state_restores_total{result="inherited"}',
    'state_restores_total{result="resumed"}',
    'daemon_log_lines_total{level="WARN"}',
    "daemon_process_resident_memory_bytes",
    "stream_retention_seconds",
    "keys_active",
)
"""What must have been more than 0: the run did what it should, and the metrics tell of it."""
QUIET = ("leases_unheld", "shards_parked", "gaps_total", "epoch_churn_total", 'commits_total{result="failed"}')
"""What must be 0 in the end: it would be a false alarm."""
LOAD_SECONDS = 45
_HOUR_MS = 3_600_000
_VARIABLES = {"$__rate_interval": "20s", "$__range": "5m"}


def say(line: str) -> None:
    """Tell whoever looks on."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def run(program: Path) -> list[str]:
    """Run it; return what is wrong, nothing if all is well."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamgauge-observability-")))
        emulator = stack.enter_context(Emulator())
        rig = Rig(emulator, directory, shards=2)
        stack.callback(rig.close)
        prometheus = stack.enter_context(Prometheus(program, directory, worker_port=rig.port, rules=PLAIN_RULES))
        begun = clock.now_ms() / 1000
        worker = _live(rig)
        wait_until(
            lambda: "StreamgaugeDeadLetters" in _firing(prometheus),
            "the alert of dead letters",
            seconds_max=60,
            alive=[worker],
        )
        ended = clock.now_ms() / 1000
        return [
            *_without_data(prometheus, begun, ended),
            *_without_series(prometheus, begun, ended),
            *_not_told(prometheus, begun, ended),
            *_bad_rules(prometheus),
        ]


def _live(rig: Rig) -> Child:
    """Have a worker go through what happens in a life; return the one that is left."""
    rig.put(10_000)
    worker = rig.start()
    rig.wait_until_read(worker)
    faults = rig.emulator.faults
    faults.add(Fault(service="firehose", kind="throttle", times=15))
    faults.add(Fault(service="firehose", kind="partial", record_probability=0.3, times=15))
    faults.add(Fault(service="dynamodb", kind="throttle", match=rig.pipeline.state.table, times=15))
    faults.add(Fault(service="kinesis", kind="throttle", operation="GetRecords", times=40))
    _load(rig, 1)
    rig.cloud.split(rig.cloud.shards()[0])
    _load(rig, 2)
    worker.kill()
    worker = rig.start()
    _load(rig, 3)
    rig.wait_until_read(worker)
    clock.sleep(20)  # until the lease table is looked at
    return worker


def _load(rig: Rig, part: int) -> None:
    """Send events for a third of the time; the demo's have late, broken and misrouted ones."""
    for number in range(LOAD_SECONDS // 3):
        place = part * LOAD_SECONDS + number
        rig.put(400, seed=place, offset_ms=place * _HOUR_MS)
        clock.sleep(0.7)


def queries() -> Iterator[tuple[str, str]]:
    """Yield all expressions as they are asked here, with where each stands."""
    for board in BOARDS:
        for panel in board.panels:
            for query in panel.queries:
                expression = re.sub(r"\$(namespace|job|stream)\b", ".*", query.scoped)
                for name, value in _VARIABLES.items():
                    expression = expression.replace(name, value)
                yield f"{board.name}: {panel.title}", expression
    for alert in ALERTS:
        for part in compared(with_defaults(alert.expression)):
            yield alert.name, part


def _without_data(prometheus: Prometheus, begun: float, ended: float) -> list[str]:
    wrong = []
    for place, expression in queries():
        number = prometheus.series(expression, begun, ended)
        excuse = next((reason for text, reason in WITHOUT_DATA.items() if text in expression), None)
        say(f"{number:4d}  {place}{'' if number else f'  ({excuse})'}")
        if not number and excuse is None:
            wrong.append(f"{place} has no data: {expression}")
    return wrong


def _without_series(prometheus: Prometheus, begun: float, ended: float) -> list[str]:
    told = set(prometheus.ask("label/__name__/values", start=begun, end=ended))
    told = {re.sub(r"_(bucket|sum|count)$", "", name).removeprefix(PREFIX) for name in told} | {
        name.removeprefix(PREFIX) for name in told
    }
    return [f"{name} has no series, or has one after all" for name in (DEFINITIONS.keys() - told) ^ WITHOUT_SERIES]


def _not_told(prometheus: Prometheus, begun: float, ended: float) -> list[str]:
    return [
        f"{metric} was never more than 0"
        for metric in PROVOKED
        if not prometheus.series(f"sum({PREFIX}{metric}) > 0", begun, ended)
    ] + [
        f"{metric} is not 0 in the end"
        for metric in QUIET
        if not prometheus.ask("query", query=f"max({PREFIX}{metric}) == 0", time=ended)["result"]
    ]


def _firing(prometheus: Prometheus) -> set[str]:
    alerts = prometheus.ask("alerts")["alerts"]
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def _bad_rules(prometheus: Prometheus) -> list[str]:
    rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    bad = [f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}" for rule in rules if rule["health"] != "ok"]
    return bad if len(rules) == len(ALERTS) else [*bad, f"Prometheus has {len(rules)} rules"]
