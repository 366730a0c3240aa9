"""What the cluster test has measured: bench/kubernetes.json, and a part of docs/kubernetes.md."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping, Sequence

import msgspec

from bench.core_report import facts
from bench.recovery_report import Spread
from consumer.runtime import clock
from tests.chart.chart_rig import ROOT
from tests.cluster.play import Act, Play
from tests.cluster.site import EVENTS_PER_S, SHARDS

JSON = ROOT / "bench" / "kubernetes.json"
PAGE = ROOT / "docs" / "kubernetes.md"
BEGIN = "<!-- cluster: written by python -m tests.cluster --write, do not edit -->"
END = "<!-- end of cluster -->"


def write(plays: Mapping[str, Play]) -> None:
    """Write bench/kubernetes.json and the section of docs/kubernetes.md; `plays` by the name of their Helm."""
    measured_at = dt.datetime.fromtimestamp(clock.now_ms() / 1000, dt.UTC).isoformat(timespec="seconds")
    pauses_s = [pause for play in plays.values() for pause in play.pauses_s]
    acts = [act for play in plays.values() for act in play.acts]
    content = {
        "measured_at": measured_at,
        "machine": facts("amazon-kclpy"),
        "load_average": os.getloadavg()[2],
        "shards": SHARDS,
        "events_per_s": EVENTS_PER_S,
        "rolling_restart_pauses_s": [round(pause, 3) for pause in pauses_s],
        "acts": {helm: play.acts for helm, play in plays.items()},
    }
    JSON.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    section = markdown(measured_at[:10], pauses_s, acts)
    PAGE.write_text(f"{before}{BEGIN}\n\n{section}\n\n{END}{after}", encoding="utf-8")


def markdown(day: str, pauses_s: Sequence[float], acts: Sequence[Act]) -> str:
    """Return the section."""
    machine = ", ".join(f"{name} {value}" for name, value in facts("amazon-kclpy").items())
    spread = Spread.of(pauses_s)
    lines = [
        f"Measured on {day}: {machine}; load average {os.getloadavg()[2]:.1f} in the last quarter of an hour.",
        "The whole cluster, its AWS and all workers were on this machine.",
        "",
        f"In a rolling restart of two workers ({SHARDS} shards, {EVENTS_PER_S} events a second) a shard stood still",
        f"for {spread.p50:.1f} s in the median, {spread.most:.1f} s at most ({spread.n} shards): from the last batch",
        "with records before to the first one after.",
        "",
        "| what was done, under load | seconds | rows that had to be there | came again | missing, wrong |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in dict.fromkeys(act.name for act in acts):
        of_name = [act for act in acts if act.name == name]
        seconds = ", ".join(f"{act.seconds:.0f}" for act in of_name)
        rows = ", ".join(f"{act.audit.rows:,}" for act in of_name)
        again = ", ".join(f"{act.audit.again:,}" for act in of_name)
        lines.append(f"| {name} | {seconds} | {rows} | {again} | 0, 0 |")
    return "\n".join(lines)
