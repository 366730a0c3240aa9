"""`streamgauge state show SHARD`: everything that is stored of a shard, in words. Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from consumer.core.completion import Completion
from consumer.core.counts import Counts
from consumer.core.open_windows import OpenWindows
from consumer.core.processor import Processor
from consumer.entrypoints.state.listing import changed_definitions, lease_facts, lease_text
from consumer.entrypoints.state.progress import (
    combines_facts,
    combines_lines,
    completion_facts,
    completion_of,
    completion_text,
    progress_facts,
    progress_text,
)
from consumer.entrypoints.state.reading import Stored, read_stored, restore
from consumer.entrypoints.state.site import Site
from consumer.entrypoints.state.wording import (
    age_ms,
    age_text,
    columns,
    counted,
    position_text,
    shard_name,
    size_of,
    status_of,
    time_text,
)
from consumer.errors import EXIT_OK, EXIT_REFUSED, RefusedError, SetupError
from consumer.pipeline.wording import size_in_words
from consumer.records import HashRange, Row
from consumer.runtime import clock
from consumer.runtime.adoption import adopted
from consumer.state.base import Application, Found, ShardState, is_orphan

_LABEL_WIDTH = 14
_ROOT = "a root: it began empty"
_EARLIER = {
    "open": "earlier ones: its next owner carries it over to today's",
    "ended": "earlier ones: its children carry over what it leaves",
}


def show(site: Site, shard: str, *, as_json: bool) -> int:
    """Tell of one shard; return EXIT_OK, or EXIT_REFUSED if its state is damaged or no worker would take it."""
    facts = _facts(site, shard_name(shard))
    if as_json:
        site.tell(msgspec.json.encode(facts).decode())
    else:
        site.out.writelines(f"{line}\n" for line in _lines(facts))
    return EXIT_REFUSED if facts.get("unreadable") or facts.get("refused") else EXIT_OK


def _facts(site: Site, shard: str) -> dict[str, Any]:
    application = site.application()
    stored, reached = read_stored(site, shard), completion_of(site, application)
    if stored is None:
        known = ", ".join(site.claims()) or "none"
        raise RefusedError(f"pipeline {site.pipeline.name} has no state of a shard {shard}. There is one of: {known}")
    facts: dict[str, Any] = {
        "shard": shard,
        "pipeline": site.pipeline.name,
        "generation": application.generation,
        "status": status_of(stored.claim),
        "epoch": stored.claim.epoch,
        "root": shard in application.roots,
        "lease": _lease(site, shard),
        "orphans": _orphans(site, shard, application),
    }
    facts |= progress_facts(reached, shard)
    state = stored.claim.state
    return facts if state is None else facts | _of_state(site, application, reached, state, stored, shard)


def _lease(site: Site, shard: str) -> dict[str, Any] | None:
    try:
        lease = (site.leases() or {}).get(shard)
    except SetupError as error:
        site.err.write(f"the leases cannot be told: {error}\n")
        return None
    return None if lease is None else lease_facts(lease)


def _orphans(site: Site, shard: str, application: Application) -> dict[str, int]:
    """Count the objects that nobody refers to: list first, then read, then decide. The next owner deletes them."""
    found: Sequence[Found] = site.tried(lambda: site.store.list_objects(shard, application.generation))
    claim = site.tried(lambda: site.store.read(shard))
    assert claim is not None, "items are never deleted"
    orphans = [one for one in found if is_orphan(one, claim)]
    return {"objects": len(orphans), "size_bytes": sum(one.entry.size for one in orphans)}


def _of_state(
    site: Site, application: Application, reached: Completion | None, state: ShardState, stored: Stored, shard: str
) -> dict[str, Any]:
    now_ms = clock.now_ms()
    facts: dict[str, Any] = {
        "commit_no": state.commit_no,
        "hash_range": state.hash_range,
        "position": position_text(state.position),
        "last_arrival": time_text(state.last_arrival_ms),
        "last_arrival_age_ms": age_ms(state.last_arrival_ms, now_ms),
        "watermark": time_text(state.watermark_ms),
        "watermark_age_ms": age_ms(state.watermark_ms, now_ms),
        "parents": state.parents,
        "state_generation": state.generation,
        "format_version": state.format_version,
        "size_bytes": size_of(state),
        "entries": list(_entries(state, stored)),
        "changed_definitions": changed_definitions(site, application),
        "refused": _refusal(site, application),
        "definitions": "today's" if state.definitions == application.definitions else "earlier",
    }
    try:
        program = site.program_of(application, state.definitions)
        processor, outbox = restore(program, shard, state, stored.entries())
    except RefusedError as error:
        return facts | {"unreadable": str(error)}
    if reached is not None and not state.ended:
        hash_range = HashRange(*map(int, state.hash_range))
        facts["combines"] = combines_facts(site, application, reached, processor, hash_range)
        facts["global_windows"] = completion_facts(reached)
    return facts | _of_processor(processor, outbox)


def _refusal(site: Site, application: Application) -> str | None:
    """Return why a worker with this file would refuse the state, if it would."""
    try:
        adopted(application, site.pipeline)
    except RefusedError as error:
        return str(error)
    return None


def _entries(state: ShardState, stored: Stored) -> Iterator[dict[str, Any]]:
    keys = ["in the state item"] if state.inline is not None else [entry.key for entry in state.manifest]
    sizes = [size_of(state)] if state.inline is not None else [entry.size for entry in state.manifest]
    for number, (key, size, part) in enumerate(zip(keys, sizes, stored.parts, strict=True)):
        damage = None if isinstance(part, bytes) else str(part)
        yield {"kind": "delta" if number else "base", "size_bytes": size, "damage": damage, "key": key}


def _of_processor(processor: Processor, outbox: Sequence[Row]) -> dict[str, Any]:
    return {
        "counts": msgspec.to_builtins(processor.totals),
        "floors": [
            {"hash_range": (str(range_.first), str(range_.last)), "watermark": time_text(floor_ms)}
            for range_, floor_ms in processor.floors()
        ],
        "windows": [_open_windows(each) for each in processor.open_windows()],
        "outbox": {
            "rows": dict(Counter(row.output for row in outbox)),
            "size_bytes": sum(len(row.data) for row in outbox),
        },
    }


def _open_windows(windows: OpenWindows) -> dict[str, Any]:
    return {
        "window": windows.window,
        "origin": windows.origin,
        "groups": windows.groups,
        "first_end": time_text(windows.first_end_ms),
        "last_end": time_text(windows.last_end_ms),
    }


def _lines(facts: Mapping[str, Any]) -> Iterator[str]:
    yield f"{facts['shard']} of pipeline {facts['pipeline']}, generation {facts['generation']}"
    yield ""
    yield _line("status", _STATUSES[facts["status"]])
    yield _line("epoch", str(facts["epoch"]) + (f", commit {facts['commit_no']}" if "commit_no" in facts else ""))
    lease = facts["lease"]
    yield _line("lease", "none" if lease is None else f"{lease_text(lease)}, checkpoint {lease['checkpoint']}")
    if "commit_no" in facts:
        yield from _state_lines(facts)
    orphans = facts["orphans"]
    yield _line(
        "orphans",
        f"{counted(orphans['objects'], 'object')}, {size_in_words(orphans['size_bytes'])}: the next owner deletes them"
        if orphans["objects"]
        else "none",
    )


def _state_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    yield _line("position", facts["position"] or "none: no record was processed")
    yield _line("last arrival", _time(facts["last_arrival"], facts["last_arrival_age_ms"]))
    yield _line("watermark", _time(facts["watermark"], facts["watermark_age_ms"]))
    yield _line("hash keys", " to ".join(facts["hash_range"]))
    yield _line(
        "came from", ", ".join(facts["parents"]) or (_ROOT if facts["root"] else "no other shard: it was imported")
    )
    yield from _damage_lines(facts)
    if not facts.get("unreadable"):
        yield from _processor_lines(facts)
    yield _line("snapshot", f"{size_in_words(facts['size_bytes'])}, format {facts['format_version']}")
    for entry in facts["entries"]:
        verdict = f"DAMAGED: {entry['damage']}" if entry["damage"] else "verified"
        yield f"    {entry['kind']:<6} {size_in_words(entry['size_bytes']):>10}  {verdict}  {entry['key']}"


def _damage_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    if facts["state_generation"] != facts["generation"]:
        yield _line("GENERATION", f"{facts['state_generation']}: a reset was interrupted, give it again")
    for line in facts["changed_definitions"]:
        yield _line("FILE DIFFERS", line)
    if facts["refused"]:
        yield _line("REFUSED", facts["refused"])
    if facts["definitions"] == "earlier":
        yield _line("definitions", _EARLIER[facts["status"]])
    if facts.get("unreadable"):
        yield _line("UNREADABLE", facts["unreadable"])


def _processor_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    floors = facts["floors"]
    yield _line("floors", "none" if not floors else counted(len(floors), "range"))
    for floor in floors:
        yield f"    {floor['watermark'] or 'the end'} for hash keys {' to '.join(floor['hash_range'])}"
    yield _line("counted", _counts_text(msgspec.convert(facts["counts"], Counts)))
    rows = facts["outbox"]["rows"]
    waiting = ", ".join(f"{name.lstrip(':')} {number:,}" for name, number in rows.items())
    yield _line("outbox", f"{waiting} (sent, perhaps, but not yet known to be)" if rows else "empty")
    yield _line("open windows", "")
    yield from columns(
        ("window", "origin", "groups", "first ends", "last ends"), map(_window_cells, facts["windows"]), indent="    "
    )
    if "combines" in facts:
        yield from _global_lines(facts)


def _global_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    told = facts["progress"]
    yield _line("progress", progress_text(told) + (f", with commit {told['commit_no']}" if told else ""))
    yield _line("all shards", completion_text(facts["global_windows"]))
    yield _line("combines", "" if facts["combines"] else "no bucket: other shards do")
    yield from combines_lines(facts["combines"])


def _window_cells(window: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        window["window"],
        window["origin"],
        f"{window['groups']:,}",
        window["first_end"] or "-",
        window["last_end"] or "-",
    )


def _counts_text(counts: Counts) -> str:
    letters, late, results = (sum(each.values()) for each in (counts.dead_letters, counts.late, counts.results))
    return (
        f"{counted(counts.received - counts.replayed, 'record')}: {counts.filtered:,} filtered out, "
        f"{counted(letters, 'dead letter')}, {late:,} late, {counted(results, 'result')}"
    )


def _line(label: str, text: str) -> str:
    return f"  {label:<{_LABEL_WIDTH}}{text}".rstrip()


def _time(time: str | None, ago_ms: int | None) -> str:
    if time is None:
        return "none"
    return f"{time} ({age_text(ago_ms)})" if ago_ms is not None and ago_ms < 0 else f"{time} ({age_text(ago_ms)} ago)"


_STATUSES = {
    "open": "open: records are processed",
    "ended": "ended: every record was processed, its children go on with its windows",
    "retired": "retired: its children have taken everything over",
    "claimed only": "claimed only: no owner has made a commit",
}
