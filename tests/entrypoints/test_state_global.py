"""`streamgauge state export`, `import` and `reset` of a pipeline with a global window, against the embedded AWS."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from consumer.core import contributions
from consumer.core.combining import Packed
from consumer.core.compile import compile_pipeline
from consumer.core.completion import Stretch
from consumer.core.contributions import Contribution
from consumer.core.snapshot import Reader
from consumer.core.windows import NEVER_MS
from consumer.emulator.server import Emulator
from consumer.errors import EXIT_OK, EXIT_REFUSED
from consumer.pipeline.load import load
from consumer.runtime.surroundings import Retention, Surroundings
from consumer.sources.reading import Behind
from consumer.state.dynamodb import DynamoStore
from tests.entrypoints.state_rig import (
    FIRST,
    HIGH,
    LOW,
    SECOND,
    Crashed,
    StateRig,
    World,
    embedded_aws,
    give,
    new_rig,
)

Capture = pytest.CaptureFixture[str]
Aws = tuple[Emulator, World]
TOTAL = """\
  total: {tumbling: 1m, combine: true, select: {views: count(), pages: "collect(page, 9)"}}
sinks:"""


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with embedded_aws() as running:
        yield running


def combining_rig(aws: Aws, directory: Path) -> StateRig:
    """Return a rig whose pipeline has a global window."""
    rig = new_rig(aws, directory)
    rig.file.write_text(rig.file.read_text().replace("sinks:", TOTAL))
    rig.pipeline = load(rig.file, {})
    rig.program = compile_pipeline(rig.pipeline)
    return rig


@pytest.fixture
def rig(aws: Aws, tmp_path: Path) -> StateRig:
    return combining_rig(aws, tmp_path)


@pytest.fixture(scope="module")
def uninterrupted(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return all rows, without an export in between."""
    rig = combining_rig(aws, tmp_path_factory.mktemp("uninterrupted"))
    first_part(rig)
    second_part(rig)
    return rig.told()


def first_part(rig: StateRig, *, crash: bool = False) -> None:
    """Count four minutes of events. One shard of four has not begun: nothing is complete, all contributions wait.

    With `crash`, some wait in an outbox.
    """
    rig.start()
    rig.put_minutes(0, 2)
    rig.emulator.kinesis.split_shard(rig.name, FIRST)
    rig.work(FIRST, ended=True)
    rig.put_minutes(2, 4)
    rig.work(LOW)
    with pytest.MonkeyPatch.context() as patch:
        if crash:
            patch.setattr(DynamoStore, "put_contributions", crashing)
        rig.work(SECOND)


def crashing(_store: DynamoStore, _rows: Sequence[bytes]) -> None:
    """Die before anything is stored."""
    raise Crashed


def second_part(rig: StateRig, later_ms: int = 0) -> None:
    """Count what is left, so much later, and let all windows close and be combined."""
    rig.put_minutes(4, 6)
    for user in range(40):  # some of them in each shard
        rig.put(f"user-{user}", at_seconds=3600)
    rig.world.now_ms += later_ms
    for _ in range(2):
        for shard in (HIGH, LOW, SECOND):
            rig.work(shard)


def stored(rig: StateRig, generation: int) -> list[Contribution]:
    """Return the contributions of a generation."""
    (number,) = rig.program.combined
    found = rig.store.read_contributions(
        generation, rig.program.windows[number].hash, 0, after_end_ms=None, until_end_ms=NEVER_MS
    )
    return list(found)


def stretches(rig: StateRig, shard: str) -> Sequence[Stretch]:
    """Return what a shard's state has of its contributions."""
    state = rig.state(shard)
    combining = Reader(state.inline or rig.store.get_object(state.manifest[-1])).header.combining
    assert isinstance(combining, Packed)
    return combining.stretches


def totals(rows: list[str]) -> list[str]:
    return [row for row in rows if json.loads(row)["window"] == "total"]


def test_all_minutes_are_combined(uninterrupted: list[str]) -> None:
    """Without which the tests below would compare nothing with nothing."""
    assert [json.loads(row)["views"] for row in totals(uninterrupted)] == [60] * 6


@pytest.mark.parametrize(("crash", "lost"), [(True, False), (False, True)])
def test_what_was_contributed_and_not_combined_goes_along(
    rig: StateRig, capsys: Capture, tmp_path: Path, uninterrupted: list[str], *, crash: bool, lost: bool
) -> None:
    """From the table or from an outbox, into the same table or into an empty one; also a second time."""
    first_part(rig, crash=crash)
    waiting = stored(rig, 0)
    said = give(rig, capsys, "export", tmp_path / "out")
    assert said.status == EXIT_OK, said.err
    assert f"global windows: {len(waiting)} contributions to be combined" in said.out
    if lost:
        rig.empty_table()
    for generation in (1, 2):
        said = give(rig, capsys, "import", tmp_path / "out", "--yes")
        assert said.status == EXIT_OK, said.err
        assert f"global windows: {len(waiting)} contributions to be combined" in said.out
        assert stored(rig, generation) == [msgspec.structs.replace(each, generation=generation) for each in waiting]
    second_part(rig)
    assert rig.told() == uninterrupted
    assert len(stored(rig, 2)) > len(waiting)


def test_what_is_combined_is_not_exported(rig: StateRig, capsys: Capture, tmp_path: Path) -> None:
    first_part(rig)
    second_part(rig)
    said = give(rig, capsys, "export", tmp_path / "out")
    assert said.status == EXIT_OK, said.err
    assert "global windows" not in said.out
    assert not (tmp_path / "out" / "contributions.bin").exists()
    before = rig.told()
    assert give(rig, capsys, "import", tmp_path / "out", "--yes").status == EXIT_OK
    for shard in (HIGH, LOW, SECOND):
        rig.work(shard)
    assert totals(rig.told()) == totals(before), "and is not combined again"


def test_what_was_contributed_after_a_state_was_exported_is_left_to_who_goes_on(
    rig: StateRig, capsys: Capture, tmp_path: Path, uninterrupted: list[str]
) -> None:
    """Here it has two chunks, as of a life in which an idle decision was another; the one that goes on has one."""
    first_part(rig)
    (due, *_) = [each for each in stored(rig, 0) if each.origin == SECOND]
    later = msgspec.structs.replace(due, end_ms=due.end_ms + 240_000, start_ms=due.start_ms + 240_000, chunks=2)
    stranger = msgspec.structs.replace(later, origin=HIGH, end_ms=due.end_ms, start_ms=due.start_ms)
    made = [msgspec.structs.replace(each, chunk=chunk) for each in (later, stranger) for chunk in (0, 1)]
    rig.store.put_contributions([contributions.encode(each) for each in made])
    assert give(rig, capsys, "export", tmp_path / "out").status == EXIT_OK
    assert give(rig, capsys, "import", tmp_path / "out", "--yes").status == EXIT_OK
    assert not {(each.origin, each.end_ms) for each in stored(rig, 1)} & {(each.origin, each.end_ms) for each in made}
    second_part(rig)
    assert rig.told() == uninterrupted


DAY_MS = 24 * 3_600_000


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have workers know how long the stream keeps records."""
    around = StateRig._around

    def knowing(rig: StateRig) -> Surroundings:
        kept = Retention(DAY_MS, lambda *_: Behind(None, is_whole=True, ended=False))
        return dataclasses.replace(around(rig), retention=kept)

    monkeypatch.setattr(StateRig, "_around", knowing)


@pytest.mark.usefixtures("kept")
def test_what_an_export_has_kept_is_combined_however_long_that_lay(
    rig: StateRig, capsys: Capture, tmp_path: Path, uninterrupted: list[str]
) -> None:
    first_part(rig)
    assert give(rig, capsys, "export", tmp_path / "out").status == EXIT_OK
    rig.world.now_ms += 3 * DAY_MS
    assert give(rig, capsys, "import", tmp_path / "out", "--yes", "--accept-gap").status == EXIT_OK
    second_part(rig, later_ms=3 * DAY_MS)
    assert totals(rig.told()) == totals(uninterrupted)


@pytest.mark.usefixtures("kept")
def test_what_was_forgotten_before_the_export_stays_forgotten(rig: StateRig, capsys: Capture, tmp_path: Path) -> None:
    first_part(rig)
    made = stretches(rig, LOW)
    assert made
    rig.world.now_ms += 3 * DAY_MS
    assert give(rig, capsys, "export", tmp_path / "out").status == EXIT_OK
    assert give(rig, capsys, "import", tmp_path / "out", "--yes", "--accept-gap").status == EXIT_OK
    assert stretches(rig, LOW) == made


def test_who_came_of_whom_is_known_after_an_import(rig: StateRig, capsys: Capture, tmp_path: Path) -> None:
    """Of a shard that has ended and whose children have all begun nobody tells any more."""
    first_part(rig)
    before = {each.shard: each for each in rig.store.read_progress(0)}
    assert before[FIRST].ended
    assert give(rig, capsys, "export", tmp_path / "out").status == EXIT_OK
    assert give(rig, capsys, "import", tmp_path / "out", "--yes").status == EXIT_OK
    (told,) = rig.store.read_progress(1)
    assert (told.shard, told.watermark_ms, told.ended) == (FIRST, before[FIRST].watermark_ms, True)
    assert told.expires_ms is not None
    assert told.expires_ms > rig.world.now_ms


def test_a_damaged_file_of_contributions_is_refused(rig: StateRig, capsys: Capture, tmp_path: Path) -> None:
    first_part(rig)
    give(rig, capsys, "export", tmp_path / "out")
    file = tmp_path / "out" / "contributions.bin"
    data = file.read_bytes()
    for damaged in (data[:-1], bytes([data[0] ^ 1]) + data[1:], None):
        if damaged is None:
            file.unlink()
        else:
            file.write_bytes(damaged)
        said = give(rig, capsys, "import", tmp_path / "out", "--yes")
        assert said.status == EXIT_REFUSED
        assert "contributions.bin" in said.err
        assert rig.state(LOW).generation == 0


def test_a_reset_begins_without_contributions_and_progress(rig: StateRig, capsys: Capture) -> None:
    first_part(rig)
    assert stored(rig, 0)
    assert rig.store.read_progress(0)
    assert give(rig, capsys, "reset", "--yes").status == EXIT_OK
    assert list(rig.store.read_progress(0)) == []
    assert stored(rig, 1) == []
    rig.work(FIRST, ended=True)
    second_part(rig)
    views = [json.loads(row)["views"] for row in totals(rig.told())]
    assert views == [60] * 6
