"""`streamgauge explain` of a global window: its row over all shards, or what that waits for."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from consumer.cli import main
from consumer.core.completion import NAME_DIGITS, Progress, completion
from consumer.core.contributions import Contribution
from consumer.emulator.server import Emulator
from consumer.entrypoints.explain import combined
from consumer.entrypoints.explain import replay as replaying
from consumer.errors import EXIT_OK
from consumer.state.dynamodb import DynamoStore
from tests.docs.pages import Code, parts
from tests.entrypoints.explain_rig import ExplainRig
from tests.entrypoints.state_rig import FIRST, SECOND, World, combining_shop

Capture = pytest.CaptureFixture[str]
NUMBERS = count(1)


@pytest.fixture(autouse=True)
def _nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "READ_PAUSE_SECONDS", 0)


@pytest.fixture
def total(aws: tuple[Emulator, World], tmp_path: Path) -> ExplainRig:
    """Return a rig with global windows, of which each shard has been given records up to the 21st second."""
    windows = (
        "  pages: {tumbling: 10s, by: [page], combine: true, buckets: 3, select: {events: count(), sum: sum(amount)}}\n"
        "  trend: {sliding: {size: 10s, every: 5s}, combine: true, allowed_lateness: 2s, select: {events: count()}}\n"
    )
    rig = ExplainRig(*aws, tmp_path, f"over-all-{next(NUMBERS)}", windows=windows)
    rig.start()
    for number in range(12):
        rig.put_event(f"user-{number}", 1000 + number, page="/a", amount=number)
    for number in range(12):
        rig.put_event(f"user-{number}", 20_000 + number, page="/")
    return rig


def _over_all(rig: ExplainRig, capsys: Capture, *arguments: str) -> list[dict[str, Any]]:
    said = rig.explain(capsys, *arguments, "--json")
    assert (said.status, said.err) == (EXIT_OK, "")
    combined = said.json["combined"]
    assert isinstance(combined, list)
    return combined


def test_the_row_of_a_global_window_is_the_one_that_is_sent(total: ExplainRig, capsys: Capture) -> None:
    """Of a tumbling and of a sliding one, with its bytes; and which shards have a part of it."""
    for _ in range(3):  # to contribute, to tell and to combine
        total.live(Random(1))
        for shard in (FIRST, SECOND):
            total.owners[shard].combine()
    sent = total.sent().values()
    (row,) = _over_all(total, capsys, "pages", "/a", "--at", "2026-01-01T00:00:05Z")
    assert (row["status"], row["shards"], row["waits_for"], row["exact"]) == ("complete", [FIRST, SECOND], [], True)
    assert (row["row"]["events"], row["row"]["sum"]) == (12, 66)
    assert row["row"] in [json.loads(each) for each in sent]
    text = total.explain(capsys, "pages", "/a", "--at", "2026-01-01T00:00:05Z").out
    assert any(each.decode() in text for each in sent)
    assert "Over all shards:\n2026-01-01T00:00:00.000Z to 2026-01-01T00:00:10.000Z: complete\n  row " in text
    assert "exact    the row that is sent is the one above, id and bytes" in text
    both = _over_all(total, capsys, "trend", "--at", "2026-01-01T00:00:04Z")
    assert [each["window_start"] for each in both] == ["2025-12-31T23:59:55.000Z", "2026-01-01T00:00:00.000Z"]
    assert all(each["row"] in [json.loads(row) for row in sent] for each in both)
    (none,) = _over_all(total, capsys, "pages", "/nobody", "--at", "2026-01-01T00:00:05Z")
    assert (none["status"], none["row"], none["shards"]) == ("complete", None, [])


def test_what_a_global_window_waits_for_is_told(total: ExplainRig, capsys: Capture) -> None:
    """A shard that nobody has begun with, one that has had no event, and one that is behind."""
    asked = ("pages", "/a", "--at", "2026-01-01T00:00:05Z")
    total.work(FIRST)
    (row,) = _over_all(total, capsys, *asked)
    assert (row["status"], row["shards"]) == ("uncovered", [FIRST])
    assert "waits until all shards have told of their progress" in total.explain(capsys, *asked).out
    owner = total.owner(SECOND)
    (row,) = _over_all(total, capsys, *asked)
    assert (row["status"], row["waits_for"]) == ("waiting", [{"shard": SECOND, "watermark": None}])
    assert f"waits for {SECOND}, which has had no event; all are to pass" in total.explain(capsys, *asked).out
    owner.step(total.records(SECOND)[:3])
    owner.commit(lambda _: True)
    owner.commit(lambda _: True)
    (row,) = _over_all(total, capsys, "pages", "/", "--at", "2026-01-01T00:00:25Z")
    assert (row["status"], row["row"], len(row["waits_for"])) == ("waiting", None, 2)
    assert row["waits_for"][0]["shard"] == SECOND, "the furthest behind comes first"
    text = total.explain(capsys, "pages", "/", "--at", "2026-01-01T00:00:25Z").out
    assert "and for 1 more shard; all are to pass 2026-01-01T00:00:29.999Z" in text


@pytest.mark.parametrize(
    ("began_ms", "status"),
    [
        ((0, 0), "complete"),
        ((0, 1_000), "complete"),
        ((0, 1_001), "before it was added"),
        ((0, None), "not counted by all"),
    ],
)
def test_a_window_that_was_added_has_rows_from_when_all_shards_count_it(
    total: ExplainRig, began_ms: Sequence[int | None], status: str
) -> None:
    program = total.program.windows[0]
    halves = (("0", str(2**127 - 1)), (str(2**127), str(2**128 - 1)))
    members = [
        Progress(
            f"shard-{number}",
            0,
            (),
            halves[number],
            10**12,
            1,
            1,
            began=() if since_ms is None else ((program.hash[:NAME_DIGITS], since_ms),),
        )
        for number, since_ms in enumerate(began_ms)
    ]
    assert combined._status(program, completion(members, 0), 1_000, is_waiting=False) == status


def test_parts_that_were_contributed_are_held_against_the_records(
    total: ExplainRig, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is lost, as after twice the retention; of one the values are others."""
    asked = ("pages", "/a", "--at", "2026-01-01T00:00:05Z")
    for shard in (FIRST, SECOND):
        total.work(shard)
    assert _over_all(total, capsys, *asked)[0]["reasons"] == []
    read = DynamoStore.read_contributions

    def without_second(*arguments: Any, **keywords: Any) -> list[Contribution]:
        return [each for each in read(*arguments, **keywords) if each.origin == FIRST]

    monkeypatch.setattr(DynamoStore, "read_contributions", without_second)
    (row,) = _over_all(total, capsys, *asked)
    assert (row["exact"], row["shards"]) == (False, [FIRST])
    assert f"UNSURE   what {SECOND} contributed is not stored any more" in total.explain(capsys, *asked).out

    def first_twice(*arguments: Any, **keywords: Any) -> list[Contribution]:
        found = without_second(*arguments, **keywords)
        return found + [msgspec.structs.replace(each, origin=SECOND) for each in found]

    monkeypatch.setattr(DynamoStore, "read_contributions", first_twice)
    (row,) = _over_all(total, capsys, *asked)
    assert row["reasons"] == [f"what {SECOND} contributed is not what its records give"]


def test_what_the_page_shows_is_what_the_command_says(
    aws: tuple[Emulator, World], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To write the page anew: what the failing comparison shows. Of each answer it shows the beginning."""
    texts = [part.text for part in parts("explain.md") if isinstance(part, Code) and part.language == "text"]
    shown = [text.partition("\n") for text in texts]
    assert len(shown) == 2
    monkeypatch.chdir(tmp_path)
    combining_shop(aws, tmp_path)
    for command, _, said in shown:
        capsys.readouterr()
        assert main(shlex.split(command.removeprefix("$ streamgauge "))) == EXIT_OK
        expected = said.splitlines()
        assert capsys.readouterr().out.splitlines()[: len(expected)] == expected
