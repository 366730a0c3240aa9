"""`streamgauge state list` and `show` of a pipeline with a global window, against the embedded AWS."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consumer.cli import main
from consumer.core import contributions
from consumer.core.contributions import Contribution
from consumer.core.windows import NEVER_MS
from consumer.emulator.server import Emulator
from consumer.errors import EXIT_OK
from tests.docs.pages import Code, parts
from tests.entrypoints.state_rig import (
    FIRST,
    HIGH,
    LOW,
    SECOND,
    StateRig,
    World,
    combining,
    combining_shop,
    give,
    new_rig,
)

Capture = pytest.CaptureFixture[str]
SIZE = re.compile(r"\b[\d,.]+ (?:bytes|KB)\b")


@pytest.fixture
def rig(aws: tuple[Emulator, World], tmp_path: Path) -> StateRig:
    return combining(new_rig(aws, tmp_path))


def listed(rig: StateRig, capsys: Capture) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the list tells of all shards together, and of each."""
    said = give(rig, capsys, "list", "--json")
    assert (said.status, said.err) == (EXIT_OK, "")
    return said.json["global_windows"], {each["shard"]: each["progress"] for each in said.json["shards"]}


def combines(rig: StateRig, capsys: Capture) -> list[dict[str, Any]]:
    """Return what both shards tell of the buckets that they combine."""
    shown = [each for shard in (FIRST, SECOND) for each in give(rig, capsys, "show", shard, "--json").json["combines"]]
    assert sorted(each["bucket"] for each in shown) == [0, 1], "each bucket is one shard's"
    return sorted(shown, key=lambda each: each["bucket"])


def test_a_shard_that_holds_back_is_named(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    rig.work(FIRST)
    together, progress = listed(rig, capsys)
    assert together == {"covered": False, "watermark": None, "held_back_by": None, "held_back_ms": None}
    assert progress == {FIRST: {"watermark": None, "commit_no": 0, "ended": False, "counts": False}, SECOND: None}
    assert "Global windows: not all shards have told of their progress" in give(rig, capsys, "list").out
    rig.work(SECOND)
    assert "Global windows: not all shards have had an event" in give(rig, capsys, "list").out
    rig.put_minutes(0, 2)
    rig.work(FIRST)
    rig.work(SECOND)
    said = give(rig, capsys, "list").out
    assert said.splitlines()[2].split()[-1] == "progress"
    assert "Global windows: complete up to 2026-01-01T00:01:45.000Z" in said
    rig.put_minutes(2, 4)
    rig.work(FIRST)
    together, progress = listed(rig, capsys)
    assert (together["watermark"], together["held_back_by"]) == ("2026-01-01T00:01:45.000Z", SECOND)
    assert together["held_back_ms"] == 124_000
    assert progress[FIRST]["watermark"] == "2026-01-01T00:03:49.000Z"
    behind = f"complete up to 2026-01-01T00:01:45.000Z, where {SECOND} is: 2m4s behind the one that is ahead"
    assert f"Global windows: {behind}" in give(rig, capsys, "list").out
    assert f"  all shards    {behind}\n" in give(rig, capsys, "show", FIRST).out


def in_two_chunks(rig: StateRig) -> list[Contribution]:
    """Return what was contributed to bucket 0 once more, each cut in two."""
    (number,) = rig.program.combined
    found = rig.store.read_contributions(
        0, rig.program.windows[number].hash, 0, after_end_ms=None, until_end_ms=NEVER_MS
    )
    return [
        msgspec.structs.replace(each, chunk=chunk, chunks=2, data=data)
        for each in found
        for chunk, data in enumerate((each.data[:9], each.data[9:]))
    ]


def test_what_waits_to_be_combined_is_told_by_who_combines_it(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    rig.work(SECOND)
    rig.put_minutes(0, 3)
    rig.work(FIRST)
    before = combines(rig, capsys)
    assert sum(each["contributions"] for each in before) >= 2, "two minutes of one shard"
    for each in before:
        assert (each["window"], each["combined_up_to"], each["complete"]) == ("total", None, 0)
        assert each["windows"] == 2
        assert (each["first_end"], each["last_end"]) == ("2026-01-01T00:01:00.000Z", "2026-01-01T00:02:00.000Z")
    rig.store.put_contributions([contributions.encode(each) for each in in_two_chunks(rig)])
    assert combines(rig, capsys) == before, "chunks are parts of a contribution"
    rig.work(SECOND)
    assert [each["complete"] for each in combines(rig, capsys)] in ([2, 0], [0, 2], [2, 2]), "or combined already"
    rig.put_minutes(3, 4)
    for shard in (FIRST, SECOND, FIRST, SECOND):
        rig.work(shard)
    after = combines(rig, capsys)
    assert [(each["windows"], each["contributions"], each["first_end"]) for each in after] == [(0, 0, None)] * 2
    assert all(each["combined_up_to"] >= "2026-01-01T00:02:00" for each in after)


def test_of_a_shard_whose_children_count_nothing_is_told(rig: StateRig, capsys: Capture) -> None:
    rig.start()
    rig.put_minutes(0, 2)
    rig.emulator.kinesis.split_shard(rig.name, FIRST)
    rig.work(FIRST, ended=True)
    rig.work(SECOND)
    rig.work(LOW)
    _, progress = listed(rig, capsys)
    assert [progress[shard] and progress[shard]["counts"] for shard in (FIRST, LOW, SECOND)] == [True, False, True]
    low = next(line for line in give(rig, capsys, "list").out.splitlines() if line.startswith(LOW))
    assert low.split()[-1] == "2026-01-01T00:01:49.000Z", "what it has told"
    assert "combines" not in give(rig, capsys, "show", FIRST, "--json").json, "its children do"
    rig.work(HIGH)
    _, progress = listed(rig, capsys)
    assert [progress[shard]["counts"] for shard in (FIRST, LOW, HIGH)] == [False, True, True]
    first = next(line for line in give(rig, capsys, "list").out.splitlines() if line.startswith(FIRST))
    assert first.split()[-1] == "-"


def test_without_global_windows_nothing_is_told(aws: tuple[Emulator, World], tmp_path: Path, capsys: Capture) -> None:
    rig = new_rig(aws, tmp_path)
    rig.start()
    rig.work(FIRST)
    assert give(rig, capsys, "list", "--json").json["global_windows"] is None
    assert "rogress" not in give(rig, capsys, "list").out + give(rig, capsys, "show", FIRST).out


def comparable(text: str) -> list[str]:
    return [" ".join(SIZE.sub("N bytes", line).split()) for line in text.splitlines()]


def test_what_the_page_shows_is_what_the_commands_say(
    aws: tuple[Emulator, World], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To write the page anew: what the failing comparison shows. Of each answer it shows a part."""
    texts = [part.text for part in parts("state.md") if isinstance(part, Code) and part.language == "text"]
    shown = [text.partition("\n") for text in texts if text.startswith("$ streamgauge state ")]
    assert len(shown) == 2
    monkeypatch.chdir(tmp_path)
    combining_shop(aws, tmp_path)
    for command, _, said in shown:
        capsys.readouterr()
        assert main(shlex.split(command.removeprefix("$ streamgauge "))) == EXIT_OK
        came, expected = comparable(capsys.readouterr().out), comparable(said)
        first = came.index(expected[0])
        assert came[first : first + len(expected)] == expected
