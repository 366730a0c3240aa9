"""Private directories: whose they are, and which of them are removed by somebody else."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer.runtime import private_directory
from consumer.runtime.daemon_files import DaemonConfig, write_files
from consumer.runtime.private_directory import OWNER, PREFIX, make_private_directory, remove_stale_directories

ROOT = Path(private_directory.__file__).parents[2]
OWNING = """
import sys
sys.path.insert(0, sys.argv[1])
from consumer.runtime.daemon_files import DaemonConfig, write_files

files = write_files(DaemonConfig("clicks", "app", "pod-0", "eu-west-1", None), "WARN", [sys.argv[2]])
print(files.directory, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """Return a directory that an owner has left, with a file, a link and a socket's name in it."""
    private = make_private_directory(str(tmp_path))
    os.close(private.lock)
    (private.path / "file").write_text("x")
    (private.path / "python").symlink_to(sys.executable)
    return private.path


@pytest.fixture
def parent() -> Iterator[str]:
    """Give a directory to make private ones in; pytest's own paths may be too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="sg-") as directory:
        yield directory


def start_an_owner(parent: str) -> tuple[subprocess.Popen[str], Path]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNING, ROOT, parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout
    return owner, Path(owner.stdout.readline().strip())


def test_a_directory_is_private_and_goes_with_its_owner_s_word(tmp_path: Path) -> None:
    private = make_private_directory(str(tmp_path))
    assert stat.S_IMODE(private.path.stat().st_mode) == 0o700
    assert [path.name for path in private.path.iterdir()] == [OWNER]
    private.remove()
    assert not [*tmp_path.iterdir()]


def test_what_a_killed_worker_has_left_is_removed_by_the_next_one_and_not_before(parent: str) -> None:
    config = DaemonConfig("clicks", "app", "pod-1", "eu-west-1", None)
    owner, directory = start_an_owner(parent)
    with owner:
        assert {"daemon.properties", OWNER} < {path.name for path in directory.iterdir()}
        files = write_files(config, "WARN", [parent])
        assert directory.exists(), "its owner lives"
        owner.kill()
        owner.wait()
    assert directory.exists(), "nobody was left to remove it"
    more = write_files(config, "WARN", [parent])
    assert not directory.exists()
    assert files.directory.exists(), "this process lives"
    files.remove()
    more.remove()
    assert not [*Path(parent).iterdir()]


def test_an_owner_that_is_dead_leaves_nothing(left: Path, tmp_path: Path) -> None:
    remove_stale_directories(str(tmp_path))
    assert not left.exists()
    assert Path(sys.executable).exists(), "links are not followed"


def test_a_link_to_a_stale_directory_is_not_followed(left: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = elsewhere / f"{PREFIX}link"
    link.symlink_to(left)
    remove_stale_directories(str(elsewhere))
    assert (left / OWNER).exists()
    assert link.is_symlink()


def test_an_owner_s_file_that_is_a_link_is_none(left: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (left / OWNER).rename(target)
    (left / OWNER).symlink_to(target)
    remove_stale_directories(str(tmp_path))
    assert (left / "file").exists()


def test_a_directory_that_others_may_enter_is_left_alone(left: Path, tmp_path: Path) -> None:
    left.chmod(0o750)
    remove_stale_directories(str(tmp_path))
    assert (left / "file").exists()


def test_another_user_s_directory_is_left_alone(left: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = os.getuid()
    monkeypatch.setattr("consumer.runtime.private_directory.os.getuid", lambda: user + 1)
    remove_stale_directories(str(tmp_path))
    assert (left / "file").exists()


def test_what_is_not_ours_is_left_alone(left: Path, tmp_path: Path) -> None:
    other_name = left.rename(tmp_path / "other")
    no_owner = tmp_path / f"{PREFIX}demo"
    no_owner.mkdir(mode=0o700)
    file = tmp_path / f"{PREFIX}file"
    file.write_text("x")
    remove_stale_directories(str(tmp_path))
    assert (other_name / "file").exists()
    assert no_owner.exists()
    assert file.exists()


def test_one_that_cannot_be_removed_does_not_keep_the_others(left: Path, tmp_path: Path) -> None:
    (left / "directory").mkdir()
    others = [make_private_directory(str(tmp_path)) for _ in range(3)]
    for other in others:
        os.close(other.lock)
    remove_stale_directories(str(tmp_path))
    assert [path for path in tmp_path.iterdir() if path.name.startswith(PREFIX)] == [left]
    assert (left / "directory").exists()


def test_a_parent_that_is_not_there_has_nothing_stale(tmp_path: Path) -> None:
    remove_stale_directories(str(tmp_path / "missing"))


def test_a_directory_that_cannot_be_marked_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr("consumer.runtime.private_directory.fcntl.flock", refuse)
    with pytest.raises(OSError, match="no locks here"):
        make_private_directory(str(tmp_path))
    assert not [*tmp_path.iterdir()]
