"""How much memory is free, as the kernel tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.runtime.free_memory import free_bytes

MIB = 1024 * 1024


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    path = tmp_path / "meminfo"
    path.write_text(
        "MemTotal:        4194304 kB\nMemFree:          524288 kB\nMemAvailable:    2097152 kB\nHugePages:\n"
    )
    return path


def container(path: Path, limit: str) -> Path:
    """Make a container that uses 700 MiB, 100 of them for files that are not read any more."""
    path.mkdir()
    (path / "memory.max").write_text(f"{limit}\n")
    (path / "memory.current").write_text(f"{700 * MIB}\n")
    (path / "memory.stat").write_text(f"anon {600 * MIB}\ninactive_file {100 * MIB}\nactive_file 0\n")
    return path


@pytest.mark.parametrize(
    ("limit", "free"),
    [(str(1024 * MIB), 424 * MIB), (str(500 * MIB), 0), (str(9_000 * MIB), 2_048 * MIB), ("max", 2_048 * MIB)],
)
def test_the_container_may_have_less_than_the_machine(tmp_path: Path, machine: Path, limit: str, free: int) -> None:
    assert free_bytes(machine, container(tmp_path / "group", limit)) == free


def test_without_a_container_the_machine_s_counts(tmp_path: Path, machine: Path) -> None:
    assert free_bytes(machine, tmp_path / "nowhere") == 2_048 * MIB


@pytest.mark.parametrize("text", ["", "MemTotal: 4194304 kB\n", "MemAvailable: unknown\n"])
def test_nothing_counts_as_free_where_nothing_is_known(tmp_path: Path, text: str) -> None:
    path = tmp_path / "meminfo"
    path.write_text(text)
    assert free_bytes(path, tmp_path / "nowhere") == 0
    assert free_bytes(tmp_path / "missing", tmp_path / "nowhere") == 0


def test_this_machine_tells_it() -> None:
    assert free_bytes() > 0
