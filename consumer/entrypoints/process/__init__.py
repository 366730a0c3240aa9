"""`streamgauge process`: a pipeline over files or standard input, on the core that the worker runs.

One file is one shard, and files go one after another; there is no AWS, no state, and memory holds no more than a
batch, what the windows hold, and what the files before contribute to global windows. These come last, when all files
have been read.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

from consumer.core.compile import Program, compile_pipeline
from consumer.core.counts import Counts, count
from consumer.core.processor import Outcome, Processor
from consumer.entrypoints.global_rows import GlobalRows
from consumer.entrypoints.offline import with_rows
from consumer.entrypoints.process.outputs import STDOUT, Outputs
from consumer.entrypoints.process.summary import summary
from consumer.errors import EXIT_OK, EXIT_USAGE, StreamgaugeError
from consumer.pipeline.load import load
from consumer.pipeline.model import Pipeline
from consumer.records import Record
from consumer.runtime.heap import STATE_HEAP
from consumer.sources.file import InputError, LineSource, Readable, batches

BATCH_SIZE = 1_000
STDIN = "-"
STDIN_SHARD = "stdin"
_COMPRESSED = {b"\x1f\x8b": "gzip -dc", b"\x28\xb5\x2f\xfd": "zstd -dc"}
"""How files begin that are compressed, and what gives their content."""
_MAGIC_BYTES_MAX = max(map(len, _COMPRESSED))
_GENERATION = 0
"""Nothing is stored here, so nothing is ever reset."""


class UsageError(StreamgaugeError):
    """The command line asks for something that cannot be; nothing was touched."""

    exit_status = EXIT_USAGE


@dataclass(frozen=True, slots=True)
class Options:
    """The command line. `inputs` empty means standard input; `late` and `dead_letter` None mean: only counted."""

    inputs: Sequence[str] = ()
    output: str = STDOUT
    late: str | None = None
    dead_letter: str | None = None
    batch_size: int = BATCH_SIZE
    envelope: bool = False
    close: bool = True


@dataclass(frozen=True, slots=True)
class _Input:
    """A file, or standard input (path None), and the name of its shard."""

    shard: str
    path: Path | None


def process(
    path: Path, environ: Mapping[str, str], options: Options, *, stdin: Readable, stdout: BinaryIO, err: TextIO
) -> int:
    """Run the pipeline over all inputs, tell on `err` what became of the events, and return the exit status.

    `stdin` and `stdout` are streams without a buffer. PipelineError or UsageError before anything is read or written;
    InputError, OutputError, and BrokenPipeError where a reader of the output has gone, leave no file that looks
    complete.
    """
    pipeline = load(path, environ)
    _check_format(pipeline, options)
    inputs = _inputs(options)
    program = compile_pipeline(
        with_rows(pipeline, late=options.late is not None, dead_letter=options.dead_letter is not None),
        keys_required=False,
    )
    run = _Run(program, options)
    with Outputs(options.output, options.late, options.dead_letter, stdout) as outputs:
        for each in inputs:
            run.shard(each, stdin, outputs)
        run.combine(outputs)
        outputs.finish()
    windows = [window.name for window in pipeline.windows]
    err.write(summary(pipeline.name, windows, len(inputs), run.counts, run.open_groups))
    return EXIT_OK


_SETTLE_RECORDS = 50_000
"""After so many records a large state is taken out of the garbage collector's sight."""


class _Run:
    """Shard after shard, and what became of their events."""

    def __init__(self, program: Program, options: Options) -> None:
        self._program = program
        self._options = options
        self._arrival_required = program.pipeline.events.time is None
        self._global_rows = GlobalRows(program)
        self._complete_until_ms = math.inf
        self.counts = Counts()
        self.open_groups: dict[str, int] = {}

    def shard(self, source: _Input, stdin: Readable, outputs: Outputs) -> None:
        """Process one input from its first line to its last."""
        processor = Processor(self._program, source.shard, _GENERATION)
        with _opened(source, stdin) as stream:
            lines = LineSource(stream, source.shard if source.path is None else str(source.path))
            since_settled = 0
            for batch in batches(self._records(lines), self._options.batch_size):
                self._finish(processor, processor.step(batch), batch, outputs)
                since_settled += len(batch)
                if since_settled >= _SETTLE_RECORDS:
                    STATE_HEAP.settle(sum(processor.open_groups().values()))
                    since_settled = 0
        if self._options.close:
            self._finish(processor, processor.end(), [], outputs)
        else:
            watermark_ms = -math.inf if processor.watermark_ms is None else processor.watermark_ms
            self._complete_until_ms = min(self._complete_until_ms, watermark_ms)
        STATE_HEAP.release()
        self.counts.add(processor.totals)
        self.counts.add(Counts(lines.skipped, lines.skipped))
        for window, groups in processor.open_groups().items():
            count(self.open_groups, window, groups)

    def _records(self, lines: LineSource) -> Iterator[list[Record]]:
        if self._options.envelope:
            return lines.enveloped(arrival_required=self._arrival_required)
        return lines.raw()

    def _finish(self, processor: Processor, outcome: Outcome, batch: list[Record], outputs: Outputs) -> None:
        """Write a step's rows, and go on until the batch is taken and nothing waits to be closed.

        However many windows close at once, the rows of one step are all that memory holds.
        """
        outputs.write(self._global_rows.without(outcome.rows))
        taken = outcome.taken
        while taken < len(batch) or processor.closing:
            outcome = processor.step(batch[taken:])
            outputs.write(self._global_rows.without(outcome.rows))
            taken += outcome.taken

    def combine(self, outputs: Outputs) -> None:
        """Write the rows of the global windows that are complete in all inputs."""
        for rows in self._global_rows.complete(self._complete_until_ms):
            outputs.write(rows)
            count(self.counts.results, rows[0].output, len(rows))
        for window, groups in self._global_rows.waiting().items():
            count(self.open_groups, window, groups)


@contextmanager
def _opened(source: _Input, stdin: Readable) -> Iterator[Readable]:
    if source.path is None:
        yield stdin
        return
    try:
        file = source.path.open("rb", buffering=0)
    except OSError as error:
        raise InputError(f"{source.path}: cannot be read: {error.strerror}") from error
    with file:
        yield file


def _check_format(pipeline: Pipeline, options: Options) -> None:
    """Refuse events that a line cannot hold, or that lack a time."""
    events = pipeline.events
    if options.envelope:
        return
    remedy = "give each record as a line of base64, and say --envelope"
    if events.format == "msgpack":
        raise UsageError(f"msgpack is binary, and no record a line: {remedy}")
    if events.compression in ("gzip", "zstd"):
        raise UsageError(f"records compressed with {events.compression} are binary, and no record a line: {remedy}")
    if any(isinstance(step, str) for field in events.fields for step in field.path) and events.format == "csv":
        raise UsageError(f"the csv records have a header line each, so one record is several lines: {remedy}")
    if events.time is None:
        raise UsageError(
            "the pipeline goes by arrival times (it has no events.time), which raw lines lack: "
            "give each record as a line with arrival_time, and say --envelope"
        )


def _inputs(options: Options) -> list[_Input]:
    inputs = [_input(name) for name in options.inputs or [STDIN]]
    names: dict[str, _Input] = {}
    for each in inputs:
        other = names.setdefault(each.shard, each)
        if other is not each:
            raise UsageError(
                f"two inputs have the base name {each.shard}, which names their shard in the rows: rename one"
            )
    for written in (options.output, options.late, options.dead_letter):
        _check_not_read(written, inputs)
    return inputs


def _input(name: str) -> _Input:
    if name == STDIN:
        return _Input(STDIN_SHARD, None)
    path = Path(name)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from error
    if stat.S_ISDIR(mode):
        raise UsageError(f"{name} is a directory: name its files")
    if not os.access(path, os.R_OK):
        raise UsageError(f"{name} cannot be read: Permission denied")
    if stat.S_ISREG(mode):
        _refuse_compressed(path)
    # The name goes into rows, which are UTF-8; a file's name is any bytes.
    return _Input(os.fsencode(path.name).decode(errors="replace"), path)


def _refuse_compressed(path: Path) -> None:
    """Refuse a file that is compressed as a whole: each of its lines would be a dead letter."""
    with path.open("rb") as file:
        head = file.read(_MAGIC_BYTES_MAX)
    for magic, command in _COMPRESSED.items():
        if head.startswith(magic):
            raise UsageError(f"{path} is compressed as a whole: give its lines by `{command} {path} |`, and name `-`")


def _check_not_read(written: str | None, inputs: Sequence[_Input]) -> None:
    if written is None or written == STDOUT or not Path(written).is_file():
        return
    for each in inputs:
        if each.path is not None and each.path.samefile(written):
            raise UsageError(f"{written} is an input: the rows need a file of their own")
