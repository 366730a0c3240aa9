"""`streamgauge state export DIR`: a pipeline's whole state as files. Workers may go on meanwhile.

Each shard is what one of its commits left. All of them together are what they were at one moment as far as their
lineage goes: no shard ended, was given up, or took another's state over while they were read, or all are read again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from consumer import __version__
from consumer.core.compile import Program
from consumer.core.processor import Processor
from consumer.entrypoints.state import files
from consumer.entrypoints.state.contributing import not_combined, told_by_ended
from consumer.entrypoints.state.reading import Stored, read_stored, restore
from consumer.entrypoints.state.site import Site
from consumer.entrypoints.state.wording import columns, counted, position_text, short, size_of, status_of
from consumer.errors import EXIT_OK, RefusedError, RetryableError
from consumer.pipeline.wording import size_in_words
from consumer.runtime import clock
from consumer.state.base import Application, Claim

TRIES_MAX = 5
"""How often everything is read again because the stream was resharded meanwhile."""


def export_state(site: Site, directory: Path) -> int:
    """Write the state to an empty directory, verified; return EXIT_OK.

    CorruptStateError if an object is damaged, RetryableError if the stream is resharded all the time.
    """
    files.make_directory(directory)
    application = site.application()
    export = files.new_export(__version__, site.pipeline.name, site.pipeline.source.stream, clock.now_ms(), application)
    shards = _export_shards(site, directory, application)
    progress = told_by_ended(site, application)  # before the contributions: what it tells of is among them
    rows = list(not_combined(site, application, _restored(site, directory, application, shards)))
    written = files.write_contributions(directory, rows)
    files.write_export(
        directory, msgspec.structs.replace(export, shards=tuple(shards), contributions=written, progress=progress)
    )
    site.tell(f"Exported pipeline {site.pipeline.name}, generation {application.generation}, to {directory}:")
    site.out.writelines(f"{line}\n" for line in _table(shards))
    if rows:
        site.tell(f"  global windows: {counted(len(rows), 'contribution')} to be combined")
    site.tell("Each shard is as one of its commits left it; workers that run have gone on since.")
    return EXIT_OK


def _export_shards(site: Site, directory: Path, application: Application) -> Mapping[str, Claim]:
    before = _lineage(site.claims())
    for _ in range(TRIES_MAX):
        claims = {shard: _export_shard(site, directory, shard, application.generation) for shard in before}
        after = _lineage(site.claims())
        if site.application() != application:
            raise RefusedError("the state was reset while it was being exported: begin again, with another directory")
        if before == _lineage(claims) == after:
            return claims
        before = after
        for shard in claims:
            files.remove_shard(directory, shard)
    raise RetryableError("the stream is resharded faster than its state can be exported: try again later")


def _lineage(claims: Mapping[str, Claim]) -> dict[str, str]:
    """Return where each shard stands in its life: it only ever goes on, so equal before and after is equal between."""
    return {shard: status_of(claim) for shard, claim in claims.items()}


def _export_shard(site: Site, directory: Path, shard: str, generation: int) -> Claim:
    stored = read_stored(site, shard)
    assert stored is not None, "items are never deleted"
    state = stored.claim.state
    if state is not None and state.generation != generation:
        raise RefusedError(f"{shard} is of generation {state.generation}: a reset was interrupted, give it again first")
    files.write_shard(directory, shard, stored.claim, _entries(shard, stored))
    return stored.claim


def _entries(shard: str, stored: Stored) -> list[bytes]:
    try:
        return stored.entries()
    except RefusedError as error:
        raise type(error)(f"{shard}: {error}") from error


def _restored(
    site: Site, directory: Path, application: Application, shards: Mapping[str, Claim]
) -> Iterator[tuple[Program, Processor]]:
    for shard, claim in shards.items():
        if claim.state is not None:
            program = site.program_of(application, claim.state.definitions)
            processor, _ = restore(program, shard, claim.state, files.read_entries(directory, shard, claim))
            yield program, processor


def _table(shards: Mapping[str, Claim]) -> list[str]:
    rows = []
    for shard, claim in shards.items():
        state = claim.state
        cells = ("-", "-", "-")
        if state is not None:
            entries = "in the item" if state.inline is not None else counted(len(state.manifest), "object")
            cells = (short(position_text(state.position)), size_in_words(size_of(state)), entries)
        rows.append((shard, status_of(claim), *cells))
    return columns(("shard", "status", "position", "size", "snapshot"), rows, indent="  ")
