"""What the file sink leaves on the disk, whatever happened before."""

from __future__ import annotations

import errno
import multiprocessing
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.errors import SinkError
from consumer.sinks import file
from consumer.sinks.base import Failure
from consumer.sinks.file import FileSink


def write(path: Path, *rows: bytes) -> None:
    sink = FileSink(path)
    assert list(sink.put(rows)) == []
    sink.close()


def test_rows_are_appended_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    write(path, b"{1}")
    write(path, b"{2}", b"{3}")
    assert path.read_bytes() == b"{1}\n{2}\n{3}\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (b"\n", b"\n"),
        (b"torn", b""),
        (b"{1}\n", b"{1}\n"),
        (b"{1}\n{2", b"{1}\n"),
        (b"{1}\n{2}", b"{1}\n"),
        (b"{1}\n" + b"x" * 200_000, b"{1}\n"),
        (b"x" * 200_000, b""),
    ],
)
def test_a_torn_last_line_is_cut_off(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(before)
    write(path, b"{9}")
    assert path.read_bytes() == after + b"{9}\n"


@settings(max_examples=50, deadline=None)
@given(content=st.binary(max_size=40), chunk=st.integers(1, 7))
def test_whole_lines_are_kept_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, chunk: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "out"
    path.write_bytes(content)
    fd = os.open(path, os.O_RDONLY)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(file, "_TAIL_BYTES", chunk)
            length = file._whole_lines_bytes(fd)
    finally:
        os.close(fd)
    assert content[:length] == content[: content.rfind(b"\n") + 1]


def test_a_file_that_cannot_be_cleaned_up_is_cleaned_up_before_the_next_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.jsonl"
    sink = FileSink(path)
    sink.put([b"{1}"])
    with monkeypatch.context() as broken:
        real_write = os.write

        def write_some(fd: int, data: memoryview) -> int:
            if bytes(data).startswith(b"{2"):
                return real_write(fd, data[:2])
            raise OSError(errno.ENOSPC, "No space left on device")

        broken.setattr(os, "write", write_some)
        broken.setattr(os, "ftruncate", _fail)
        assert list(sink.put([b"{2}"])) == [Failure(0, "unavailable")]
        assert path.read_bytes() == b"{1}\n{2"
        assert list(sink.put([b"{2}"])) == [Failure(0, "unavailable")]
    assert list(sink.put([b"{2}"])) == []
    assert path.read_bytes() == b"{1}\n{2}\n"
    sink.close()


def _fail(*_: object) -> None:
    raise OSError(errno.EIO, "Input/output error")


def test_rows_are_on_the_disk_when_put_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = FileSink(tmp_path / "out.jsonl")
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    sink.put([b"{1}"])
    assert synced == [sink._fd]
    sink.close()


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"No such file or directory. Its directory must exist"):
        FileSink(tmp_path / "nowhere" / "out.jsonl")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="Is a directory"):
        FileSink(tmp_path)


def test_a_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(SinkError, match="Permission denied"):
        FileSink(tmp_path / "out.jsonl")


def test_a_device_is_refused() -> None:
    with pytest.raises(SinkError, match="not a regular file"):
        FileSink(Path(os.devnull))


def test_a_second_writer_is_refused_until_the_first_has_closed(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    first = FileSink(path)
    with pytest.raises(SinkError, match="being written by another"):
        FileSink(path)
    first.close()
    write(path, b"{1}")


def _write_torn_and_die(path: Path) -> None:
    sink = FileSink(path)
    sink.put([b"{1}"])
    os.write(sink._fd, b'{"torn":')
    os._exit(1)


def test_a_killed_writer_leaves_lock_and_torn_row_behind_for_nobody(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    writer = multiprocessing.get_context("spawn").Process(target=_write_torn_and_die, args=(path,))
    writer.start()
    writer.join(timeout=60)
    assert writer.exitcode == 1
    write(path, b"{2}")
    assert path.read_bytes() == b"{1}\n{2}\n"
