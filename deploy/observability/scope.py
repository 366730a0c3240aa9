"""Where a query's metrics come from: matchers are put into each metric of a PromQL expression, in one place.

Expressions are written without them, as somebody types them who has one pipeline. The chart's alerts look at one
release, the dashboards at what their variables say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from consumer.telemetry.metrics import DAEMON, DEFINITIONS, PREFIX, Kind

_METRIC = re.compile(rf"\b({PREFIX}\w+)(\{{[^}}]*\}})?")
_HISTOGRAM_PARTS = ("_bucket", "_sum", "_count")
_OF_THE_PROCESS = f"{DAEMON}_process_"

Matchers = Mapping[str, str]
"""By label: the rest of a matcher, such as `="clicks"` or `=~"$stream"`."""


def scoped(expression: str, matchers: Matchers) -> str:
    """Return the expression with these matchers in each of the product's metrics; `stream` only where it is a label."""

    def matched(found: re.Match[str]) -> str:
        name, own = found[1], (found[2] or "{}")[1:-1]
        added = [
            f"{label}{rest}" for label, rest in matchers.items() if label != "stream" or "stream" in labels_of(name)
        ]
        inside = ", ".join([*([own] if own else []), *added])
        return f"{name}{{{inside}}}" if inside else name

    return _METRIC.sub(matched, expression)


def metrics_in(expression: str) -> list[tuple[str, frozenset[str]]]:
    """Return the product's metrics of an expression, each with the labels of its matchers."""
    return [
        (found[1], frozenset(re.findall(r"(\w+)\s*[=!]", found[2] or ""))) for found in _METRIC.finditer(expression)
    ]


def labels_of(name: str) -> tuple[str, ...]:
    """Return the labels that a series has of itself; KeyError if the product has no such metric."""
    if name.startswith(_OF_THE_PROCESS):
        return ()
    short = name.removeprefix(PREFIX)
    for part in _HISTOGRAM_PARTS:
        whole = DEFINITIONS.get(short.removesuffix(part))
        if short.endswith(part) and whole is not None and whole.kind is Kind.HISTOGRAM:
            return (*whole.labels, "le") if part == "_bucket" else whole.labels
    definition = DEFINITIONS[short]
    if definition.kind is Kind.HISTOGRAM:
        raise KeyError(f"{name} is a histogram: name its _bucket, _sum or _count")
    return definition.labels
