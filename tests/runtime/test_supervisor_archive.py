"""What the supervisor does with the archive of Java's classes, with a stand-in for Java."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from consumer.errors import DaemonError
from consumer.runtime import daemon_log
from consumer.runtime.class_archive import ClassArchive
from consumer.runtime.daemon_files import DaemonConfig
from consumer.runtime.jars import Jars
from consumer.runtime.java import Java
from consumer.runtime.supervisor import Daemon

DEADLINE_SECONDS = 60
NO_JARS = Jars("0", "0", (), ())
INITIALISED = ("INFO", *daemon_log.INITIALISED)

Start = Callable[..., Daemon]


@pytest.fixture
def archive(tmp_path: Path) -> ClassArchive:
    """Return where the archive of a stand-in is to be."""
    path = tmp_path / "java"
    path.write_text(f"#!{sys.executable}\n{Path(__file__).with_name('fake_java.py').read_text()}")
    path.chmod(0o700)
    return ClassArchive(tmp_path / "java.jsa", Java(path, "0", "test"), NO_JARS)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive: ClassArchive) -> Iterator[Start]:
    """Start a stand-in with a plan, and return the daemon when it has begun."""
    ready = threading.Event()
    with tempfile.TemporaryDirectory(prefix="sg-") as parent:
        monkeypatch.setattr("consumer.runtime.daemon_files.default_temporary_directories", lambda: (parent,))
        daemons = []

        def start_daemon(used: ClassArchive | None, **plan: object) -> Daemon:
            daemon = Daemon(
                DaemonConfig("clicks", "app", str(tmp_path), "us-east-1", None),
                archive.java,
                NO_JARS,
                environ={**os.environ, "FAKE_DAEMON": json.dumps(plan)},
                on_shard=lambda *_: None,
                on_log=lambda *_: ready.set(),
                archive=used,
            )
            daemons.append(daemon)
            daemon.start()
            assert ready.wait(DEADLINE_SECONDS)
            return daemon

        yield start_daemon
        for daemon in daemons:
            daemon.__exit__(None, None, None)


def arguments(daemon: Daemon) -> list[str]:
    return Path(f"/proc/{daemon.pid}/cmdline").read_text().split("\0")


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


@linux_only
def test_java_uses_the_archive_that_is_there(start: Start, archive: ClassArchive) -> None:
    archive.path.touch()
    assert f"-XX:SharedArchiveFile={archive.path}" in arguments(start(archive))


@linux_only
def test_java_lists_its_classes_where_there_is_none_and_it_is_made_of_them(
    start: Start, archive: ClassArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(ClassArchive, "make_later", lambda *arguments: asked.append(arguments))
    daemon = start(archive)
    (flag,) = (each for each in arguments(daemon) if each.startswith("-XX:DumpLoadedClassList="))
    class_list = Path(flag.partition("=")[2])
    assert class_list.parent.stat().st_mode & 0o777 == 0o700
    wait, telemetry = object(), object()
    daemon.archive_classes(wait, telemetry)  # type: ignore[arg-type]  # handed on
    assert asked == [(archive, class_list, wait, telemetry)]


@linux_only
def test_a_daemon_may_do_without(start: Start) -> None:
    daemon = start(None)
    assert not [each for each in arguments(daemon) if "Shared" in each or "ClassList" in each]
    daemon.archive_classes(lambda _: True, None)  # type: ignore[arg-type]  # not used


@pytest.mark.parametrize(
    ("plan", "kept"),
    [
        ({"kill": signal.SIGBUS}, False),
        ({"kill": signal.SIGABRT}, False),
        ({"kill": signal.SIGKILL}, True),
        ({"exit": 1}, True),
        ({"log": [INITIALISED], "kill": signal.SIGBUS}, True),
    ],
)
def test_an_archive_over_which_java_crashes_is_not_used_again(
    start: Start, archive: ClassArchive, plan: dict[str, object], kept: object
) -> None:
    archive.path.touch()
    daemon = start(archive, **plan)
    with pytest.raises(DaemonError):
        daemon.wait(DEADLINE_SECONDS)
    assert archive.path.exists() == kept
