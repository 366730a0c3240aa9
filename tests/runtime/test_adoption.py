"""Windows are added and removed: what is adopted, what is refused, and what no death in between loses or doubles."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from random import Random

import msgspec
import pytest

from consumer.core.compile import compile_pipeline
from consumer.core.processor import Processor
from consumer.errors import FencedError, RefusedError
from consumer.pipeline.definitions import definitions_hash, definitions_text
from consumer.pipeline.load import load_text
from consumer.pipeline.model import Pipeline, Removal
from consumer.records import Position
from consumer.runtime import adoption, commit
from consumer.runtime.adoption import Programs, adopt, adopted, former_windows
from consumer.runtime.commit import ShardOwner
from consumer.state.base import Application, Definitions, RemovedWindow
from consumer.state.memory import MemoryStore
from tests.random_streams import records
from tests.runtime.changing import ChangingFamily
from tests.runtime.test_resharding import ORIGINS
from tests.runtime.world import STREAM_CREATED_MS
from tests.seeds import deep_only

FILE = """\
pipeline: shop
source: {stream: shop, partition_key: user}
events:
  fields: {user: string, at: timestamp, s: "string?", i: int, j: "int?", f: float, g: "float?", b: "bool?"}
  time: at
  max_future: "off"
windows:
  views: {tumbling: 10ms, by: [s], combine: false, select: {n: count()}, allowed_lateness: 20ms}
  visits: {session: 15ms, by: [user], select: {n: count(), first: first(s)}}
  trend: {sliding: {size: 20ms, every: 7ms}, by: [user], select: {n: count()}}
  long: {stagger: 1s, by: [user], select: {n: count(), sum: sum(i)}}
  total: {tumbling: 1h, combine: false, select: {n: count()}}
sinks: [{stdout: {}}]
late: {stdout: {}}
dead_letter: {stdout: {}}
state: {table: table, bucket: bucket}
"""
ALL = load_text(FILE, "shop.yaml", {})
NAMES = tuple(window.name for window in ALL.windows)


def _with(*names: str, **removals: Removal) -> Pipeline:
    windows = tuple(window for window in ALL.windows if window.name in names)
    return replace(ALL, windows=windows, state=replace(ALL.state, removed_windows=tuple(removals.items())))


def _begun(pipeline: Pipeline) -> Application:
    text = definitions_text(pipeline)
    return Application(0, 0, ("low", "high"), definitions_hash(pipeline), STREAM_CREATED_MS, meaning=text)


# What is adopted


def test_the_same_definitions_are_no_adoption() -> None:
    stored = _begun(_with("views", "visits"))
    assert adopted(stored, _with("views", "visits", long="drop")) is stored


def test_an_adoption_says_all_that_is_needed_to_carry_a_state_over() -> None:
    old, new = _with("views", "visits", "trend"), _with("views", "long", "total", visits="flush", trend="drop")
    stored = _begun(old)
    after = adopted(stored, new)
    assert after == msgspec.structs.replace(
        stored,
        definitions=definitions_hash(new, {"long": 1, "total": 1}),
        meaning=definitions_text(new),
        adoptions=1,
        incarnations=(("long", 1), ("total", 1)),
        earlier=(Definitions(stored.definitions, stored.meaning),),
        removed=(RemovedWindow("visits", 0, "flush"), RemovedWindow("trend", 0, "drop")),
    )
    assert former_windows(after) == {"views", "visits", "trend"}


def test_a_roll_back_removes_what_was_added_by_the_same_rule() -> None:
    stored = _begun(_with("views"))
    there = adopted(stored, _with("views", "long"))
    with pytest.raises(RefusedError, match=r"windows\.long: no longer in the file"):
        adopted(there, _with("views"))
    back = adopted(there, _with("views", long="drop"))
    assert (back.definitions, back.meaning, back.incarnations) == (stored.definitions, stored.meaning, ())
    assert [each.hash for each in back.earlier] == [there.definitions], "what is there now is no earlier one"
    assert back.removed == (RemovedWindow("long", 1, "drop"),)
    again = adopted(back, _with("views", "long"))
    assert again.incarnations == (("long", 3),)
    assert again.definitions not in {there.definitions, back.definitions}
    assert [each.hash for each in again.earlier] == [there.definitions, back.definitions]


def _with_global(*names: str, **removals: Removal) -> Pipeline:
    """Return what is global in it: `total`."""
    made = _with(*names, **removals)
    windows = (replace(w, emit="final", buckets=2) if w.name == "total" else w for w in made.windows)
    return replace(made, windows=tuple(windows))


def test_a_global_window_that_is_removed_is_only_dropped() -> None:
    stored = _begun(_with_global("views", "total"))
    with pytest.raises(
        RefusedError, match=r"windows\.total: global, and no longer .*\{total: drop\}\}` throws it away"
    ):
        adopted(stored, _with("views", total="flush"))
    with pytest.raises(
        RefusedError, match=r"windows\.total: no longer .*becomes of that: `.*\{total: drop\}\}` throws"
    ):
        adopted(stored, _with("views"))
    with pytest.raises(RefusedError, match=r"\{views: flush, total: drop\}\}` emits it as it is"):
        adopted(stored, _with("visits"))
    after = adopted(stored, _with("views", total="drop"))
    assert after.removed == (RemovedWindow("total", 0, "drop"),)
    added = adopted(after, _with_global("views", "total"))
    assert added.incarnations == (("total", 2),)


def test_a_window_does_not_become_global_on_the_way() -> None:
    with pytest.raises(RefusedError, match=r"windows\.total\.combine: was not true, is now true, buckets: 2"):
        adopted(_begun(_with("views", "total")), _with_global("views", "total", total="drop"))


def test_a_window_of_another_name_is_another_window() -> None:
    renamed = replace(
        ALL,
        windows=tuple(replace(w, name="stays") if w.name == "visits" else w for w in ALL.windows),
        state=replace(ALL.state, removed_windows=(("visits", "flush"),)),
    )
    after = adopted(_begun(ALL), renamed)
    assert after.incarnations == (("stays", 1),)
    assert after.removed == (RemovedWindow("visits", 0, "flush"),)


CHANGES: dict[str, Callable[[str], str]] = {
    "events.out_of_orderness: was 0s, is now 5ms": lambda text: text.replace(
        "  time: at\n", "  time: at\n  out_of_orderness: 5ms\n"
    ),
    "windows.views.allowed_lateness: was 20ms, is now 30ms": lambda text: text.replace(
        "20ms}\n  visits", "30ms}\n  visits"
    ),
    "where: was nothing, is now i > 0": lambda text: text.replace("windows:", "where: i > 0\nwindows:"),
    "let.twice: was nothing, is now i * 2 (int)": lambda text: text.replace(
        "windows:", "let: {twice: i * 2}\nwindows:"
    ),
    "limits.groups: was 1000000, is now 999": lambda text: text + "limits: {groups: 999}\n",
}


@pytest.mark.parametrize("told", CHANGES)
@pytest.mark.parametrize("also_removed", [True, False])
def test_every_other_change_is_refused_with_the_difference_and_what_to_do(told: str, *, also_removed: bool) -> None:
    changed = load_text(CHANGES[told](FILE), "shop.yaml", {})
    removed = ""
    if also_removed:
        state = replace(ALL.state, removed_windows=(("total", "drop"),))
        changed = replace(changed, windows=changed.windows[:-1], state=state)
        removed = "windows.total: was there, is now removed"
    with pytest.raises(RefusedError) as refused:
        adopted(_begun(ALL), changed)
    differences = "; ".join(sorted([told, *filter(None, [removed])], key=_place))
    assert str(refused.value) == (
        f"the definitions of pipeline shop have changed since its state was made: {differences}. Windows may be added "
        "and removed, nothing else may change: go back to the file as it was; or count everything anew, with "
        "`streamgauge state reset --yes FILE`; or give the pipeline a new name (and worker.application) to run it "
        "beside the old one"
    )


def _place(difference: str) -> tuple[bool, bool]:
    return difference.startswith("windows"), not difference.startswith("windows.total")


def test_the_order_of_the_windows_that_stay_may_not_change() -> None:
    turned = replace(ALL, windows=(ALL.windows[1], ALL.windows[0], *ALL.windows[2:]))
    with pytest.raises(RefusedError, match="windows: their order was views, visits, trend, long, total"):
        adopted(_begun(ALL), turned)


def test_what_becomes_of_each_removed_window_must_be_told() -> None:
    with pytest.raises(RefusedError) as refused:
        adopted(_begun(ALL), _with("views", "visits", "trend", long="drop"))
    assert str(refused.value) == (
        "windows.total: no longer in the file of pipeline shop, and its state may hold what is open of it. Say in the "
        "file what becomes of that: `state: {removed_windows: {total: flush}}` emits it as it is, at once; `drop` in "
        "the place of `flush` throws it away. Or go back to the file as it was; or count everything anew, with "
        "`streamgauge state reset --yes FILE`; or give the pipeline a new name (and worker.application) to run it "
        "beside the old one"
    )
    with pytest.raises(
        RefusedError, match=r"windows\.long, windows\.total: .* of them\. .*\{long: flush, total: flush\}"
    ):
        adopted(_begun(ALL), _with("views", "visits", "trend"))


def test_an_item_of_the_first_version_goes_on_only_with_the_same_definitions() -> None:
    """It lacks the text of its definitions, so that no state of them can be read by another program."""
    stored = msgspec.structs.replace(_begun(_with("views")), meaning="")
    assert adopted(stored, _with("views")) is stored
    with pytest.raises(RefusedError, match=r"have changed since its state was made\. Windows may be added"):
        adopted(stored, _with("views", "long"))


def test_earlier_definitions_are_kept_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "EARLIER_MAX", 3)
    monkeypatch.setattr(adoption, "REMOVED_MAX", 2)
    stored = _begun(_with("views"))
    hashes = [stored.definitions]
    for number in range(6):
        stored = adopted(stored, _with("views", long="drop") if number % 2 else _with("views", "long"))
        hashes.append(stored.definitions)
    first, *added, last = [hashes[0], *hashes[1:6:2], hashes[6]]
    assert last == first, "the definitions of the beginning, again"
    assert [each.hash for each in stored.earlier] == added
    assert [each.incarnation for each in stored.removed] == [3, 5]
    monkeypatch.setattr(adoption, "EARLIER_CHARACTERS_MAX", len(stored.earlier[-1].text) + len(stored.meaning))
    assert len(adopted(stored, _with("views", "total")).earlier) < 3


def test_of_two_who_adopt_at_once_the_loser_finds_itself_equal_or_goes_on_from_the_winner() -> None:
    stored = _begun(_with("views"))
    family = ChangingFamily(ALL, list(records(_random(), 3)))
    store = MemoryStore(family.memory)
    family.memory.application = stored
    new = _with("views", "long")
    assert adopt(stored, new, store.adopt) == adopt(stored, new, store.adopt)
    both = adopt(stored, _with("views", "long", "total"), store.adopt)
    assert both.incarnations == (("long", 1), ("total", 2))
    with pytest.raises(RefusedError, match=r"windows\.total: no longer"):
        adopt(stored, _with("views", "trend", "long"), store.adopt)
    assert family.memory.application == both


def test_unknown_definitions_are_refused() -> None:
    program = compile_pipeline(_with("views"))
    with pytest.raises(RefusedError, match=r"definitions that pipeline shop does not know \(hash ffffffffffff…\)"):
        Programs().of("f" * 64, _begun(_with("views")), program)


def test_a_program_of_earlier_definitions_is_compiled_once() -> None:
    application = adopted(adopted(_begun(_with("views")), _with("views", "long")), _with("views", "long", "total"))
    today = compile_pipeline(_with("views", "long", "total"), incarnations=dict(application.incarnations))
    programs = Programs()
    assert programs.of(today.definitions, application, today) is today
    earlier = application.earlier[1]
    program = programs.of(earlier.hash, application, today)
    assert program.definitions == earlier.hash
    assert programs.of(earlier.hash, application, today) is program
    assert [window.hash for window in program.windows] == [window.hash for window in today.windows[:2]]


# States are carried over


def _random() -> Random:
    return Random(5)


def _family(*names: str, count: int = 90) -> ChangingFamily:
    family = ChangingFamily(ALL, list(records(_random(), count)))
    family.begin(list(names))
    return family


def _serve_rest(family: ChangingFamily) -> None:
    for shard in ORIGINS:
        if not family.leases[shard].ended:
            family.serve(shard)
    family.assert_exact()


def test_the_first_rows_of_an_added_window_hold_what_came_after() -> None:
    family = _family("views")
    all_records = family.leases["low"].records
    family.leases["low"].records = all_records[:6]
    family.serve("low", end="lost")
    family.change(["views", "total"], {})
    family.leases["low"].records = all_records
    family.serve("low")
    (told,) = family.told("state_carried_over")
    assert (told["shard"], told["added"], told["flushed"], told["rows"]) == ("low", ["total"], [], 0)
    last = Position.of(all_records[5])
    assert told["position"] == f"{last.sequence}:{last.sub_sequence}"
    assert told["watermark"] is not None
    state = family.state("low")
    assert state.definitions == family.application.definitions
    _serve_rest(family)


def test_a_flushed_window_has_its_rows_and_a_dropped_one_is_counted() -> None:
    family = _family("views", "long", "total")
    low = family.leases["low"]
    all_records, low.records = low.records, low.records[:8]
    family.serve("low", end="lost")
    sent = len(family.sink.rows)
    family.change(["views"], {"long": "flush", "total": "drop"})
    low.records = all_records[:8]
    family.serve("low", end="lost")
    flushed = [json.loads(row) for row in family.sink.rows[sent:]]
    assert flushed
    assert {row["window"] for row in flushed} == {"long"}
    assert all(row["final"] for row in flushed)
    (told,) = family.told("groups_dropped")
    assert (told["window"], told["reason"], told["groups"]) == ("total", "window_removed", 1)
    low.records = all_records
    _serve_rest(family)


def test_a_window_that_comes_again_has_other_ids() -> None:
    family = _family("views", "total")
    low = family.leases["low"]
    all_records = low.records
    for names, count in ((["views"], 5), (["views", "total"], 10), (["views"], 15), (["views", "total"], 20)):
        low.records = all_records[:count]
        family.serve("low", end="lost")
        family.change(names, {} if "total" in names else {"total": "flush"})
    low.records = all_records
    _serve_rest(family)
    rows = [json.loads(row) for row in family.unique_rows().values()]
    totals = [row for row in rows if row.get("window") == "total" and "n" in row and row["shard"] == "low"]
    assert len(totals) == 2
    assert len({row["window_start"] for row in totals}) == 1
    assert len({row["id"] for row in totals}) == 2


def test_a_state_that_slept_through_adoptions_is_carried_over_as_was_told_at_the_time() -> None:
    """The last file says nothing of the window any more."""
    family = _family("views", "long", "total")
    low = family.leases["low"]
    all_records, low.records = low.records, low.records[:8]
    family.serve("low", end="lost")
    family.change(["views"], {"long": "flush", "total": "drop"})
    family.change(["views", "trend"], {})
    family.change(["views", "trend", "total"], {})
    low.records = all_records
    family.serve("low", end="lost")
    assert len(family.told("state_carried_over")) == 1
    assert {row.get("window") for row in map(json.loads, family.sink.rows)} >= {"long"}
    _serve_rest(family)


def test_a_worker_of_the_old_file_keeps_its_shards_and_gets_no_others() -> None:
    family = _family("views", "total")
    old = family.surroundings()
    owner = ShardOwner(old, "low")
    owner.initialise(None)
    family.change(["views"], {"total": "drop"})
    owner.step(family.leases["low"].records[:4])
    owner.commit(lambda _: True)
    assert family.state("low").definitions == old.program.definitions
    before = dict(family.memory.items)
    for shard in ("low", "high"):
        with pytest.raises(RefusedError) as refused:
            ShardOwner(old, shard).initialise(None)
        assert str(refused.value) == (
            "the definitions of pipeline shop have been changed by a worker with another file: windows.total: was "
            "there, is now removed. This worker goes on with the shards that it has, and gets no others: start it "
            "again with that file"
        )
    assert family.memory.items == before, "nothing was claimed"
    new = ShardOwner(family.surroundings(), "low")
    new.initialise(None)
    assert family.state("low").definitions == family.application.definitions
    owner.step(family.leases["low"].records[4:6])
    with pytest.raises(FencedError):
        owner.commit(lambda _: True)


def test_definitions_that_went_and_came_back_are_no_change_for_a_running_worker() -> None:
    """It knows more of the earlier ones than at its start: a state of the time between is read."""
    family = _family("views")
    old = family.surroundings()
    family.change(["views", "total"], {})
    family.serve("low", end="lost")
    between = family.state("low").definitions
    family.change(["views"], {"total": "flush"})
    owner = ShardOwner(old, "low")
    owner.initialise(None)
    assert family.state("low").definitions == old.program.definitions != between


def test_an_ended_state_stays_as_it_is_and_is_only_read() -> None:
    family = _family("views", "long", "total")
    family.serve("low")
    family.serve("high")
    before = {shard: family.memory.items[shard] for shard in ("low", "high")}
    family.change(["views", "trend"], {"long": "flush", "total": "drop"})
    family.leases["low"].ended = False
    family.serve("low")
    assert family.leases["low"].ended
    assert family.state("low") == before["low"].state
    family.serve("merged")
    assert family.state("merged").definitions == family.application.definitions
    assert {told["shard"] for told in family.told("state_carried_over")} == {"merged"}
    _serve_rest(family)


def test_children_flush_each_their_own_share_of_an_older_parent() -> None:
    """The same rows twice would have the same ids and bytes; but the second time is not needed."""
    family = _family("views", "visits", "long", "total")
    for shard in ("low", "high", "merged"):
        family.serve(shard)
    sent = len(family.sink.rows)
    family.change(["views"], {"visits": "flush", "long": "flush", "total": "flush"})
    family.serve("split-1")
    first = [json.loads(row) for row in family.sink.rows[sent:]]
    family.serve("split-2")
    assert len(family.sink.rows) == len(set(family.sink.rows))
    second = [json.loads(row) for row in family.sink.rows[sent + len(first) :]]
    for window in ("visits", "long"):
        users = [{row["user"] for row in rows if row.get("window") == window} for rows in (first, second)]
        assert all(users), "both have some"
        assert not users[0] & users[1]
    family.assert_exact()


@pytest.mark.parametrize(
    ("shard", "inline_max_bytes", "rows_max"),
    [
        ("low", 0, 1),
        ("merged", 8192, 10_000),
        ("split-2", 0, 1),
        deep_only("low", 8192, 10_000),
        deep_only("merged", 0, 1),
        deep_only("split-2", 8192, 10_000),
    ],
)
def test_a_death_at_any_step_of_an_adoption_loses_and_doubles_nothing(
    shard: str, inline_max_bytes: int, rows_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a shard's own state, and of those of its parents that it takes over."""
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", inline_max_bytes)
    monkeypatch.setattr(commit, "SMALL_STATE_GROUPS", 0)
    options = Processor.__init__.__kwdefaults__
    assert options is not None
    monkeypatch.setitem(options, "rows_max", rows_max)
    family = _family("views", "visits", "long", "total", count=45)
    family.batch_size = 12
    for each in ORIGINS:
        if each == shard:
            break
        family.serve(each)
    if shard == "low":
        low = family.leases["low"]
        everything, low.records = low.records, low.records[:6]
        family.serve("low", end="lost")
        low.records = everything
    family.change(["views", "trend"], {"long": "flush", "visits": "flush", "total": "drop"})
    saved = family.saved()
    family.steps.clear()
    family.serve(shard)
    steps = family.steps.index("before checkpoint")
    assert steps > 10
    for step in range(steps):
        family.back_to(saved)
        assert family.serve(shard, step)
        _serve_rest(family)
