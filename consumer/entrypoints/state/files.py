"""An exported state as files: a persisted format.

`DIR/application.json` says what the export is of, and comes last: a directory without it is none. For each shard that
it names, `DIR/SHARD/item.json` is the item as DynamoDB's API has it (bytes in base64, as the AWS command line writes
them), and beside it lie the objects that its manifest names, under the last part of their keys. `DIR/contributions.bin`
is there if contributions to global windows wait to be combined: one MessagePack array of what `contributions.encode`
gives.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from consumer.core.completion import Progress
from consumer.errors import CorruptStateError, RefusedError, SetupError
from consumer.state.base import Application, Claim, Entry, verify
from consumer.state.items import (
    decode_application,
    decode_claim,
    encode_application,
    encode_epoch,
    encode_state,
    encode_tombstone,
)

FORMAT = 1
_APPLICATION = "application.json"
_ITEM = "item.json"
_CONTRIBUTIONS = "contributions.bin"
_SHARD = re.compile(r"[\w-]+")


class Export(msgspec.Struct, frozen=True):
    """What an export is of. `exported_at_ms` is when it was begun.

    `contributions` is the SHA-256, in hex, of the file of contributions; empty: there is none. `progress` is what ended
    shards had told of global windows.
    """

    format: int
    streamgauge: str
    pipeline: str
    stream: str
    exported_at_ms: int
    application: dict[str, Any]
    shards: tuple[str, ...]
    contributions: str = ""
    progress: tuple[Progress, ...] = ()

    def application_item(self) -> Application:
        """Return the application item as it was."""
        return decode_application(self.application)


def new_export(version: str, pipeline: str, stream: str, now_ms: int, application: Application) -> Export:
    """Return an export of no shards yet."""
    return Export(FORMAT, version, pipeline, stream, now_ms, encode_application(application), ())


def make_directory(directory: Path) -> None:
    """Make an empty directory, open to its owner alone, for values of events come in. RefusedError if it has files."""
    with _written(directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        taken = any(directory.iterdir())
    if taken:
        raise RefusedError(f"{directory} is not empty: name a directory that is, or is not there yet")


def write_shard(directory: Path, shard: str, claim: Claim, entries: Sequence[bytes]) -> None:
    """Write a shard's item and the bytes of its manifest's entries."""
    folder = directory / shard
    with _written(folder):
        folder.mkdir(mode=0o700)
        if claim.state is not None:
            for entry, data in zip(claim.state.manifest, entries, strict=False):  # none where the snapshot is inline
                (folder / _file_of(entry)).write_bytes(data)
        _write_json(folder / _ITEM, _item(claim))


def write_contributions(directory: Path, rows: Sequence[bytes]) -> str:
    """Write contributions, if there are any; return the hash of the file, empty if there is none."""
    if not rows:
        return ""
    data = msgspec.msgpack.encode(rows)
    with _written(directory):
        (directory / _CONTRIBUTIONS).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def write_export(directory: Path, export: Export) -> None:
    """Write what the export is of: from here on it is one."""
    with _written(directory):
        _write_json(directory / _APPLICATION, msgspec.to_builtins(export))


def remove_shard(directory: Path, shard: str) -> None:
    """Remove what was written of a shard."""
    with _written(directory):
        shutil.rmtree(directory / shard)


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}. Name a directory that can be written, with enough room") from error


def read_export(directory: Path) -> Export:
    """Return what a directory is an export of; RefusedError if it is none."""
    export = _read(directory / _APPLICATION, "no export lies there, or it was interrupted")
    try:
        read = msgspec.json.decode(export, type=Export)
    except msgspec.MsgspecError as error:
        raise RefusedError(f"{directory / _APPLICATION} is no export: {error}") from error
    if read.format != FORMAT:
        raise RefusedError(f"{directory} has export format {read.format}, this version reads {FORMAT}")
    for shard in read.shards:
        if not _SHARD.fullmatch(shard):
            raise RefusedError(f"{directory / _APPLICATION} is no export: {shard!r} is no shard")
    return read


def read_claim(directory: Path, shard: str) -> Claim:
    """Return a shard's item; CorruptStateError if it is none."""
    path = directory / shard / _ITEM
    try:
        item: dict[str, Any] = msgspec.json.decode(_read(path, "the export is not whole"))
    except msgspec.MsgspecError as error:
        raise CorruptStateError(f"{path} is no item: {error}") from error
    inline = item.get("inline", {})
    if "B" in inline:
        item["inline"] = {"B": b64decode(inline["B"])}
    return decode_claim(item)


def read_contributions(directory: Path, export: Export) -> list[bytes]:
    """Return the contributions of an export; CorruptStateError if they are not what was written."""
    if not export.contributions:
        return []
    data = _read(directory / _CONTRIBUTIONS, "the export is not whole")
    if hashlib.sha256(data).hexdigest() != export.contributions:
        raise CorruptStateError(f"{directory / _CONTRIBUTIONS} is not what was written")
    return msgspec.msgpack.decode(data, type=list[bytes])


def read_entries(directory: Path, shard: str, claim: Claim) -> list[bytes]:
    """Return the bytes of a snapshot, base first; CorruptStateError if they are not what was written."""
    state = claim.state
    assert state is not None
    if state.inline is not None:
        return [state.inline]
    return [_read_entry(directory / shard / _file_of(entry), entry) for entry in state.manifest]


def _read_entry(path: Path, entry: Entry) -> bytes:
    data = _read(path, "the export is not whole")
    verify(entry, data)
    return data


def _item(claim: Claim) -> dict[str, Any]:
    if claim.retired:
        return encode_tombstone(claim.epoch)
    if claim.state is None:
        return encode_epoch(claim.epoch)
    item = encode_epoch(claim.epoch) | encode_state(claim.state)
    if claim.state.inline is not None:
        item["inline"] = {"B": b64encode(claim.state.inline).decode()}
    return item


def _file_of(entry: Entry) -> str:
    return entry.key.rpartition("/")[2]


def _write_json(path: Path, value: Any) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def _read(path: Path, meaning: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RefusedError(f"{path}: {error.strerror}: {meaning}") from error
