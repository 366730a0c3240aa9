"""`streamgauge state list`: all shards of a pipeline, one a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from consumer.entrypoints.state.progress import (
    completion_facts,
    completion_of,
    completion_text,
    progress_facts,
    progress_text,
)
from consumer.entrypoints.state.site import Site
from consumer.entrypoints.state.wording import (
    age_ms,
    age_text,
    checkpoint_text,
    columns,
    position_text,
    short,
    size_of,
    status_of,
    time_text,
)
from consumer.errors import EXIT_OK, EXIT_REFUSED, RefusedError, SetupError
from consumer.pipeline.definitions import definitions_hash, definitions_text
from consumer.pipeline.differences import differences
from consumer.pipeline.wording import size_in_words
from consumer.runtime import clock
from consumer.runtime.surroundings import RUNNERS
from consumer.sources.leases import Lease
from consumer.state.base import Application, Claim

_HEADER = (
    "shard",
    "status",
    "epoch",
    "commit",
    "position",
    "watermark",
    "age",
    "last arrival",
    "size",
    "format",
    "parents",
    "lease",
)


def list_states(site: Site, *, as_json: bool) -> int:
    """Tell of the application and its shards; return EXIT_OK, or EXIT_REFUSED if one cannot be read."""
    facts = _facts(site)
    if as_json:
        site.tell(msgspec.json.encode(facts).decode())
    else:
        site.out.writelines(f"{line}\n" for line in _lines(facts))
    return EXIT_REFUSED if any("unreadable" in shard for shard in facts["shards"]) else EXIT_OK


def _facts(site: Site) -> dict[str, Any]:
    application = site.application()
    claims, (leases, trouble) = site.claims_or_why_not(), _leases(site)
    shards, reached = sorted(claims.keys() | (leases or {}).keys()), completion_of(site, application)
    now_ms = clock.now_ms()
    return {
        "pipeline": site.pipeline.name,
        "stream": site.pipeline.source.stream,
        "generation": application.generation,
        "runs_in": application.runs_in,
        "started": time_text(application.started_at_ms),
        "roots": application.roots,
        "definitions": application.definitions,
        "adoptions": application.adoptions,
        "changed_definitions": changed_definitions(site, application),
        "lease_table": site.pipeline.worker.application,
        "lease_trouble": trouble,
        "global_windows": completion_facts(reached),
        "shards": [
            _shard(shard, claims.get(shard), (leases or {}).get(shard), now_ms) | progress_facts(reached, shard)
            for shard in shards
        ],
    }


def changed_definitions(site: Site, application: Application) -> list[str]:
    """Return what the file says otherwise than the state's definitions; a state of unknown ones gives one line."""
    if definitions_hash(site.pipeline, dict(application.incarnations)) == application.definitions:
        return []
    if not application.meaning:
        return ["the state was made with other definitions, whose text was not stored"]
    return differences(application.meaning, definitions_text(site.pipeline))


def _leases(site: Site) -> tuple[Mapping[str, Lease] | None, str | None]:
    """Return the leases if they can be read, else why not: a state can be told of without them."""
    try:
        found = site.leases()
    except SetupError as error:
        return None, str(error)
    return found, None if found is not None else "there is no lease table yet"


def _shard(shard: str, claim: Claim | RefusedError | None, lease: Lease | None, now_ms: int) -> dict[str, Any]:
    held = None if lease is None else lease_facts(lease)
    if isinstance(claim, RefusedError):
        return {"shard": shard, "status": "unreadable", "epoch": None, "lease": held, "unreadable": str(claim)}
    facts: dict[str, Any] = {
        "shard": shard,
        "status": status_of(claim),
        "epoch": None if claim is None else claim.epoch,
        "lease": held,
    }
    state = None if claim is None else claim.state
    if state is not None:
        facts |= {
            "commit_no": state.commit_no,
            "position": position_text(state.position),
            "watermark": time_text(state.watermark_ms),
            "watermark_age_ms": age_ms(state.watermark_ms, now_ms),
            "last_arrival": time_text(state.last_arrival_ms),
            "last_arrival_age_ms": age_ms(state.last_arrival_ms, now_ms),
            "size_bytes": size_of(state),
            "objects": len(state.manifest),
            "parents": state.parents,
            "generation": state.generation,
            "definitions": state.definitions,
            "format_version": state.format_version,
        }
    return facts


def lease_facts(lease: Lease) -> dict[str, Any]:
    """Return what is told of a lease."""
    return {"owner": lease.owner, "counter": lease.counter, "checkpoint": checkpoint_text(lease)}


def _lines(facts: Mapping[str, Any]) -> Iterator[str]:
    shards, generation = facts["shards"], facts["generation"]
    runner = RUNNERS[facts["runs_in"]]
    yield f"Pipeline {facts['pipeline']}, generation {generation}, begun {facts['started']}, runs in {runner}"
    for line in facts["changed_definitions"]:
        yield f"The file differs from what the state was made with: {line}"
    if facts["lease_trouble"]:
        yield f"No leases: {facts['lease_trouble']}"
    yield ""
    reached = facts["global_windows"]
    yield from columns(
        (*_HEADER, "progress") if reached else _HEADER,
        [_cells(shard) + ((progress_text(shard["progress"]),) if reached else ()) for shard in shards],
    )
    if reached:
        yield ""
        yield f"Global windows: {completion_text(reached)}"
    for shard in shards:
        if "unreadable" in shard:
            yield ""
            yield f"UNREADABLE {shard['shard']}: {shard['unreadable']}"
    left = [shard["shard"] for shard in shards if shard.get("generation", generation) != generation]
    if left:
        yield ""
        yield f"Of an earlier generation, for a reset was interrupted (give it again): {', '.join(left)}"
    earlier = [shard["shard"] for shard in shards if _is_of_earlier_definitions(shard, facts["definitions"])]
    if earlier:
        yield ""
        yield f"Of earlier definitions, carried over to today's by their next owner: {', '.join(earlier)}"


def _is_of_earlier_definitions(shard: Mapping[str, Any], today: str) -> bool:
    return shard["status"] == "open" and bool(shard["definitions"] != today)


def _cells(shard: Mapping[str, Any]) -> tuple[str, ...]:
    state = "commit_no" in shard
    return (
        shard["shard"],
        shard["status"],
        _text(shard["epoch"]),
        _text(shard.get("commit_no")),
        short(shard.get("position")),
        _text(shard.get("watermark")),
        age_text(shard.get("watermark_age_ms")),
        age_text(shard.get("last_arrival_age_ms")),
        size_in_words(shard["size_bytes"]) if state else "-",
        _text(shard.get("format_version")),
        ", ".join(shard.get("parents", ())) or "-",
        lease_text(shard["lease"]),
    )


def lease_text(lease: Mapping[str, Any] | None) -> str:
    """Return who holds a shard's lease; a word of the daemon's where it has ended, or there is none."""
    if lease is None:
        return "-"
    return "ended" if lease["checkpoint"] == "SHARD_END" else lease["owner"] or "nobody's"


def _text(value: object) -> str:
    return "-" if value is None else str(value)
