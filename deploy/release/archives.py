"""Archives with the same bytes whoever makes them, when and where: names sorted, no time, no owner, fixed modes."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path

EPOCH_SECONDS = 315_532_800
"""1980-01-01: the earliest time that a zip file can say, as in all archives of a release."""
_LEFT_OUT = ("__pycache__", "*.pyc", "*.orig", "*.swp", ".DS_Store")


def files_below(folder: Path, left_out: Iterable[str] = ()) -> dict[str, bytes]:
    """Return the files below a folder by their path in it, but for those with a part of their path left out."""
    patterns = (*_LEFT_OUT, *left_out)
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in paths
        if not any(fnmatch(part, pattern) for part in path.relative_to(folder).parts for pattern in patterns)
    }


def tar_gz(files: Mapping[str, bytes]) -> bytes:
    """Return a gzipped tar file of these files."""
    with io.BytesIO() as packed:
        with (
            gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=0) as zipped,
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for name in sorted(files):
                archive.addfile(_member(name, len(files[name])), io.BytesIO(files[name]))
        return packed.getvalue()


def read_tar_gz(data: bytes) -> dict[str, bytes]:
    """Return the files of a gzipped tar file."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        members = [(member.name, archive.extractfile(member)) for member in archive.getmembers() if member.isfile()]
        return {name: file.read() for name, file in members if file is not None}


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, EPOCH_SECONDS, 0o644
    return member
