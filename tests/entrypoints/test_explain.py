"""`streamgauge explain`, against what workers have sent: through deaths, idle decisions, splits and merges."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from consumer.emulator.server import Emulator
from consumer.entrypoints.explain import replay as replaying
from consumer.errors import EXIT_OK, EXIT_REFUSED
from consumer.pipeline.model import Window
from consumer.runtime import ledger
from consumer.sources.reading import Page, ShardReader
from tests.entrypoints.explain_rig import ExplainRig
from tests.entrypoints.state_rig import FIRST, Said, World
from tests.seeds import deep_only

Capture = pytest.CaptureFixture[str]
BY_TIME = ("minutes", "patient", "trend", "pages", "all")
"""The windows whose edges are known without their events."""
NUMBERS = count(1)


@pytest.fixture
def rig(aws: tuple[Emulator, World], tmp_path: Path) -> ExplainRig:
    return ExplainRig(*aws, tmp_path, f"explained-{next(NUMBERS)}")


@pytest.fixture(autouse=True)
def _nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for a read, which would be time of the stream's, nor for the ledger's idle decisions."""
    monkeypatch.setattr(replaying, "READ_PAUSE_SECONDS", 0)
    monkeypatch.setattr(ledger, "DECISION_SECONDS", 0.0)


@dataclass
class Life:
    """What became of a random stream."""

    rig: ExplainRig
    rows: list[dict[str, Any]]
    late: list[dict[str, Any]]

    @classmethod
    def of(cls, rig: ExplainRig, random: Random, *, kill: float, idle: float, reshards: int = 2) -> Life:
        rig.start()
        now_ms = rig.put_some(random, 80, 0)
        rig.live(random, kill=kill, idle=idle)
        for number in range(reshards):
            if number % 2:
                rig.merge()
            else:
                rig.split(random.choice(rig.open_shards()))
            now_ms = rig.put_some(random, 60, now_ms)
            rig.live(random, kill=kill, idle=idle)
        sent = [json.loads(row) for row in rig.sent().values()]
        return cls(rig, [row for row in sent if "reason" not in row], [row for row in sent if "reason" in row])

    def window(self, row: dict[str, Any]) -> Window:
        return next(window for window in self.rig.pipeline.windows if window.name == row["window"])

    def of_group(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        """Return all rows of a row's group and window_start."""
        names = ["window", "window_start", "shard", *(name.name for name in self.window(row).by)]
        return [each for each in self.rows if all(each.get(name) == row.get(name) for name in names)]

    def late_for(self, row: dict[str, Any]) -> set[str]:
        """Return the sequence numbers of the events that were late for a row's group and window_start."""
        names = [name.name for name in self.window(row).by]
        return {
            late["sequence_number"]
            for late in self.late
            if (late["window"], late["window_start"]) == (row["window"], row["window_start"])
            and row.get("shard") in (None, late["shard"])
            and all(json.loads(base64.b64decode(late["data"]))[name] == row[name] for name in names)
        }


def _asked(life: Life, capsys: Capture, row: dict[str, Any], *more: str) -> dict[str, Any]:
    """Ask what made a row; return its part of the answer."""
    window = life.window(row)
    key = [json.dumps([row[name.name] for name in window.by])] if window.by else []
    shard = [] if window.aligned else ["--shard", row["shard"]]
    asked = [window.name, *key, "--at", row["window_start"], *shard, "--late-for", "1h", "--json", *more]
    said = life.rig.explain(capsys, *asked)
    assert (said.status, said.err) == (EXIT_OK, "")
    (part,) = said.json["parts"]
    assert isinstance(part, dict)
    return part


def _emitted(part: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for window in part["windows"] for row in window["rows"] if row["emitted"]]


def _assert_explained(life: Life, row: dict[str, Any], part: dict[str, Any]) -> None:
    told = _emitted(part)
    assert row in [each["row"] for each in told]
    assert all(each["row"] in life.rows for each in told), "no row that was not sent"
    assert all(each["row"]["events"] == each["records"] for each in told)
    if row["window"] in BY_TIME:
        (window,) = (each for each in part["windows"] if each["window_start"] == row["window_start"])
        assert {each["row"]["id"] for each in window["rows"] if each["emitted"]} == {
            each["id"] for each in life.of_group(row)
        }
        assert {each["sequence_number"] for each in window["late"]} == life.late_for(row)


@pytest.mark.parametrize(("seed", "seconds"), [(1, 0.0), (2, 60.0), deep_only(3, 0.2)])
def test_the_rows_are_those_that_were_sent(
    seed: int, seconds: float, rig: ExplainRig, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a mark a commit or few of them: ids, bytes, revisions, how many records made each, who was late."""
    monkeypatch.setattr(ledger, "MARK_SECONDS", seconds)
    random = Random(seed)
    life = Life.of(rig, random, kill=0.1, idle=0.4)
    before = rig.stored()
    windows = rig.pipeline.windows if seed == 1 else random.sample(rig.pipeline.windows, 4)
    for window in windows:
        rows = [row for row in life.rows if row["window"] == window.name]
        row = random.choice([row for row in rows if row["revision"]] or rows)
        part = _asked(life, capsys, row)
        assert part["reasons"] == []
        _assert_explained(life, row, part)
    assert rig.stored() == before, "it only reads"


def test_a_row_is_told_byte_for_byte(rig: ExplainRig, capsys: Capture) -> None:
    _simple(rig)
    said = rig.explain(capsys, "minutes", "user-1", "--at", "2026-01-01T00:00:05Z", "--json")
    (row,) = (row for row in rig.sent().values() if b'"minutes"' in row and b'"events":3' in row)
    assert row.decode() in said.out
    assert row.decode() in rig.explain(capsys, "minutes", "user-1", "--at", "2026-01-01T00:00:05Z").out


def _ask_one(rig: ExplainRig, capsys: Capture, *arguments: str) -> dict[str, Any]:
    said = rig.explain(capsys, *arguments, "--json")
    assert (said.status, said.err) == (EXIT_OK, "")
    (part,) = said.json["parts"]
    assert isinstance(part, dict)
    return part


def _simple(rig: ExplainRig) -> None:
    """Two users in one minute of the first shard's; one event is filtered out, one broken, one late."""
    rig.start()
    for at_ms, amount in ((1000, 5), (2000, 13), (3500, 20), (2500, 1)):
        rig.put_event("user-1", at_ms, amount=amount, page="/a")
    rig.emulator.kinesis.put_record(rig.name, "user-1", b"broken")
    rig.put_event("user-1", 15_000)
    rig.put_event("user-1", 9000, amount=2)
    rig.live(Random(1))


def test_records_and_what_became_of_the_others_are_told(rig: ExplainRig, capsys: Capture) -> None:
    _simple(rig)
    (window,) = _ask_one(rig, capsys, "minutes", "user-1", "--at", "2026-01-01T00:00:05Z", "--records")["windows"]
    assert window["status"] == "emitted"
    records = window["records"]
    assert [each["event_time"][17:23] for each in records["all"]] == ["01.000", "03.500", "02.500"]
    assert records["first"] == records["all"][0]
    assert records["last"] == records["all"][-1]
    assert records["count"] == sum(records["by_shard"].values()) == 3
    assert "data" not in records["first"]
    assert window["filtered"] == 1
    (late,) = window["late"]
    assert (late["event_time"], late["lateness_ms"]) == ("2026-01-01T00:00:09.000Z", 3000)
    with_data = _ask_one(rig, capsys, "minutes", "user-1", "--at", "2026-01-01T00:00:05Z", "--payload")["windows"][0]
    assert json.loads(base64.b64decode(with_data["records"]["all"][1]["data"]))["amount"] == 20


def test_without_a_time_the_newest_event_decides(rig: ExplainRig, capsys: Capture) -> None:
    """Its window is open: what it holds by now is told, and that it was not sent."""
    _simple(rig)
    (window,) = _ask_one(rig, capsys, "minutes", "user-1")["windows"]
    assert (window["window_start"], window["status"]) == ("2026-01-01T00:00:10.000Z", "open")
    assert [(row["emitted"], row["records"], row["row"]["events"]) for row in window["rows"]] == [(False, 1, 1)]
    said = rig.explain(capsys, "minutes", "nobody")
    assert said.status == EXIT_REFUSED
    assert "no event of user=nobody that counts in window minutes" in said.err


def test_every_part_of_a_partial_window_is_told(rig: ExplainRig, capsys: Capture) -> None:
    rig.start()
    for number in range(6):
        rig.put_event(f"user-{number}", 1000 + number, page="/a")
    rig.live(Random(1))
    said = rig.explain(capsys, "pages", "/a", "--json")
    parts = said.json["parts"]
    assert len(parts) == 2
    assert sum(part["windows"][0]["records"]["count"] for part in parts) == 6
    one = rig.explain(capsys, "pages", "/a", "--json", "--shard", "0").json
    assert [part["shard"] for part in one["parts"]] == [FIRST]
    assert one["parts"][0] == parts[0]
    assert "Nothing of it in" in rig.explain(capsys, "pages", "null", "--at", "2026-01-01T00:00:05Z").out


def test_the_parts_of_a_global_window_are_told(aws: tuple[Emulator, World], tmp_path: Path, capsys: Capture) -> None:
    """As rows that they would be alone; another global window is no hindrance."""
    windows = (
        "  pages: {tumbling: 10s, by: [page], combine: true, buckets: 3, select: {events: count()}}\n"
        "  trend: {sliding: {size: 10s, every: 5s}, combine: true, select: {events: count()}}\n"
    )
    rig = ExplainRig(*aws, tmp_path, f"explained-{next(NUMBERS)}", windows=windows)
    rig.start()
    for number in range(6):
        rig.put_event(f"user-{number}", 1000 + number, page="/a")
    for number in range(6):
        rig.put_event(f"user-{number}", 20_000 + number, page="/")
    rig.live(Random(1))
    said = rig.explain(capsys, "pages", "/a", "--at", "2026-01-01T00:00:05Z", "--json")
    assert (said.status, said.err) == (EXIT_OK, "")
    assert said.json["global"]
    parts = said.json["parts"]
    rows = [row for part in parts for window in part["windows"] for row in window["rows"]]
    assert len(parts) == 2
    assert all(row["emitted"] for row in rows)
    assert sum(row["row"]["events"] for row in rows) == 6
    assert [row["row"]["shard"] for row in rows] == [part["shard"] for part in parts]
    text = rig.explain(capsys, "pages", "/a", "--at", "2026-01-01T00:00:05Z").out
    assert "The window is global: its row puts these parts together" in text
    assert text.count("exact    the shard contributed the values above") == 2
    one = rig.explain(capsys, "trend", "--at", "2026-01-01T00:00:05Z", "--json", "--shard", "0").json
    assert [part["shard"] for part in one["parts"]] == [FIRST]
    assert one["combined"] == [], "of one part alone there is no row"


def test_a_dead_letter_of_the_group_is_told(capsys: Capture, aws: tuple[Emulator, World], tmp_path: Path) -> None:
    """One that would have opened a group beyond the limit: it can be decoded."""
    limits = "limits: {groups: 2}\n"
    windows = "  minutes: {tumbling: 10s, by: [user], select: {events: count()}}\n"
    rig = ExplainRig(*aws, tmp_path, f"limited-{next(NUMBERS)}", shards=1, windows=windows, limits=limits)
    rig.start()
    for user in ("a", "b", "c", "a"):
        rig.put_event(user, 1000)
    rig.live(Random(1))
    (window,) = _ask_one(rig, capsys, "minutes", "c", "--at", "2026-01-01T00:00:05Z")["windows"]
    assert (window["status"], window["dead_letters"]) == ("empty", {"state_limit": 1})


# What cannot be certain


def _reasons(rig: ExplainRig, capsys: Capture, *arguments: str) -> str:
    part = _ask_one(rig, capsys, *arguments)
    assert part["exact"] == (not part["reasons"])
    return "; ".join(part["reasons"])


def _change_ledgers(rig: ExplainRig, keep: Any) -> None:
    for shard in rig.store.list_shards():
        stored = rig.store.read_ledger(shard)
        assert stored is not None
        marks = tuple(mark for number, mark in enumerate(stored.marks) if keep(number, mark))
        rig.store.write_ledger(shard, msgspec.structs.replace(stored, marks=marks))


def test_without_a_ledger_it_says_so(rig: ExplainRig, capsys: Capture) -> None:
    _simple(rig)
    for shard in rig.store.list_shards():
        key = {"pk": {"S": f"{rig.name}/{shard}"}, "sk": {"S": "ledger"}}
        rig.database.delete_item(TableName=f"{rig.name}-state", Key=key)
    part = _ask_one(rig, capsys, "minutes", "user-1", "--at", "2026-01-01T00:00:05Z")
    assert "has no ledger" in part["reasons"][0]
    assert part["windows"][0]["records"]["count"] == 3
    said = rig.explain(capsys, "minutes", "user-1", "--at", "2026-01-01T00:00:05Z")
    assert "UNSURE" in said.out
    assert "  exact" not in said.out


def test_a_ledger_that_does_not_reach_back_says_so(rig: ExplainRig, capsys: Capture) -> None:
    _simple(rig)
    rig.put_event("user-1", 16_000)
    rig.owners.clear()
    rig.live(Random(1))
    _change_ledgers(rig, lambda number, _: number)
    reasons = _reasons(rig, capsys, "minutes", "user-1", "--at", "2026-01-01T00:00:05Z")
    assert "the ledger reaches back to where events of 2026-01-01T00:00:00.000Z may have been read" in reasons


def test_records_that_the_stream_has_lost_are_missed(
    rig: ExplainRig, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker has counted more: of the retention nothing else tells."""
    _simple(rig)
    rig.owners.clear()
    rig.put_event("user-1", 16_000)
    rig.live(Random(1))
    page = ShardReader.page

    def trimmed(reader: ShardReader) -> Page:
        whole = page(reader)
        return Page(whole.records[2:], whole.behind_ms, whole.is_last)

    monkeypatch.setattr(ShardReader, "page", trimmed)
    reasons = _reasons(rig, capsys, "minutes", "user-1", "--at", "2026-01-01T00:00:05Z")
    assert "older than its retention" in reasons


@pytest.mark.parametrize("keeps_next", [True, False])
def test_an_idle_decision_that_is_not_in_the_ledger_is_missed(
    rig: ExplainRig, capsys: Capture, monkeypatch: pytest.MonkeyPatch, *, keeps_next: bool
) -> None:
    """By the number of decisions in a later mark; or, without one, by the state's watermark."""
    rig.start()
    rig.put_event("user-1", 1000)
    rig.live(Random(1))
    (shard,) = (shard for shard, claim in rig.store.list_shards().items() if claim.state and claim.state.position)
    rig.world.now_ms += 30_000
    owner = rig.owners[shard]
    assert owner.idle() is not None
    owner.commit(lambda _: True)
    if keeps_next:
        monkeypatch.setattr(ledger, "MARK_SECONDS", 0.0)
        rig.put_event("user-1", 60_000)
        rig.live(Random(1))
    asked = ("minutes", "user-1", "--at", "2026-01-01T00:00:05Z")
    assert _reasons(rig, capsys, *asked) == ""
    _change_ledgers(rig, lambda _, mark: not mark.idle)
    assert "idle decision" in _reasons(rig, capsys, *asked)


def test_groups_that_were_emitted_early_are_not_certain(
    capsys: Capture, aws: tuple[Emulator, World], tmp_path: Path
) -> None:
    windows = "  minutes: {tumbling: 10s, by: [user], select: {events: count()}}\n"
    limits = "limits: {groups: 2, policy: emit_early}\n"
    rig = ExplainRig(*aws, tmp_path, f"early-{next(NUMBERS)}", shards=1, windows=windows, limits=limits)
    rig.start()
    for user in ("a", "b", "c", "a"):
        rig.put_event(user, 1000)
    rig.live(Random(1))
    rig.owners.clear()
    rig.live(Random(1))
    assert "emitted early" in _reasons(rig, capsys, "minutes", "a", "--at", "2026-01-01T00:00:05Z")


# What is refused


def test_another_file_or_an_unknown_shard_is_refused(rig: ExplainRig, capsys: Capture) -> None:
    _simple(rig)
    said: Said = rig.explain(capsys, "pages", "/a", "--shard", "77")
    assert "no state of a shard shardId-000000000077" in said.err
    rig.file.write_text(rig.file.read_text().replace("gap: 4s", "gap: 5s"))
    said = rig.explain(capsys, "minutes", "user-1")
    assert said.status == EXIT_REFUSED
    assert "session gap 4s, is now session gap 5s" in said.err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("hours", "x"), "has no window 'hours'. It has: minutes, patient"),
        (("minutes",), "say KEY, as VALUE, user=VALUE or a JSON list"),
        (("all", "x"), "has no `by`"),
        (("patient", "user-1"), "is not of the form user=VALUE,page=VALUE or a JSON list"),
        (("patient", "user=a"), "KEY lacks page"),
        (("patient", "user=a,page=/,x=1"), "KEY names x"),
        (("patient", '["a"]'), "KEY has 1 values for 2 columns"),
        (("patient", '["a"'), "no JSON list"),
        (("minutes", "null"), "user is never null"),
        (("minutes", "a", "--at", "noon"), "--at 'noon'"),
        (("minutes", "a", "--at", "²"), "--at '²'"),
        (("minutes", "a", "--at=--5"), "--at '--5'"),
        (("minutes", "a", "--at", "99999999999999999999"), "ISO-8601"),
        (("minutes", "a", "--late-for", "soon"), "--late-for 'soon'"),
        (("minutes", "a", "--shard", "1"), "leave --shard out"),
    ],
)
def test_a_question_that_is_none_is_told_how_to_ask(
    rig: ExplainRig, capsys: Capture, arguments: Sequence[str], text: str
) -> None:
    said = rig.explain(capsys, *arguments)
    assert said.status == 2
    assert text in said.err
