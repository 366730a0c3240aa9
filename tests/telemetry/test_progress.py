"""The line for a person, and that it does not get in the way of anything else."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from consumer.core.counts import Counts
from consumer.telemetry.progress import Progress
from tests.telemetry.told import FakeClock, Told

ROOT = Path(__file__).parents[2]

WORKER = """
import sys, threading, time
from consumer.core.counts import Counts
from consumer.telemetry.logging import configure_logging
from consumer.telemetry.progress import Progress, show

logger = configure_logging(level="info", now_ms=lambda: 0)
progress = Progress(time.monotonic)
with show(progress) as shown:
    progress.batch("shard-0", Counts(received=1234, results={"views": 7}), 0.5)
    for number in range(50):
        if shown is not None:
            shown.refresh()
        logger.warning("something", number=number)
        sys.stdout.write("row %d\\n" % number)
sys.stdout.write("display" if "rich.live" in sys.modules else "no display")
"""


def test_the_line_tells_totals(clock: FakeClock) -> None:
    progress = Progress(clock.monotonic)
    assert progress.line() == "waiting for the first shard"
    progress.shard_held("shard-1")
    counts = Counts(
        received=12_000, late={"views": 2, "visits": 1}, dead_letters={"too_deep": 4}, results={"views": 70}
    )
    clock.seconds += 2
    progress.batch("shard-0", counts, 1.25)
    progress.committed()
    clock.seconds += 2
    assert progress.line() == (
        "12,000 records  3,000/s  70 results  3 late  4 dead letters  2 shards  1.2 s behind  committed 2 s ago"
    )


def test_the_rate_is_of_the_last_seconds(clock: FakeClock) -> None:
    progress = Progress(clock.monotonic)
    progress.batch("shard-0", Counts(received=10_000), 0.0)
    for _ in range(20):
        clock.seconds += 1
        progress.line()
    assert "10,000 records  0/s" in progress.line()
    for _ in range(5):
        clock.seconds += 1
        progress.batch("shard-0", Counts(received=500), 0.0)
        progress.line()
    assert "  500/s  " in progress.line()


def test_a_shard_that_left_is_not_behind(clock: FakeClock) -> None:
    progress = Progress(clock.monotonic)
    progress.batch("shard-0", Counts(received=1), 99.0)
    progress.shard_gone("shard-0")
    progress.shard_gone("never seen")
    assert "0 shards  0.0 s behind" in progress.line()


def test_events_feed_it(told: Told) -> None:
    told.telemetry.shard_refused(shard="shard-9", error=ValueError())
    assert "0 records" in told.progress.line()
    assert "1 shards" in told.progress.line()
    told.telemetry.lease_lost(shard="shard-9")
    assert told.progress.line() == "waiting for the first shard"


def run_with(stderr: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", WORKER], stdout=subprocess.PIPE, stderr=stderr, env=environment, cwd=ROOT
    )


def read_terminal(terminal: int) -> bytes:
    """Return everything until the other end is closed (which reads as an error on Linux)."""
    parts: list[bytes] = []
    while True:
        try:
            part = os.read(terminal, 65_536)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


def test_at_a_terminal_lines_stay_whole_above_it_and_rows_stay_on_standard_output() -> None:
    terminal, other_end = pty.openpty()
    with run_with(other_end) as worker:
        os.close(other_end)
        shown = read_terminal(terminal).decode()
        assert worker.stdout is not None
        rows = worker.stdout.read().decode().splitlines()
    os.close(terminal)
    assert worker.returncode == 0
    assert rows == [*(f"row {number}" for number in range(50)), "display"]
    assert "row " not in shown
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    lines = re.split(r"[\r\n]+", plain)
    assert any("1,234 records" in line and "7 results" in line for line in lines)
    logged = [line for line in lines if "something" in line]
    assert [line.rpartition("number=")[2].strip() for line in logged] == [str(number) for number in range(50)]
    assert all(line.startswith("1970-01-01T") and "records" not in line for line in logged)


def test_without_a_terminal_there_is_none_and_it_is_not_imported() -> None:
    with run_with(subprocess.PIPE) as worker:
        rows, shown = worker.communicate(timeout=60)
    assert rows.decode().splitlines()[-1] == "no display"
    assert len(shown.splitlines()) == 50
    assert b"records" not in shown
