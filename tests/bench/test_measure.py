from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.measure import Part, Usage, family_of, parse_kilobytes, parse_stat, part_of, slope, usage_by_part, usage_of

TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20


def stat_line(pid: int, parent: int, *, user: int = 0, system: int = 0, reaped: int = 0, name: str = "x") -> str:
    """Return a line as proc(5) has it: user and system time are values 14 and 15, of reaped children 16 and 17."""
    return f"{pid} ({name}) S {parent} 1 1 0 -1 4194304 9 9 9 9 {user} {system} {reaped} 0 20 0 7 0 99 1000 10"


def add_process(processes: Path, pid: int, parent: int, command: str, *, cpu: int = 0) -> None:
    directory = processes / str(pid)
    directory.mkdir()
    (directory / "stat").write_text(stat_line(pid, parent, user=cpu))
    (directory / "status").write_text("Name:\tx\nVmHWM:\t    2048 kB\n")
    (directory / "smaps_rollup").write_text("1-2 ---p 0 00:00 0 [rollup]\nRss: 3000 kB\nPss:                1024 kB\n")
    (directory / "cmdline").write_bytes(command.replace(" ", "\0").encode() + b"\0")


def test_cpu_time_is_user_and_system_with_reaped_children() -> None:
    stat = parse_stat(stat_line(7, 3, user=TICKS, system=2 * TICKS, reaped=4 * TICKS))
    assert stat == (3, 7.0)


@pytest.mark.parametrize("name", ["java", "a b", "a) S 9 9", "((("])
def test_the_name_of_a_process_may_hold_anything(name: str) -> None:
    assert parse_stat(stat_line(7, 3, user=TICKS, name=name)) == (3, 1.0)


def test_kilobytes_are_found_by_their_whole_name() -> None:
    text = "Pss_Dirty:  1 kB\nPss:   2 kB\nVmHWM:\t3 kB\n"
    assert parse_kilobytes(text, "Pss") == 2048
    assert parse_kilobytes(text, "VmHWM") == 3072
    with pytest.raises(KeyError):
        parse_kilobytes(text, "VmPeak")


def test_this_process_has_used_something() -> None:
    usage = usage_of(os.getpid())
    assert usage.cpu_s > 0
    assert usage.peak_bytes > MIB
    assert usage.pss_bytes > MIB


@pytest.mark.parametrize(
    ("command", "part"),
    [
        (["/opt/runtime/bin/java", "-Xmx1m", "Main"], Part.JAVA),
        (["/t/x/python", "-ISs", "/t/x/relay.py", "/t/x/shards.sock"], Part.RELAYS),
        (["/v/bin/python", "-m", "consumer", "run", "java"], Part.PYTHON),
        (["/v/bin/python", "/b/kclpy_processor.py", "/t/x"], Part.PYTHON),
        ([""], Part.PYTHON),
    ],
)
def test_a_process_is_known_by_its_command(command: list[str], part: Part) -> None:
    assert part_of(command) is part


def test_a_family_is_everything_below_a_process(tmp_path: Path) -> None:
    for pid, parent in [(1, 0), (10, 1), (11, 10), (12, 11), (20, 1), (9, 12)]:
        add_process(tmp_path, pid, parent, "x")
    (tmp_path / "30").mkdir()  # a process that is just ending has a directory without files
    assert family_of(10, tmp_path) == [9, 10, 11, 12]
    assert family_of(20, tmp_path) == [20]


def test_usage_is_summed_up_by_part(tmp_path: Path) -> None:
    add_process(tmp_path, 10, 1, "/v/python -m consumer run", cpu=3 * TICKS)
    add_process(tmp_path, 11, 10, "/jre/bin/java Main", cpu=5 * TICKS)
    add_process(tmp_path, 12, 11, "/p/python -ISs /p/relay.py", cpu=1 * TICKS)
    add_process(tmp_path, 13, 11, "/p/python -ISs /p/relay.py", cpu=1 * TICKS)
    add_process(tmp_path, 14, 1, "/other/java", cpu=100 * TICKS)
    assert usage_by_part(10, tmp_path) == {
        Part.PYTHON: Usage(3.0, 2 * MIB, MIB),
        Part.JAVA: Usage(5.0, 2 * MIB, MIB),
        Part.RELAYS: Usage(2.0, 4 * MIB, 2 * MIB),
    }


def test_a_part_without_process_has_used_nothing(tmp_path: Path) -> None:
    add_process(tmp_path, 11, 1, "/jre/bin/java Main")
    assert usage_by_part(11, tmp_path)[Part.RELAYS] == Usage()


def test_the_slope_leaves_out_what_the_start_costs() -> None:
    assert slope([(1_000_000, 12.0), (4_000_000, 30.0)]) == pytest.approx(6.0)
    assert slope([(100_000, 10.0), (200_000, 10.5), (400_000, 11.5)]) == pytest.approx(5.0)
