"""How an explanation is told in lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from consumer.entrypoints.explain.question import key_text
from consumer.entrypoints.state.wording import columns, counted

_LATE_SHOWN = 20
_EXACT = "a row that was sent is the one above, id and bytes"
_EXACT_PART = "the shard contributed the values above"
_EXACT_COMBINED = "the row that is sent is the one above, id and bytes"
_EXACT_SO_FAR = "these are all records that have been counted so far"
_RECORD_COLUMNS = ("shard", "sequence number", "sub", "event time", "arrival")


def lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of an explanation."""
    key = f" of {key_text(facts['key'])}" if facts["key"] else ""
    yield f"Window {facts['window']}{key}, at {facts['at']}"
    yield f"Pipeline {facts['pipeline']}, generation {facts['generation']}"
    if facts["global"]:
        yield from _combined(facts["combined"])
        yield ""
        yield "The window is global: its row puts these parts together, each told as the row it would be alone."
    for part in facts["parts"]:
        yield ""
        yield from _part(part, facts["window"], is_global=facts["global"])
    left_out = facts["parts_without_the_group"]
    if left_out:
        yield ""
        yield f"Nothing of it in {', '.join(left_out)}."


def _combined(windows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if windows:
        yield ""
        yield "Over all shards:"
    for window in windows:
        yield f"{window['window_start']} to {window['window_end']}: {_combined_status(window)}"
        shards = window["shards"]
        if window["row"] is not None:
            so_far = "" if window["status"] == "complete" else "so far, "
            yield f"  row      {bytes(window['row']).decode()}"
            yield f"           {so_far}of the {'parts' if len(shards) > 1 else 'part'} of {', '.join(shards)}"
            if window["exact"] and not so_far:
                yield f"  exact    {_EXACT_COMBINED}"
        for reason in window["reasons"]:
            yield f"  UNSURE   {reason}"


def _combined_status(window: Mapping[str, Any]) -> str:
    if window["status"] != "waiting":
        return _COMBINED_STATUSES[window["status"]]
    first, *others = window["waits_for"]
    more = f", and for {counted(len(others), 'more shard')}" if others else ""
    passed = f"has passed {first['watermark']}" if first["watermark"] else "has had no event"
    return f"waits for {first['shard']}, which {passed}{more}; all are to pass {window['due']}"


def _part(part: Mapping[str, Any], window: str, *, is_global: bool) -> Iterator[str]:
    if part["shard"] is not None:
        yield f"The part of {part['shard']}:"
    statuses = _STATUSES | {"emitted": "contributed"} if is_global else _STATUSES
    for each in part["windows"]:
        yield f"{each['window_start']} to {each['window_end']}: {statuses[each['status']]}"
        yield from _window(each)
    later = part["later_late_events_of_the_window"]
    if later:
        more = counted(later, "more event")
        yield f"           {more} of any group came late for {window} behind what was read: say --late-for"
    yield from _read(part["read"])
    if part["exact"]:
        sent = any(row["emitted"] for window in part["windows"] for row in window["rows"])
        exact = _EXACT_PART if is_global else _EXACT
        yield f"  exact    {exact if sent else _EXACT_SO_FAR}"
    for reason in part["reasons"]:
        yield f"  UNSURE   {reason}"


def _window(window: Mapping[str, Any]) -> Iterator[str]:
    for row in window["rows"]:
        what = "" if row["emitted"] else "so far, "
        text = "lost: see below" if row["row"] is None else bytes(row["row"]).decode()
        yield f"  row      {text}"
        yield f"           {what}of {counted(row['records'], 'record')}"
    records = window["records"]
    if records["count"]:
        split = records["by_shard"] if len(records["by_shard"]) > 1 else {}
        shares = f" ({', '.join(f'{number} from {shard}' for shard, number in split.items())})" if split else ""
        yield f"  records  {records['count']:,}{shares}"
        yield f"    first  {_record(records['first'])}"
        yield f"    last   {_record(records['last'])}"
    yield from _listed(records.get("all", ()))
    yield from _others(window)


def _listed(records: Any) -> Iterator[str]:
    if not records:
        return
    rows = [
        (
            each["shard"],
            each["sequence_number"],
            str(each["sub_sequence_number"]),
            each["event_time"],
            each["arrival_time"] or "-",
            *([repr(each["data"])] if "data" in each else []),
        )
        for each in records
    ]
    header = (*_RECORD_COLUMNS, *(["data"] if "data" in records[0] else []))
    yield from columns(header, rows, indent="    ")


def _others(window: Mapping[str, Any]) -> Iterator[str]:
    late = window["late"]
    yield f"  late     {len(late) or 'none'}"
    for each in late[:_LATE_SHOWN]:
        yield f"           {_record(each)}, {each['lateness_ms']} ms behind the watermark {each['watermark']}"
    if len(late) > _LATE_SHOWN:
        yield f"           and {len(late) - _LATE_SHOWN} more (--json has all)"
    if window["filtered"]:
        yield f"  filtered {window['filtered']:,} out by `where`"
    for reason, number in window["dead_letters"].items():
        yield f"  dead     {counted(number, 'record')} of it: {reason}"


def _record(record: Mapping[str, Any]) -> str:
    sub = f":{record['sub_sequence_number']}" if record["sub_sequence_number"] else ""
    return f"{record['shard']} {record['sequence_number']}{sub}, event time {record['event_time']}"


def _read(read: Mapping[str, Any]) -> Iterator[str]:
    dead = ", ".join(f"{number:,} {reason}" for reason, number in read["dead_letters"].items())
    yield (
        f"  read     {counted(read['records'], 'record')} of all groups from {', '.join(read['shards'])}: "
        f"{read['filtered']:,} filtered out, dead letters {dead or 'none'}"
    )


_COMBINED_STATUSES = {
    "complete": "complete",
    "uncovered": "waits until all shards have told of their progress",
    "not counted by all": "waits until the shards of all workers have gone on with the present pipeline file",
    "before it was added": "no row, for the window was added when events of it had been counted",
}
_STATUSES = {
    "open": "still open; by the records counted so far it is",
    "emitted": "emitted",
    "empty": "nothing of it was counted",
}
