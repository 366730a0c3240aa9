"""CPU seconds of one core, measured by turns; and one thing that grows: sliding windows with more and more panes."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from bench import core_dicts
from bench.core_contestants import CONTESTANTS, SHARD, Contest, Run, answer, batches_of, disagreement
from bench.core_events import Recipe
from bench.core_jobs import pipeline
from consumer.core.compile import compile_pipeline
from consumer.core.processor import Processor
from consumer.errors import StreamgaugeError
from consumer.pipeline.model import Pipeline
from consumer.records import Record

PANES = (2, 5, 20, 100)
"""Panes a window; as many windows an event is in."""

_EVERY_US = 2_000
"""Between events of the curve, in their own time: five hundred a pane, of four kinds."""


class DisagreementError(StreamgaugeError):
    """Those who are compared did not come to the same results, so nothing is compared."""


class Timing(NamedTuple):
    """CPU seconds of all repeats of one run over so many events."""

    events: int
    seconds: list[float]

    @property
    def speeds(self) -> list[float]:
        """Events a second, one value a repeat."""
        return [self.events / seconds for seconds in self.seconds]

    @property
    def costs(self) -> list[float]:
        """Microseconds an event, one value a repeat."""
        return [seconds / self.events * 1e6 for seconds in self.seconds]

    def ratios_to(self, other: Timing) -> list[float]:
        """Return how many times as many events a second these are, of runs that were made one after the other."""
        return [ours / theirs for ours, theirs in zip(self.speeds, other.speeds, strict=True)]


def compare(contest: Contest, names: Sequence[str], repeats: int) -> dict[str, Timing]:
    """Measure the named contestants on one job, by turns; DisagreementError if their results differ."""
    runs = {name: CONTESTANTS[name](contest) for name in names}
    _check_agreement(contest, runs)
    return by_turns(runs, len(contest.records), repeats)


def by_turns(runs: Mapping[str, Callable[[], object]], events: int, repeats: int) -> dict[str, Timing]:
    """Measure each of the runs once, then each again, and so on."""
    found = {name: Timing(events, []) for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            found[name].seconds.append(cpu_seconds(run))
    return found


def cpu_seconds(run: Callable[[], object]) -> float:
    """Return what a call uses of the processor, its threads together."""
    gc.collect()
    begin = time.process_time()
    run()
    return time.process_time() - begin


def _check_agreement(contest: Contest, runs: Mapping[str, Run]) -> None:
    """Run each once, which warms it up besides. Who only decodes must have decoded every event."""
    answers = {name: answer(run()) for name, run in runs.items()}
    decoded = {"events": float(len(contest.records))}
    first = next(iter(answers))
    for name, found in answers.items():
        differs = disagreement(decoded if found.keys() == decoded.keys() else answers[first], found)
        if differs is not None:
            raise DisagreementError(f"{contest.job.name}: {first} and {name} differ in {differs}")


def sliding_curve(events: int, repeats: int) -> dict[str, dict[int, Timing]]:
    """Return what an event costs in sliding windows of so many panes, with dense keys and in the steady state.

    A first half of the events fills the largest windows; so many more are measured, the closing of windows included.
    The dicts have a window a dict, so an event is put into as many as there are panes; they are measured once.
    """
    records = Recipe(2 * events, 100, _EVERY_US).records()
    found = {name: {panes: Timing(events, []) for panes in PANES} for name in ("streamgauge", "dicts")}
    for repeat in range(repeats):
        for panes in PANES:
            found["streamgauge"][panes].seconds.append(_streamgauge(panes, records[:events], records[events:]))
            if not repeat:
                found["dicts"][panes].seconds.append(_dicts(panes, records[:events], records[events:]))
    return found


def _streamgauge(panes: int, warm: Sequence[Record], measured: Sequence[Record]) -> float:
    processor = Processor(compile_pipeline(_sliding(panes)), SHARD)
    processor.apply(warm)
    return cpu_seconds(lambda: [processor.apply(batch) for batch in batches_of(measured)])


def _dicts(panes: int, warm: Sequence[Record], measured: Sequence[Record]) -> float:
    processor = core_dicts.Processor([core_dicts.TimeWindows("trend", "kind", panes, 1, 3)])
    processor.process(record.data for record in warm)
    return cpu_seconds(lambda: [processor.process([one.data for one in batch]) for batch in batches_of(measured)])


def _sliding(panes: int) -> Pipeline:
    window = f"sliding: {{size: {panes}s, every: 1s}}, by: [kind], combine: false"
    select = "{events: count(), total: sum(amount), greatest: max(amount)}"
    return pipeline(f"windows:\n  trend: {{{window}, select: {select}}}\n")
