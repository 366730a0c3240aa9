"""Those who are compared: each a function that turns events into rows of JSON, and whether their rows agree."""

from __future__ import annotations

import importlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from bench import core_dicts
from bench.core_events import line_of
from bench.core_jobs import Job
from consumer.core.compile import compile_pipeline
from consumer.core.decode import reader
from consumer.core.loop_code import CHUNK
from consumer.core.processor import Processor
from consumer.records import Record
from consumer.sources.multilang import ProcessRecords

BATCH = 1_000
"""Records that are handled at once; Bytewax takes as many, polars more."""

SHARD = "shardId-000000000000"

Result = int | Sequence[bytes | str]
"""The rows; where events are only decoded, how many there were."""
Run = Callable[[], Result]
Answer = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Contest:
    """A job, and the records it is done with."""

    job: Job
    records: Sequence[Record]

    def data(self) -> list[bytes]:
        """Return the events."""
        return [record.data for record in self.records]

    def lines(self) -> list[bytes]:
        """Return the records in batches, as the daemon writes them."""
        return [line_of(batch) for batch in batches_of(self.records)]


def batches_of(records: Sequence[Record]) -> list[Sequence[Record]]:
    """Return the records in batches."""
    return [records[first : first + BATCH] for first in range(0, len(records), BATCH)]


def streamgauge(contest: Contest) -> Run:
    """Return our run on records in memory."""
    batches = batches_of(contest.records)
    return _decoding(contest, batches) if not contest.job.windows else _processing(contest, lambda: iter(batches))


def streamgauge_lines(contest: Contest) -> Run:
    """Return our run on the lines of the daemon."""
    lines = contest.lines()
    return _processing(contest, lambda: map(_records_of, lines))


def lines_alone(contest: Contest) -> Run:
    """Return the decoding of the same lines, and of the events in them."""
    lines = contest.lines()
    read = reader(contest.job.pipeline().events)
    return lambda: sum(_decode(read, _records_of(line)) for line in lines)


def dicts(contest: Contest) -> Run:
    """Return the run of the code that is written by hand."""
    batches = [[record.data for record in batch] for batch in batches_of(contest.records)]
    if not contest.job.windows:
        return lambda: core_dicts.decode(batches)
    return lambda: core_dicts.run(contest.job, batches)


def other(module: str) -> Callable[[Contest], Run]:
    """Return the contestant of a module that needs a library of its own."""

    def prepare(contest: Contest) -> Run:
        made = importlib.import_module(module)
        data = contest.data()
        if not contest.job.windows:
            return lambda: int(made.decode(data))
        return lambda: list(made.run(contest.job, data))

    return prepare


CONTESTANTS: Mapping[str, Callable[[Contest], Run]] = {
    "streamgauge": streamgauge,
    "dicts": dicts,
    "bytewax": other("bench.core_bytewax"),
    "polars": other("bench.core_polars"),
    "streamgauge_lines": streamgauge_lines,
    "lines_alone": lines_alone,
}


def _processing(contest: Contest, batches: Callable[[], Iterator[Sequence[Record]]]) -> Run:
    program = compile_pipeline(contest.job.pipeline())

    def run() -> Result:
        processor = Processor(program, SHARD)
        rows = [row.data for batch in batches() for row in processor.apply(batch).rows]
        return rows + [row.data for row in processor.close_all().rows]

    return run


def _decoding(contest: Contest, batches: Sequence[Sequence[Record]]) -> Run:
    read = reader(contest.job.pipeline().events)
    return lambda: sum(_decode(read, batch) for batch in batches)


def _decode(read: Callable[[Sequence[Record]], list[Any]], batch: Sequence[Record]) -> int:
    """Decode as the generated loop does: some records at once."""
    return sum(len(read(batch[first : first + CHUNK])) for first in range(0, len(batch), CHUNK))


_line_decoder = msgspec.json.Decoder(ProcessRecords)


def _records_of(line: bytes) -> list[Record]:
    return _line_decoder.decode(line).records


COLUMNS = ("events", "total", "greatest", "least", "mean", "first", "last", "spread")


def answer(result: Result) -> Answer:
    """Return what is compared: of each window how many rows there are, and the sum of each column."""
    if isinstance(result, int):
        return {"events": result}
    sums: Counter[str] = Counter()
    for row in map(msgspec.json.decode, result):
        sums[f"{row['window']} rows"] += 1
        for column in COLUMNS:
            if column in row:
                sums[f"{row['window']} {column}"] += row[column]
    return sums


def disagreement(one: Answer, another: Answer) -> str | None:
    """Return what differs, None if nothing does but roundings."""
    for name in sorted(one.keys() | another.keys()):
        first, second = one.get(name, math.nan), another.get(name, math.nan)
        if not math.isclose(first, second, rel_tol=1e-6):
            return f"{name}: {first} and {second}"
    return None
