"""What a dashboard is made of here: panels, their queries and units, and the alerts that belong to them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from deploy.observability.scope import Matchers, scoped

RATE = "$__rate_interval"
"""Grafana's: long enough for a rate, whatever is scraped and shown."""
RANGE = "$__range"
"""Grafana's: the time that is shown."""
VARIABLES: Matchers = {"namespace": '=~"$namespace"', "job": '=~"$job"', "stream": '=~"$stream"'}


class Unit(StrEnum):
    """Units, by Grafana's names."""

    NUMBER = "short"
    PER_SECOND = "cps"
    SECONDS = "s"
    BYTES = "bytes"
    BYTES_PER_SECOND = "Bps"
    SHARE = "percentunit"
    DATE = "dateTimeFromNow"


@dataclass(frozen=True, slots=True)
class Query:
    """An expression and the legend of its series, where `{{label}}` stands for a label's value."""

    expression: str
    legend: str = ""

    @property
    def scoped(self) -> str:
        """Return the expression with the board's variables."""
        return scoped(self.expression, VARIABLES)


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel, `width` of 24 wide. `limits` are the values from which on it turns yellow and red.

    `empty` is what it says where there is no series. `alerts` are those whose pages it links to. `lines` are over time,
    a `stat` is one number, a `heat` map has buckets.
    """

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: Unit = Unit.NUMBER
    kind: Literal["lines", "stat", "heat"] = "lines"
    width: int = 8
    limits: tuple[float, float] | None = None
    alerts: tuple[str, ...] = ()
    stacked: bool = False
    empty: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a title."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard. `name` is that of its file."""

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]

    @property
    def panels(self) -> list[Panel]:
        """Return all panels."""
        return [panel for row in self.rows for panel in row.panels]


def stat(
    title: str,
    description: str,
    expression: str,
    *,
    unit: Unit = Unit.NUMBER,
    legend: str = "",
    limits: tuple[float, float] | None = None,
    alerts: tuple[str, ...] = (),
) -> Panel:
    """Return a panel of one number."""
    return Panel(title, description, (Query(expression, legend),), unit, "stat", 6, limits, alerts)


def lines(
    title: str,
    description: str,
    *queries: Query,
    unit: Unit = Unit.NUMBER,
    limits: tuple[float, float] | None = None,
    alerts: tuple[str, ...] = (),
    stacked: bool = False,
    width: int = 8,
    empty: str = "",
) -> Panel:
    """Return a panel of lines over time."""
    return Panel(title, description, queries, unit, "lines", width, limits, alerts, stacked, empty)


def per_second(metric: str, by: str) -> Query:
    """Return a counter's growth a second, added up by a label."""
    return Query(f"sum by ({by}) (rate(streamgauge_{metric}[{RATE}]))", f"{{{{{by}}}}}")


def in_range(metric: str) -> str:
    """Return how much a counter has grown in the time that is shown."""
    return f"sum(increase(streamgauge_{metric}[{RANGE}]))"


def worst(metric: str, by: str = "shard") -> Query:
    """Return the greatest value of a gauge for each value of a label."""
    return Query(f"max by ({by}) (streamgauge_{metric})", f"{{{{{by}}}}}")


def total(metric: str, by: str) -> Query:
    """Return the sum of a gauge for each value of a label."""
    return Query(f"sum by ({by}) (streamgauge_{metric})", f"{{{{{by}}}}}")


def quantiles(metric: str, by: str = "stream") -> tuple[Query, ...]:
    """Return what half, and what 99 of 100 values of a histogram stay below."""
    buckets = f"sum by (le, {by}) (rate(streamgauge_{metric}_bucket[{RATE}]))"
    return tuple(Query(f"histogram_quantile({share}, {buckets})", f"{{{{{by}}}}} {share:.0%}") for share in (0.5, 0.99))
