"""`streamgauge test FILE...`: a pipeline's own unit tests, run on the core that the worker runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

import msgspec

from consumer.core.compile import Program, compile_pipeline
from consumer.entrypoints.offline import with_rows
from consumer.entrypoints.unit_tests.compare import Pair, compare
from consumer.entrypoints.unit_tests.definitions import Kind, UnitTest, UnitTestFile
from consumer.entrypoints.unit_tests.load import load_tests
from consumer.entrypoints.unit_tests.play import Manner, Played, play
from consumer.entrypoints.unit_tests.report import Paint, Report
from consumer.errors import EXIT_FAILURE, EXIT_OK
from consumer.pipeline.problems import PipelineError
from consumer.records import DEAD_LETTER, LATE, Row


def run_tests(paths: Sequence[Path], environ: Mapping[str, str], *, out: TextIO, err: TextIO) -> int:
    """Run the tests of all files, tell on `out` what came of them, and return the exit status.

    If a file is not sound, its mistakes go to `err` and nothing is run. Colours are used on a terminal, unless the
    environment has NO_COLOR.
    """
    files: list[UnitTestFile] = []
    status = EXIT_OK
    for path in paths:
        try:
            files.append(load_tests(path, environ))
        except PipelineError as error:
            count = len(error.problems)
            err.write(f"{error}\n{count} {'mistake' if count == 1 else 'mistakes'} in {path}\n")
            status = error.exit_status
    if status != EXIT_OK:
        return status
    paint = Paint(coloured=out.isatty() and not environ.get("NO_COLOR"))
    passed = [each for file in files for each in _run_file(file, paint, out)]
    failed = passed.count(False)
    out.write(f"{_tests(len(passed))}, {paint.bad(f'{failed} failed') if failed else paint.good('all passed')}\n")
    return EXIT_FAILURE if failed else EXIT_OK


def _tests(number: int) -> str:
    return f"{number} {'test' if number == 1 else 'tests'}"


def _run_file(file: UnitTestFile, paint: Paint, out: TextIO) -> list[bool]:
    """Run a file's tests; return which passed."""
    out.write(f"{file.path}\n")
    program = compile_pipeline(with_rows(file.pipeline, late=True, dead_letter=True))
    report = Report(file, paint)
    passed = []
    for each in file.tests:
        trouble = _run(program, each, report)
        out.write(trouble or report.passed(each))
        out.flush()
        passed.append(not trouble)
    return passed


def _run(program: Program, test: UnitTest, report: Report) -> str:
    """Run a test; return what is wrong, nothing if it passed."""
    played = play(program, test, Manner.AS_WRITTEN)
    for manner in (Manner.ONE_BY_ONE, Manner.RESTORED):
        other = play(program, test, manner)
        if other != played:
            return report.depends(test, manner, played, other)
    pairs = {kind: _compare(test, kind, played) for kind in Kind}
    if all(pair.fits for each in pairs.values() for pair in each):
        return ""
    return report.failed(test, pairs, played)


def _compare(test: UnitTest, kind: Kind, played: Played) -> list[Pair]:
    rows = [msgspec.json.decode(row.data) for row in played.rows if _kind(row) is kind]
    looked_at = [row for row in rows if kind is Kind.DEAD_LETTERS or row["window"] in test.windows]
    return compare(test.expected[kind], looked_at)


def _kind(row: Row) -> Kind:
    return {LATE: Kind.LATE, DEAD_LETTER: Kind.DEAD_LETTERS}.get(row.output, Kind.RESULTS)
