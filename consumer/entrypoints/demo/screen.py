"""What a person sees of the demo."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from consumer.entrypoints.demo.recount import Comparison, Recount


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demo found out. `events` were sent, `received` are in the stream; the URLs are of this run."""

    recount: Recount
    events: int
    shards: int
    killed: bool
    resharded: bool
    received: int
    seconds: float
    endpoint: str
    metrics_url: str

    def figures(self) -> dict[str, Any]:
        """Return everything as one JSON object."""
        recount = self.recount
        return {
            "ok": recount.is_right,
            "missing": recount.missing,
            "wrong": recount.wrong,
            "duplicates_removed": recount.duplicates,
            "events_sent": self.events,
            "events_in_stream": self.received,
            "shards": self.shards,
            "killed": self.killed,
            "resharded": self.resharded,
            "seconds": round(self.seconds, 1),
            "rows": {
                "results": _figures(recount.results),
                "late": _figures(recount.late),
                "dead_letters": _figures(recount.dead_letters),
            },
            "windows": {
                sums.window: {
                    "events": sums.received,
                    "in_results": sums.closed,
                    "in_open_windows": sums.still_open,
                    "late": sums.late,
                    "dead_letters": sums.dead_letters,
                    "filtered": sums.filtered,
                    "adds_up": sums.adds_up,
                    "open_windows": recount.open_windows[sums.window],
                }
                for sums in recount.sums
            },
            "examples": _examples(recount),
            "endpoint": self.endpoint,
            "metrics_url": self.metrics_url,
        }


def _figures(comparison: Comparison) -> dict[str, int]:
    return {
        "expected": comparison.expected,
        "delivered": comparison.delivered,
        "duplicates_removed": comparison.duplicates,
        "missing": comparison.missing,
        "wrong": comparison.wrong,
    }


def _examples(recount: Recount) -> list[str]:
    return [*recount.results.examples, *recount.late.examples, *recount.dead_letters.examples]


class Screen:
    """Tells what happens, step by step. Quiet, it prints the figures as JSON and errors, and nothing else."""

    def __init__(self, *, quiet: bool, console: Console | None = None) -> None:
        self._quiet = quiet
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._errors = Console(stderr=True, highlight=False, soft_wrap=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )
        self._sent = self._progress.add_task("events sent", visible=False, text="")
        self._read = self._progress.add_task("read by the worker", visible=False, total=None, text="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def step(self, title: str, explanation: str = "") -> None:
        """Tell what happens now, in a few words and a sentence."""
        if not self._quiet:
            self._progress.console.print(f"[bold cyan]•[/] [bold]{escape(title)}[/] {escape(explanation)}".rstrip())

    def sent(self, events: int, total: int) -> None:
        """Show how far the producer is."""
        self._progress.update(self._sent, completed=events, total=total, visible=True, text=f"{events:,} of {total:,}")

    def read(self, records: int | None) -> None:
        """Show how many records the worker's process has read since its start; None if it does not answer."""
        text = "not there" if records is None else f"{records:,} records since its start"
        self._progress.update(self._read, visible=True, text=text)

    def result(self, outcome: Outcome) -> None:
        """Show the final tables, or print the JSON object."""
        self._progress.stop()
        if self._quiet:
            sys.stdout.write(msgspec.json.encode(outcome.figures()).decode() + "\n")
            sys.stdout.flush()
            return
        console, recount = self._console, outcome.recount
        console.print()
        console.print(_events_table(recount))
        console.print(_rows_table(recount))
        for example in _examples(recount):
            console.print(f"  [red]{escape(example)}[/]")
        console.print(_verdict(outcome))

    def fail(self, message: str, tails: Mapping[str, str]) -> None:
        """Tell why the demo ended, and the last lines of its processes."""
        for name, tail in tails.items():
            self._errors.print(f"[bold]last lines of the {escape(name)}:[/]")
            self._errors.print(escape(tail) or "(none)")
        self._errors.print(f"[bold red]streamgauge demo:[/] {escape(message)}")

    def interrupted(self) -> None:
        """Tell that somebody ended the demo."""
        self._errors.print("streamgauge demo: interrupted; everything it started is stopped")

    def running(self, lines: Mapping[str, str]) -> None:
        """Tell what is left to play with."""
        console = self._errors if self._quiet else self._console
        console.print("\n[bold]Everything is running again, with events coming in slowly. Ctrl-C stops all of it.[/]")
        for name, value in lines.items():
            console.print(f"  {name}: {escape(value)}")


def _events_table(recount: Recount) -> Table:
    table = Table(title="Where the events are: each window sees all of them", title_justify="left", min_width=60)
    table.add_column("")
    for sums in recount.sums:
        table.add_column(f"in {sums.window}", justify="right")
    rows = {
        "events in the stream": [sums.received for sums in recount.sums],
        "in results": [sums.closed for sums in recount.sums],
        "in open windows": [sums.still_open for sums in recount.sums],
        "late": [sums.late for sums in recount.sums],
        "dead letters": [sums.dead_letters for sums in recount.sums],
        "filtered out": [sums.filtered for sums in recount.sums],
    }
    for number, (name, values) in enumerate(rows.items()):
        table.add_row(name, *(f"{value:,}" for value in values), end_section=number in {0, len(rows) - 1})
    marks = ("[green]adds up[/]" if sums.adds_up else f"[red]{sums.total:,}: does not[/]" for sums in recount.sums)
    table.add_row("sum of the five", *marks)
    table.add_row("windows still open", *(f"{recount.open_windows[sums.window]:,}" for sums in recount.sums))
    return table


def _rows_table(recount: Recount) -> Table:
    table = Table(title="What arrived in S3, against the recount", title_justify="left", min_width=60)
    for name in ("", "expected", "delivered", "duplicates removed", "missing", "wrong"):
        table.add_column(name, justify="right" if name else "left")
    kinds = {"results": recount.results, "late events": recount.late, "dead letters": recount.dead_letters}
    for name, comparison in kinds.items():
        bad = [f"[{'red' if count else 'green'}]{count:,}[/]" for count in (comparison.missing, comparison.wrong)]
        counts = (comparison.expected, comparison.delivered, comparison.duplicates)
        table.add_row(name, *(f"{count:,}" for count in counts), *bad)
    return table


_SURVIVED = {
    (False, False): "",
    (False, True): "in spite of kill -9, ",
    (True, False): "in spite of a split and a merge, ",
    (True, True): "in spite of a split, a merge and kill -9, ",
}
"""By whether shards were split and merged, and whether the worker was killed."""


def _verdict(outcome: Outcome) -> str:
    recount = outcome.recount
    if not recount.is_right:
        return f"[bold red]✗ {recount.missing:,} rows missing, {recount.wrong:,} wrong.[/]"
    survived = _SURVIVED[outcome.resharded, outcome.killed]
    return f"[bold green]✓ {survived}every row is there and right[/] ({outcome.seconds:.0f} s)"
