"""Windows come and go, against the embedded AWS: what the commands tell of states of earlier definitions, and keep."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.emulator.server import Emulator
from consumer.errors import EXIT_OK, EXIT_REFUSED
from tests.entrypoints.state_rig import FIRST, HIGH, LOW, SECOND, StateRig, World, give, new_rig

Capture = pytest.CaptureFixture[str]

VISITS = "  visits: {session: {gap: 5m}, by: [user], select: {events: count(), first_page: first(page)}}\n"
PAGES = "  pages: {tumbling: 1m, by: [user], select: {events: count()}}\n"
WITHOUT_VISITS = (
    (VISITS, PAGES),
    ("-bucket}", "-bucket, removed_windows: {visits: flush}}"),
)


@pytest.fixture
def rig(aws: tuple[Emulator, World], tmp_path: Path) -> StateRig:
    """Return a rig whose first shard has ended, with one child that has begun, before the file was changed."""
    rig = new_rig(aws, tmp_path)
    rig.start()
    rig.put_minutes(0, 2)
    rig.emulator.kinesis.split_shard(rig.name, FIRST)
    rig.work(FIRST, ended=True)
    rig.put_minutes(2, 4)
    rig.work(LOW)
    rig.work(SECOND)
    assert not [row for row in rig.rows() if row["window"] == "visits"]
    return rig


def _sessions(rig: StateRig) -> list[tuple[str, int]]:
    rows = [row for row in rig.rows() if row["window"] == "visits"]
    return sorted((row["user"], row["events"]) for row in rows)


def _check_rest(rig: StateRig) -> None:
    """Let all shards go on: each session was flushed once, at the place where it was, and the new window begins."""
    counted_later = len(rig.records(HIGH))
    rig.put_minutes(4, 6)
    for shard in (HIGH, LOW, SECOND):
        rig.work(shard)
    sessions = _sessions(rig)
    assert [user for user, _ in sessions] == [f"user-{number}" for number in range(6)]
    # What the last child had not counted yet is in no session.
    assert sum(events for _, events in sessions) == 240 - counted_later
    starts = {row["window_start"] for row in rig.rows() if row["window"] == "pages"}
    assert starts
    assert len({row["id"] for row in rig.rows()}) == len(rig.rows())


def test_states_are_carried_over_one_by_one(rig: StateRig, capsys: Capture) -> None:
    application = rig.change(*WITHOUT_VISITS)
    assert (application.adoptions, application.incarnations) == (1, (("pages", 1),))
    told = give(rig, capsys, "list").out
    assert f"Of earlier definitions, carried over to today's by their next owner: {SECOND}, {LOW}\n" in told
    assert "differs" not in told
    said = give(rig, capsys, "show", LOW)
    assert said.status == EXIT_OK
    assert "  definitions   earlier ones: its next owner carries it over to today's\n" in said.out
    assert "\n    visits" in said.out
    assert "earlier ones: its children carry over what it leaves" in give(rig, capsys, "show", FIRST).out
    rig.work(LOW)
    assert f"by their next owner: {SECOND}\n" in give(rig, capsys, "list").out
    assert "definitions" not in give(rig, capsys, "show", LOW).out
    assert "\n    pages" in give(rig, capsys, "show", LOW).out
    _check_rest(rig)
    assert "earlier definitions" not in give(rig, capsys, "list").out


def test_an_export_keeps_what_is_needed_to_carry_its_states_over(
    rig: StateRig, capsys: Capture, tmp_path: Path
) -> None:
    old_file = rig.file.read_text()
    rig.change(*WITHOUT_VISITS)
    out = tmp_path / "out"
    assert give(rig, capsys, "export", out).status == EXIT_OK
    new_file = rig.file.read_text()
    rig.file.write_text(old_file)
    refused = give(rig, capsys, "import", out, "--yes")
    assert refused.status == EXIT_REFUSED
    assert "was exported with other definitions: windows.pages: was there, is now removed; " in refused.err
    rig.file.write_text(new_file)
    said = give(rig, capsys, "import", out, "--yes")
    assert said.status == EXIT_OK, said.err
    application = rig.store.read_application()
    assert application is not None
    assert (application.generation, application.adoptions) == (1, 1)
    assert rig.state(LOW).definitions == application.earlier[0].hash
    assert "by their next owner" in give(rig, capsys, "list").out
    _check_rest(rig)


def test_a_reset_forgets_earlier_definitions(rig: StateRig, capsys: Capture) -> None:
    rig.change(*WITHOUT_VISITS)
    assert give(rig, capsys, "reset", "--yes").status == EXIT_OK
    application = rig.store.read_application()
    assert application is not None
    assert (application.adoptions, application.incarnations, application.earlier) == (0, (), ())
