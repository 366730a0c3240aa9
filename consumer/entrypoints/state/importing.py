"""`streamgauge state import DIR`: an exported state goes on in a generation of its own.

1. All is read and checked before anything is changed: the export belongs to this pipeline and stream, every snapshot
   can be restored, no worker runs.
2. The new generation's roots are only those that had no state: a shard whose state is not there yet, because the
   import was interrupted, is refused by every worker, and never starts empty.
3. Contributions to global windows that nobody has combined become the new generation's, and then what ended shards
   have told: before the states, for who has a state may combine.
4. Each state becomes commit 0 of its shard, each tombstone a tombstone again: without it the shard's records would be
   counted once more.
5. The leases go back to the start; what was counted is skipped, by the positions in the states.

A crash anywhere is followed by the same command, given again: what an interrupted import has written, and no worker has
gone on with, is replaced without further ado.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec

from consumer.core.completion import Progress
from consumer.core.processor import Processor
from consumer.entrypoints.beginning import start_seconds
from consumer.entrypoints.state import files
from consumer.entrypoints.state.contributing import Carried
from consumer.entrypoints.state.reading import restore
from consumer.entrypoints.state.resetting import how_to_go_on, replace_application
from consumer.entrypoints.state.site import Site
from consumer.entrypoints.state.wording import counted, status_of, time_text
from consumer.errors import EXIT_OK, CorruptStateError, RefusedError
from consumer.pipeline.definitions import definitions_hash, definitions_text
from consumer.pipeline.differences import differences
from consumer.pipeline.wording import size_in_words
from consumer.records import Row
from consumer.runtime import clock
from consumer.runtime.global_part import RETENTIONS_KEPT
from consumer.runtime.sending import portions
from consumer.sources import kinesis, leases
from consumer.sources.kinesis import ShardInfo, StreamInfo
from consumer.state.base import (
    FORMAT_VERSION,
    INLINE_BYTES_MAX,
    Application,
    Claim,
    Entry,
    FenceRefusedError,
    ShardState,
)

_HOUR_MS = 3_600_000


@dataclass(frozen=True)
class _Export:
    """An export that was checked: `claims` by shard, and up to which watermark each state has contributed."""

    directory: Path
    application: Application
    claims: Mapping[str, Claim]
    contributions: Sequence[bytes]
    progress: Sequence[Progress]
    exported_at_ms: int
    closed_ms: dict[str, int | None] = field(default_factory=dict)

    def restored(self, site: Site, shard: str) -> tuple[Processor, list[Row]]:
        """Return what a shard's snapshot holds; CorruptStateError or RefusedError if a worker would not take it."""
        claim = self.claims[shard]
        assert claim.state is not None
        entries = files.read_entries(self.directory, shard, claim)
        if hashlib.sha256(entries[-1]).hexdigest() != claim.state.sha256:
            raise CorruptStateError(f"the snapshot of {shard} does not match the hash in its item")
        program = site.program_of(self.application, claim.state.definitions)
        return restore(program, shard, claim.state, entries)


def import_state(site: Site, directory: Path, *, replace: bool, accept_gap: bool) -> int:
    """Go on from an export; return EXIT_OK.

    RefusedError, and nothing is changed: workers run; the export is damaged, of another pipeline, stream or
    definitions; there is a state and not `replace`; the stream may have lost records that the state has not counted
    and not `accept_gap`.
    """
    export = _checked_export(site, directory)
    stream, source = site.stream, site.pipeline.source.stream
    info = site.tried(lambda: kinesis.describe(stream, source))
    shards = site.tried(lambda: kinesis.list_shards(stream, source))
    accepted = _check_stream(export, info, {shard.id for shard in shards}, accept_gap=accept_gap)
    if not replace:
        _check_replaced(site, export)
    site.refuse_while_leases_live()
    new = _begin(site, export)
    carried = _carried(site, export, new, info)
    saved = list(carried.saved(export.contributions))
    for portion in portions(saved):
        site.tried(partial(site.store.put_contributions, portion))
    for told in carried.progress(export.progress):
        site.tried(partial(site.store.write_progress, told))
    for shard in sorted(export.claims, reverse=True):  # no child may begin anew from its parent's state
        _import_shard(site, export, shard, new, accepted, carried)
    delivered = [shard for shard in shards if _is_delivered(shard, shards, export, new)]
    start = start_seconds(site.pipeline, new.started_at_ms)
    site.tried(lambda: leases.rewind(site.lease_tables, site.pipeline.worker.application, delivered, start))
    objects, size_bytes = site.collect(new.generation)
    _tell(site, export, new, objects, size_bytes, len(saved))
    return EXIT_OK


def _checked_export(site: Site, directory: Path) -> _Export:
    read = files.read_export(directory)
    application = read.application_item()
    if read.pipeline != site.pipeline.name:
        raise RefusedError(f"{directory} is an export of pipeline {read.pipeline}, the file is {site.pipeline.name}")
    if definitions_hash(site.pipeline, dict(application.incarnations)) != application.definitions:
        changes = differences(application.meaning, definitions_text(site.pipeline)) if application.meaning else []
        raise RefusedError(
            f"{directory} was exported with other definitions"
            + (f": {'; '.join(changes)}" if changes else "")
            + ". Import it with the file that it was made with; change that afterwards"
        )
    claims = {shard: files.read_claim(directory, shard) for shard in read.shards}
    contributions = files.read_contributions(directory, read)
    export = _Export(directory, application, claims, contributions, read.progress, read.exported_at_ms)
    for shard, claim in export.claims.items():
        if claim.state is not None:
            processor, _ = export.restored(site, shard)
            export.closed_ms[shard] = processor.closed_ms
    return export


def _check_stream(export: _Export, info: StreamInfo, shards: Collection[str], *, accept_gap: bool) -> Collection[str]:
    """Refuse what the stream cannot go on with; return the shards whose gap is accepted, for good."""
    if info.created_ms != export.application.stream_created_ms:
        raise RefusedError(
            f"the export belongs to a stream {info.name} that was deleted and created again since: its positions mean "
            "nothing in this one. Reset the pipeline to count this stream"
        )
    gone = _last_seen(export).keys() - set(shards)
    if gone:
        raise RefusedError(
            f"the stream has no shard {', '.join(sorted(gone))} any more, of which the export holds open windows: they "
            "could never end. Reset the pipeline to count what the stream has"
        )
    horizon_ms = clock.now_ms() - info.retention_hours * _HOUR_MS
    behind = {shard: seen_ms for shard, seen_ms in _last_seen(export).items() if seen_ms < horizon_ms}
    if behind and not accept_gap:
        told = ", ".join(f"{shard} ({time_text(seen_ms)})" for shard, seen_ms in behind.items())
        raise RefusedError(
            f"the stream keeps records for {info.retention_hours} h, and the last ones counted are older: {told}. What "
            "came after them and was not counted is lost. If the shards were silent, or the loss is acceptable, say "
            "--accept-gap"
        )
    return behind.keys()


def _last_seen(export: _Export) -> dict[str, int]:
    """Return until when all that arrived is counted, of shards that go on; before any, when the application began."""
    return {
        shard: claim.state.counted_until_ms or export.application.started_at_ms
        for shard, claim in export.claims.items()
        if claim.state is not None and not claim.state.ended
    }


def _check_replaced(site: Site, export: _Export) -> None:
    stored = site.tried(site.store.read_application)
    if stored is None:
        return
    held = [shard for shard, claim in site.claims().items() if not _is_of_this_import(shard, claim, export, stored)]
    if held:
        raise RefusedError(
            f"table {site.pipeline.state.table} holds the state of generation {stored.generation} "
            f"({counted(len(held), 'shard')}), which the import would replace. Export it, if it is of any use, and say "
            "--yes"
        )


def _is_of_this_import(shard: str, claim: Claim, export: _Export, stored: Application) -> bool:
    """Tell whether nothing is lost with an item: this import made it before it was interrupted, and nobody went on."""
    state, exported = claim.state, export.claims.get(shard)
    if state is None and not claim.retired:
        return True
    is_imported = stored.generation > export.application.generation
    if exported is None or not is_imported or stored.started_at_ms != export.application.started_at_ms:
        return False
    if state is None:
        return exported.retired
    if (state.generation, state.commit_no) != (stored.generation, 0):
        return False
    if exported.retired:
        return state.ended and state.position is None
    was = exported.state
    return was is not None and (state.position, state.ended) == (was.position, was.ended)


def _begin(site: Site, export: _Export) -> Application:
    """Begin a generation that neither the table nor the export has had: ids must not come twice."""
    begun = {shard for shard, claim in export.claims.items() if claim.state is not None or claim.retired}
    exported = msgspec.structs.replace(
        export.application, roots=tuple(root for root in export.application.roots if root not in begun)
    )
    stored = site.tried(lambda: site.store.create_application(exported))
    generation = stored.generation
    while generation <= export.application.generation or generation == stored.generation:
        generation = replace_application(site, msgspec.structs.replace(exported, generation=generation)).generation
    return msgspec.structs.replace(exported, generation=generation)


def _carried(site: Site, export: _Export, new: Application, info: StreamInfo) -> Carried:
    program = site.program_of(new, new.definitions)
    expires_ms = clock.now_ms() + RETENTIONS_KEPT * info.retention_hours * _HOUR_MS
    return Carried(program, new.generation, expires_ms, export.claims, export.closed_ms, export.exported_at_ms)


def _import_shard(
    site: Site, export: _Export, shard: str, new: Application, accepted: Collection[str], carried: Carried
) -> None:
    claim = export.claims[shard]
    if claim.retired:
        # A tombstone is made of an ended state; this one has nothing that a child could take over.
        processor = Processor(site.program_of(new, new.definitions), shard, new.generation)
        epoch = _write(site, shard, _tombstone(new), processor.freeze([], base=True))
        site.tried(lambda: site.store.retire(shard, epoch))
    elif claim.state is not None:
        processor, outbox = export.restored(site, shard)
        processor.begin_generation(new.generation)
        processor.combining.stretches = carried.stretches(processor.combining.stretches)
        state = msgspec.structs.replace(
            claim.state,
            commit_no=0,
            generation=new.generation,
            format_version=FORMAT_VERSION,
            caught_up_ms=clock.now_ms() if shard in accepted else claim.state.caught_up_ms,
        )
        _write(site, shard, state, processor.freeze(carried.outbox(outbox), base=True))


def _tombstone(new: Application) -> ShardState:
    return ShardState(
        commit_no=0,
        ended=True,
        position=None,
        last_arrival_ms=None,
        watermark_ms=None,
        hash_range=("0", "0"),
        stream_created_ms=new.stream_created_ms,
        definitions=new.definitions,
        generation=new.generation,
        format_version=FORMAT_VERSION,
        inline=None,
        manifest=(),
        sha256="",
    )


def _write(site: Site, shard: str, state: ShardState, data: bytes) -> int:
    """Make a shard's commit 0 of a snapshot; return the epoch that made it."""
    store = site.store
    epoch = site.tried(lambda: store.claim(shard)).epoch
    manifest: tuple[Entry, ...] = ()
    if len(data) > INLINE_BYTES_MAX:
        manifest = (site.tried(lambda: store.put_object(shard, state.generation, epoch, 0, data)),)
    whole = msgspec.structs.replace(
        state, inline=None if manifest else data, manifest=manifest, sha256=hashlib.sha256(data).hexdigest()
    )
    site.tried(lambda: _advance(site, shard, epoch, whole))
    return epoch


def _advance(site: Site, shard: str, epoch: int, state: ShardState) -> None:
    """Write commit 0, or find out that an earlier try of this command has."""
    try:
        site.store.advance(shard, epoch, state, ended=False)
    except FenceRefusedError as error:
        claim = site.store.read(shard)
        if claim is None or claim.epoch != epoch or claim.state != state:
            raise RefusedError(
                f"somebody else has claimed {shard} meanwhile: stop all workers and give the command again"
            ) from error


def _is_delivered(shard: ShardInfo, shards: Sequence[ShardInfo], export: _Export, new: Application) -> bool:
    """Tell whether the daemon must read a shard: not what has not begun, which it finds at its parents' end.

    Nor an ended shard whose children have all begun: a parent without a row counts as ended.
    """
    if shard.id in new.roots:
        return True
    if not _has_begun(shard, export) or export.claims[shard.id].retired:
        return False
    state = export.claims[shard.id].state
    assert state is not None
    children = [each for each in shards if shard.id in each.parents]
    return not state.ended or not children or not all(_has_begun(child, export) for child in children)


def _has_begun(shard: ShardInfo, export: _Export) -> bool:
    claim = export.claims.get(shard.id)
    return claim is not None and (claim.state is not None or claim.retired)


def _tell(site: Site, export: _Export, new: Application, objects: int, size_bytes: int, saved: int) -> None:
    statuses = Counter(map(status_of, export.claims.values()))
    told = ", ".join(f"{number} {status}" for status, number in statuses.items())
    site.tell(f"Imported pipeline {site.pipeline.name}: generation {new.generation} begins.")
    site.tell(f"  states   {counted(len(export.claims), 'shard')}: {told}")
    site.tell(f"  leases   table {site.pipeline.worker.application}: set to the start")
    site.tell(f"  objects  {objects:,} of earlier generations deleted, {size_in_words(size_bytes)}")
    if saved:
        site.tell(f"  global windows: {counted(saved, 'contribution')} to be combined")
    site.tell(
        f"{how_to_go_on(site, new)}: the stream is given from its start, and what the states have counted is skipped.\n"
        "Rows from here on have ids of the new generation: windows that ended after the export was made, and whose\n"
        "rows the old generation has sent, are sent again under other ids."
    )
