"""The jobs of the core's benchmark, as pipeline files; the other contestants are written by hand for each of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bench.core_events import OUT_OF_ORDERNESS_MS
from consumer.pipeline.load import load_text
from consumer.pipeline.model import Pipeline

TUMBLING_MS = 10_000
SLIDING_MS = 50_000
EVERY_MS = 10_000
GAP_MS = 30_000


class Shape(StrEnum):
    """The windows there are; also the names of their rows."""

    TUMBLING = "pages"
    SLIDING = "trend"
    SESSION = "visits"


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be computed: these windows, each with the first so many of the aggregates.

    `derives`: events of kind "bot" are left out, and amount * quantity is aggregated instead of amount.
    """

    name: str
    windows: tuple[Shape, ...]
    aggregates: int = 3
    derives: bool = False

    def pipeline(self) -> Pipeline:
        """Return its pipeline; a job without windows gets one that takes no event."""
        return pipeline(self._text())

    def _text(self) -> str:
        value = "revenue" if self.derives else "amount"
        select = "\n".join(f"      {line.format(value)}" for line in _SELECT[: self.aggregates])
        windows = "\n".join(f"  {shape}:\n{_WINDOWS[shape]}\n    select:\n{select}" for shape in self.windows)
        return (_FILTER if self.derives else "") + f"windows:\n{windows or _NOTHING}\n"


_WINDOWS = {
    Shape.TUMBLING: f"    tumbling: {TUMBLING_MS}ms\n    by: [page]\n    combine: false",
    Shape.SLIDING: f"    sliding: {{size: {SLIDING_MS}ms, every: {EVERY_MS}ms}}\n    by: [page]\n    combine: false",
    Shape.SESSION: f"    session: {{gap: {GAP_MS}ms}}\n    by: [user]",
}
_FILTER = "where: kind != 'bot'\nlet:\n  revenue: amount * quantity\n"
_NOTHING = "  none:\n    tumbling: 1h\n    by: [user]\n    where: 'false'\n    select: {events: count()}"
_SELECT = (
    "events: count()",
    "total: sum({})",
    "greatest: max({})",
    "least: min({})",
    "mean: avg({})",
    "first: first({})",
    "last: last({})",
    "spread: stddev({})",
)

JOBS = (
    Job("decode", ()),
    Job("tumbling", (Shape.TUMBLING,)),
    Job("sliding", (Shape.SLIDING,)),
    Job("session", (Shape.SESSION,)),
    Job("all", tuple(Shape), aggregates=8),
)
HEADLINE = Job("headline", (Shape.TUMBLING, Shape.SESSION), aggregates=5, derives=True)


def pipeline(rest: str) -> Pipeline:
    """Return a pipeline of the benchmark's events; `rest` has its filters and windows."""
    return load_text(_HEAD + rest, "bench", {})


_HEAD = f"""\
pipeline: bench
source: {{stream: clicks, partition_key: user}}
events:
  format: json
  compression: none
  fields: {{user: string, time: timestamp, page: string, kind: string, amount: float, quantity: int}}
  time: time
  out_of_orderness: {OUT_OF_ORDERNESS_MS}ms
state: {{table: bench-state, bucket: bench-state}}
sinks: [{{stdout: {{}}}}]
"""
