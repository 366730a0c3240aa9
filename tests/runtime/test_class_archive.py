"""The archive of Java's classes: where it may lie, what it is made of, and that nothing hangs on it."""

from __future__ import annotations

import fcntl
import gzip
import os
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from consumer.errors import SetupError
from consumer.runtime import class_archive
from consumer.runtime.class_archive import (
    ARCHIVES_MAX,
    DELAY_SECONDS,
    PACKED_IN,
    ClassArchive,
    find_archive,
    ready_archive,
)
from consumer.runtime.jars import Jars
from consumer.runtime.java import Java, find_java

CLASSES = "java/lang/Object id: 0\njava/lang/String id: 1\n"


def java_of(directory: Path, script: str, version: str = "25.0.2") -> Java:
    path = directory / "java"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return Java(path, version, "PATH")


def jars_of(directory: Path) -> Jars:
    path = directory / "one.jar"
    if not path.exists():
        path.write_bytes(b"PK")
    return Jars("3.1.3", "3.1.3", (path,), ())


DUMPS = """
for each in "$@"; do
  case "$each" in
    -XX:SharedArchiveFile=*) archive="${each#*=}";;
    -XX:SharedClassListFile=*) list="${each#*=}";;
  esac
done
cp "$list" "$archive"
echo "$@" > "$archive.arguments"
"""
"""A Java that makes an archive of the list itself."""


@pytest.fixture
def environ(tmp_path: Path) -> Mapping[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path / "cache")}


@pytest.fixture
def class_list(tmp_path: Path) -> Path:
    path = tmp_path / "classes"
    path.write_text(CLASSES + "java/lang/Thre")
    return path


def archive_of(tmp_path: Path, environ: Mapping[str, str], script: str = DUMPS) -> ClassArchive:
    found = find_archive(java_of(tmp_path, script), jars_of(tmp_path), environ)
    assert found is not None
    return found


def test_the_first_start_lists_classes_and_later_ones_use_the_archive(
    tmp_path: Path, environ: Mapping[str, str], class_list: Path
) -> None:
    archive = archive_of(tmp_path, environ)
    assert archive.flags(class_list) == [f"-XX:DumpLoadedClassList={class_list}"]
    assert archive.make(class_list)
    assert archive.path.read_text() == CLASSES, "the line that was being written is left out"
    assert archive.flags(class_list) == [
        f"-XX:SharedArchiveFile={archive.path}",
        "-XX:+VerifySharedSpaces",
        "-Xlog:cds=off",
    ]
    assert not archive.make(class_list), "once"
    left = {path.name for path in archive.path.parent.iterdir()}
    stem = archive.path.stem
    assert left == {f"{stem}.jsa", f"{stem}.lock", f"{stem}.new.arguments"}
    arguments = (archive.path.parent / f"{stem}.new.arguments").read_text().split()
    assert {"-Xshare:dump", "-XX:+UseSerialGC", "-cp", str(tmp_path / "one.jar")} < set(arguments)


def test_its_maker_is_the_last_to_run_and_the_first_to_be_killed(
    tmp_path: Path, environ: Mapping[str, str], class_list: Path
) -> None:
    # The script waits for what is set once it has started.
    waits = "until [ $(cat /proc/$$/oom_score_adj) = 1000 ]; do sleep 0.01; done"
    archive = archive_of(tmp_path, environ, f"{DUMPS}\n{waits}\nnice > {tmp_path}/nice")
    assert archive.make(class_list)
    assert (tmp_path / "nice").read_text() == "19\n"


def test_what_makers_who_were_killed_have_left_is_deleted(
    tmp_path: Path, environ: Mapping[str, str], class_list: Path
) -> None:
    archive = archive_of(tmp_path, environ)
    archive.path.parent.mkdir(parents=True, exist_ok=True)
    killed, at_work = (archive.path.parent / f"java-{name}" for name in ("killed", "at-work"))
    for suffix in (".new", ".classes"):
        killed.with_suffix(suffix).write_text("half")
        at_work.with_suffix(suffix).write_text("half")
    with at_work.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert archive.make(class_list)
    left = {path.name for path in archive.path.parent.iterdir() if path.suffix in {".new", ".classes"}}
    assert left == {"java-at-work.new", "java-at-work.classes"}


def test_another_java_or_other_jars_have_another_archive(tmp_path: Path, environ: Mapping[str, str]) -> None:
    java, jars = java_of(tmp_path, DUMPS), jars_of(tmp_path)

    def path_of(java: Java, jars: Jars) -> Path:
        found = find_archive(java, jars, environ)
        assert found is not None
        return found.path

    first = path_of(java, jars)
    assert path_of(java, jars) == first
    assert path_of(Java(java.path, "25.0.3", "PATH"), jars) != first
    os.utime(jars.paths[0], (1, 1))
    second = path_of(java, jars)
    assert second != first
    jars.paths[0].write_bytes(b"PK2")
    os.utime(jars.paths[0], (1, 1))
    assert path_of(java, jars) != second


@pytest.mark.parametrize(
    ("version", "fit"),
    [("25.0.2", True), ("17", True), ("21-ea", True), ("16.0.1", False), ("1.8.0_401", False), ("new", False)],
)
def test_versions_that_it_was_not_tried_with_go_without(
    tmp_path: Path,
    environ: Mapping[str, str],
    version: str,
    fit: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    assert (find_archive(java_of(tmp_path, "", version), jars_of(tmp_path), environ) is not None) == fit


def place(tmp_path: Path, environ: Mapping[str, str]) -> Path | None:
    found = find_archive(java_of(tmp_path, DUMPS), jars_of(tmp_path), environ)
    return None if found is None else found.path.parent


def test_it_lies_in_the_user_s_cache_or_else_in_a_temporary_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer.runtime.class_archive.tempfile.gettempdir", lambda: str(tmp_path / "tmp"))
    temporary = tmp_path / "tmp" / f"class-archive-of-streamgauge-{os.getuid()}"
    blocked = tmp_path / "file"
    blocked.touch()
    home = {"HOME": str(tmp_path / "home")}
    assert place(tmp_path, home | {"XDG_CACHE_HOME": str(tmp_path / "xdg")}) == tmp_path / "xdg" / "streamgauge"
    assert place(tmp_path, home) == tmp_path / "home" / ".cache" / "streamgauge"
    for elsewhere in ({}, {"HOME": ""}, {"XDG_CACHE_HOME": "relative"}, {"HOME": str(blocked)}):
        assert place(tmp_path, elsewhere) == temporary
    assert temporary.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_others_may_write_to_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.runtime.class_archive.tempfile.gettempdir", lambda: str(tmp_path / "file"))
    (tmp_path / "file").touch()
    directory = tmp_path / "cache" / "streamgauge"
    directory.mkdir(parents=True)
    environ = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    for mode, fit in ((0o777, False), (0o770, False), (0o755, True)):
        directory.chmod(mode)
        assert place(tmp_path, environ) == (directory if fit else None)
    monkeypatch.setattr("consumer.runtime.class_archive.os.getuid", lambda: 4_711)
    assert place(tmp_path, environ) is None, "somebody else's"


def test_a_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.runtime.class_archive.tempfile.gettempdir", lambda: str(tmp_path / "file"))
    (tmp_path / "file").touch()
    (tmp_path / "cache").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache" / "streamgauge").symlink_to(tmp_path / "elsewhere")
    assert place(tmp_path, {"XDG_CACHE_HOME": str(tmp_path / "cache")}) is None


def test_one_process_makes_it(tmp_path: Path, environ: Mapping[str, str], class_list: Path) -> None:
    archive = archive_of(tmp_path, environ)
    with archive.path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not archive.make(class_list)
        assert not archive.path.exists()
    assert archive.make(class_list)


@pytest.mark.parametrize("script", ["echo out of luck >&2; exit 1", f"{DUMPS}\necho out of luck >&2; exit 1", "exit 0"])
def test_what_could_not_be_made_leaves_nothing(
    tmp_path: Path, environ: Mapping[str, str], class_list: Path, script: str
) -> None:
    archive = archive_of(tmp_path, environ, script)
    with pytest.raises(SetupError, match=r"could not archive its classes \(status [01]\)"):
        archive.make(class_list)
    assert not [path for path in archive.path.parent.iterdir() if path.suffix not in (".lock", ".arguments")]


def test_without_a_list_or_memory_it_is_not_made(
    tmp_path: Path, environ: Mapping[str, str], class_list: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = archive_of(tmp_path, environ)
    with pytest.raises(SetupError, match="has not listed its classes"):
        archive.make(tmp_path / "nowhere")
    monkeypatch.setattr(class_archive, "free_bytes", lambda: class_archive.MEMORY_BYTES_MIN - 1)
    with pytest.raises(SetupError, match="512 MiB"):
        archive.make(class_list)
    assert not archive.path.exists()


def test_the_oldest_are_deleted(tmp_path: Path, environ: Mapping[str, str], class_list: Path) -> None:
    archive = archive_of(tmp_path, environ)
    others = [archive.path.with_name(f"java-{number}.jsa") for number in range(ARCHIVES_MAX + 1)]
    for number, path in enumerate(others):
        path.touch()
        os.utime(path, (number, number))
    assert archive.make(class_list)
    assert {path for path in others if path.exists()} == set(others[2:])


class Heard:
    """Hears the events, and the waiting."""

    def __init__(self, *, ends: bool = False) -> None:
        self.done = threading.Event()
        self.waited: list[float] = []
        self.said: list[object] = []
        self._ends = ends

    def wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        if self._ends:
            self.done.set()
        return self._ends

    def class_archive_made(self, *, size_bytes: int, seconds: float) -> None:
        assert seconds >= 0
        self.said.append(size_bytes)
        self.done.set()

    def class_archive_not_made(self, *, error: BaseException) -> None:
        self.said.append(type(error))
        self.done.set()


def test_it_is_made_when_the_daemon_has_worked_for_a_while(
    tmp_path: Path, environ: Mapping[str, str], class_list: Path
) -> None:
    archive, heard = archive_of(tmp_path, environ), Heard()
    archive.make_later(class_list, heard.wait, heard)  # type: ignore[arg-type]  # the two events of all
    assert heard.done.wait(10)
    assert (heard.waited, heard.said) == ([DELAY_SECONDS], [len(CLASSES)])


def test_a_worker_that_ends_before_makes_none(tmp_path: Path, environ: Mapping[str, str], class_list: Path) -> None:
    archive, heard = archive_of(tmp_path, environ), Heard(ends=True)
    archive.make_later(class_list, heard.wait, heard)  # type: ignore[arg-type]  # the two events of all
    assert heard.done.wait(10)
    assert (heard.said, archive.path.exists()) == ([], False)


def test_whatever_goes_wrong_is_told_and_nothing_else(
    tmp_path: Path, environ: Mapping[str, str], class_list: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise ValueError("that nobody has foreseen")

    archive, heard = archive_of(tmp_path, environ), Heard()
    monkeypatch.setattr(class_archive, "free_bytes", fail)
    archive.make_later(class_list, heard.wait, heard)  # type: ignore[arg-type]  # the two events of all
    assert heard.done.wait(10)
    assert heard.said == [ValueError]


def test_java_makes_it_uses_it_and_goes_on_without_it(tmp_path: Path, environ: Mapping[str, str]) -> None:
    """With the real Java: of its own classes, which is quick."""
    java = find_java({})
    archive = find_archive(java, jars_of(tmp_path), environ)
    assert archive is not None
    class_list = tmp_path / "classes"

    def version() -> tuple[int, str]:
        command = [str(java.path), *archive.flags(class_list), "-XX:+UseSerialGC", "-cp", archive.jars.class_path]
        done = subprocess.run([*command, "-version"], capture_output=True, text=True, check=False)
        assert done.stdout == ""
        return done.returncode, done.stderr

    listing = version()
    assert listing[0] == 0
    assert "sharing" not in listing[1].replace("without sharing", "")
    assert "java/lang/Object" in class_list.read_text()
    assert archive.make(class_list)
    status, said = version()
    assert (status, "sharing" in said) == (0, True)
    whole = archive.path.read_bytes()
    middle = len(whole) // 2
    for damaged in (whole[:1_000_000], b"no archive", whole[:middle] + bytes(4096) + whole[middle + 4096 :]):
        archive.path.unlink()
        archive.path.write_bytes(damaged)
        status, said = version()
        assert (status, "sharing" in said) == (0, False)


# -- what an image brings


CLASSES_OF_THE_IMAGE = b"what Java maps" * 1000


@pytest.fixture
def image(tmp_path: Path, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment of an image that has the archive."""
    folder = tmp_path / "image"
    folder.mkdir()
    name = archive_of(tmp_path, environ).path.name
    (folder / f"{name}.gz").write_bytes(gzip.compress(CLASSES_OF_THE_IMAGE))
    return {**environ, PACKED_IN: str(folder)}


@pytest.fixture
def heard() -> Heard:
    return Heard()


def ready(tmp_path: Path, image: Mapping[str, str], heard: Heard) -> ClassArchive:
    java = Java(tmp_path / "java", "25.0.2", "PATH")
    found = ready_archive(java, jars_of(tmp_path), image, heard)  # type: ignore[arg-type]  # as above
    assert found is not None
    return found


def test_what_an_image_brings_is_unpacked_before_the_first_start(
    tmp_path: Path, image: Mapping[str, str], heard: Heard, class_list: Path
) -> None:
    archive = ready(tmp_path, image, heard)
    assert archive.path.read_bytes() == CLASSES_OF_THE_IMAGE
    assert f"-XX:SharedArchiveFile={archive.path}" in archive.flags(class_list)
    assert not archive.unpack(), "once"
    assert heard.said == []


def test_what_an_image_brings_for_another_java_is_left_packed(
    tmp_path: Path, image: Mapping[str, str], heard: Heard
) -> None:
    other = Java(tmp_path / "java", "25.0.9", "PATH")
    found = ready_archive(other, jars_of(tmp_path), image, heard)  # type: ignore[arg-type]  # as above
    assert found is not None
    assert not found.path.exists()
    assert heard.said == []


@pytest.mark.parametrize("spoil", ["cut off", "changed", "no gzip"])
def test_what_cannot_be_unpacked_is_told_and_leaves_nothing(
    tmp_path: Path, image: Mapping[str, str], heard: Heard, spoil: str
) -> None:
    (packed,) = Path(image[PACKED_IN]).iterdir()
    data = packed.read_bytes()
    changed = data[:20] + bytes(8) + data[28:]
    packed.write_bytes({"cut off": data[:-20], "changed": changed, "no gzip": b"PK"}[spoil])
    archive = ready(tmp_path, image, heard)
    assert not list(archive.path.parent.glob("*.jsa*"))
    assert not list(archive.path.parent.glob("*.new"))
    assert len(heard.said) == 1


def test_without_memory_it_is_left_packed(
    tmp_path: Path, image: Mapping[str, str], heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(class_archive, "free_bytes", lambda: 100 << 20)
    assert not ready(tmp_path, image, heard).path.exists()
    assert heard.said == [SetupError]
