"""Files of rows: complete, or not there."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

import pytest

from consumer.entrypoints.process.outputs import OutputError, Outputs
from consumer.records import DEAD_LETTER, LATE, Row

ROWS = [Row("a", b"1"), Row(LATE, b"2"), Row("b", b"3"), Row(DEAD_LETTER, b"4"), Row("a", b"5")]


class FailedError(Exception):
    pass


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_each_row_goes_to_its_file_in_order(tmp_path: Path) -> None:
    stdout = io.BytesIO()
    with Outputs("-", str(tmp_path / "late"), str(tmp_path / "dead"), stdout) as outputs:
        outputs.write(ROWS)
        outputs.write([])
        outputs.write(ROWS[:2])
        outputs.finish()
    assert stdout.getvalue() == b"1\n3\n5\n1\n"
    assert (tmp_path / "late").read_bytes() == b"2\n2\n"
    assert (tmp_path / "dead").read_bytes() == b"4\n"
    assert entries(tmp_path) == ["dead", "late"]


def test_files_of_one_name_are_one_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "all")
    path = str(tmp_path / "all")
    with Outputs(path, str(tmp_path / "link"), path, io.BytesIO()) as outputs:
        outputs.write(ROWS)
        outputs.finish()
    assert (tmp_path / "all").read_bytes() == b"1\n2\n3\n4\n5\n"
    assert (tmp_path / "link").is_symlink()


def test_a_file_has_its_name_only_when_it_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(b"of an earlier run\n")
    with Outputs(str(path), None, None, io.BytesIO()) as outputs:
        outputs.write(ROWS)
        assert path.read_bytes() == b"of an earlier run\n"
        outputs.finish()
        assert path.read_bytes() == b"1\n2\n3\n4\n5\n"


def test_a_file_is_there_even_if_it_has_no_row(tmp_path: Path) -> None:
    with Outputs(str(tmp_path / "rows"), None, None, io.BytesIO()) as outputs:
        outputs.finish()
    assert (tmp_path / "rows").read_bytes() == b""


def test_a_run_that_failed_leaves_everything_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(b"of an earlier run\n")

    def run() -> None:
        with Outputs(str(path), str(tmp_path / "late"), None, io.BytesIO()) as outputs:
            outputs.write(ROWS)
            raise FailedError

    with pytest.raises(FailedError):
        run()
    assert path.read_bytes() == b"of an earlier run\n"
    assert entries(tmp_path) == ["rows"]


def test_if_a_file_cannot_be_opened_nothing_is_left_behind(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*none/rows: No such file or directory"):
        Outputs(str(tmp_path / "none" / "rows"), str(tmp_path / "late"), None, io.BytesIO())
    with pytest.raises(OutputError, match="it is a directory"):
        Outputs(str(tmp_path), None, None, io.BytesIO())
    assert entries(tmp_path) == []


def test_a_file_gets_the_usual_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with Outputs(str(tmp_path / "rows"), None, None, io.BytesIO()) as outputs:
            outputs.finish()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "rows").stat().st_mode) == 0o640


def test_a_device_is_written_and_not_replaced() -> None:
    with Outputs(os.devnull, None, None, io.BytesIO()) as outputs:
        outputs.write(ROWS)
        outputs.finish()
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_a_pipe_is_written_at_once(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with Outputs(str(path), None, None, io.BytesIO()) as outputs:
            outputs.write(ROWS[:1])
            assert os.read(reader, 100) == b"1\n"
    finally:
        os.close(reader)


class Stubborn(io.BytesIO):
    """Takes a byte at a time, or raises."""

    def __init__(self, error: OSError | None = None) -> None:
        super().__init__()
        self.error = error

    def write(self, data: object) -> int:
        if self.error:
            raise self.error
        assert isinstance(data, memoryview)
        return super().write(data[:1])


def test_a_stream_may_take_less_than_it_is_given() -> None:
    stdout = Stubborn()
    with Outputs("-", None, None, stdout) as outputs:
        outputs.write(ROWS)
    assert stdout.getvalue() == b"1\n2\n3\n4\n5\n"


def test_a_full_disk_is_told_with_the_file() -> None:
    full = Stubborn(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with Outputs("-", None, None, full) as outputs, pytest.raises(OutputError, match="standard output: No space left"):
        outputs.write(ROWS)


def test_a_reader_that_has_gone_is_no_error_of_the_output() -> None:
    gone = Stubborn(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))
    with Outputs("-", None, None, gone) as outputs, pytest.raises(BrokenPipeError):
        outputs.write(ROWS)
