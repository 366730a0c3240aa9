"""The installed jars against the lock, and what happens when they differ."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from consumer.errors import SetupError
from consumer.runtime import jars
from consumer.runtime.jars import JarLock, find_jars, lock_text, read_lock


def lock_of(directory: Path, version: str) -> JarLock:
    text = json.loads(lock_text(directory, version))
    return JarLock(text["version"], text["sha256"])


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Make a directory with three of the real jars."""
    for jar in sorted(jars.installed_directory().glob("*.jar"))[:3]:
        shutil.copy(jar, tmp_path)
    return tmp_path


def test_the_installed_jars_are_the_locked_ones() -> None:
    found = find_jars().require()
    assert found.problems == ()
    assert found.tested
    assert len(found.paths) == len(read_lock().sha256)
    assert found.class_path.split(":") == sorted(found.class_path.split(":"))
    assert any(path.name.startswith("amazon-kinesis-client-multilang") for path in found.paths)


def test_the_lock_is_what_the_generator_writes() -> None:
    assert lock_text(jars.installed_directory(), jars.installed_version()) == jars.LOCK_PATH.read_text()


def test_missing_unknown_and_changed_jars_are_named(few: Path) -> None:
    lock = lock_of(few, jars.installed_version())
    first, second, _ = sorted(few.iterdir())
    first.unlink()
    with second.open("ab") as jar:
        jar.write(b"\0")
    (few / "surplus.jar").write_bytes(b"PK")
    found = find_jars(few, lock)
    assert found.problems == (
        f"{first.name} is missing",
        "surplus.jar is unknown",
        f"{second.name} has been changed",
    )
    with pytest.raises(SetupError) as error:
        found.require()
    assert all(problem in str(error.value) for problem in found.problems)
    assert "pip install --force-reinstall" in str(error.value)


def test_another_version_is_not_the_tested_one_and_does_not_stop_the_worker(few: Path) -> None:
    lock = lock_of(few, "0.0.1")
    next(iter(few.iterdir())).unlink()
    found = find_jars(few, lock)
    assert not found.tested
    assert found.problems
    assert found.require() is found


def test_no_jars_and_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SetupError, match="no jar in"):
        find_jars(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SetupError, match="not installed"):
        find_jars()
    monkeypatch.setattr(jars, "DISTRIBUTION", "no-such-distribution")
    with pytest.raises(SetupError, match="no-such-distribution is not installed"):
        jars.installed_version()
