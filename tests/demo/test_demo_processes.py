"""The demo's processes: none of them outlives it, and what they said is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from consumer.entrypoints.demo.processes import TAIL_LINES, Child, Children, DemoError, wait_until
from consumer.runtime import clock

DEADLINE_SECONDS = 30.0


@pytest.fixture
def environ(tmp_path: Path) -> Mapping[str, str]:
    """Return an environment in which `python -m sleeper` and `python -m talker` exist."""
    (tmp_path / "sleeper.py").write_text("import time\nprint('asleep', flush=True)\ntime.sleep(600)\n")
    (tmp_path / "talker.py").write_text("import sys\n[print(n) for n in range(100)]\nsys.exit(int(sys.argv[1]))\n")
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def wait_for_sleep(child: Child) -> None:
    wait_until(lambda: "asleep" in child.output(), "sleep", seconds_max=DEADLINE_SECONDS, alive=[child])


def test_children_end_with_the_block(tmp_path: Path, environ: Mapping[str, str]) -> None:
    with Children(tmp_path) as children:
        child = children.start("sleeper", ["sleeper"], environ)
        wait_for_sleep(child)
        assert child.status is None
    assert child.status == -signal.SIGKILL


def test_children_end_when_the_block_fails(tmp_path: Path, environ: Mapping[str, str]) -> None:
    children = Children(tmp_path)

    def start_and_fail() -> None:
        with children:
            wait_for_sleep(children.start("sleeper", ["sleeper"], environ))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start_and_fail()
    assert [child.status for child in children.all] == [-signal.SIGKILL]


def test_children_end_when_the_demo_is_killed(tmp_path: Path, environ: Mapping[str, str]) -> None:
    script = (
        "import os, pathlib, time\n"
        "from consumer.entrypoints.demo.processes import Children\n"
        f"children = Children(pathlib.Path({str(tmp_path)!r}))\n"
        "print(children.start('sleeper', ['sleeper'], os.environ).pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    path = os.pathsep.join((str(Path.cwd()), environ["PYTHONPATH"]))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env={**environ, "PYTHONPATH": path}
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        log = tmp_path / "sleeper-1.log"
        wait_until(lambda: "asleep" in log.read_text(), "sleep", seconds_max=DEADLINE_SECONDS)
        parent.kill()
    gone, alive = psutil.wait_procs([child], timeout=DEADLINE_SECONDS)
    assert (gone, alive) == ([child], [])


def test_a_stop_is_asked_for(tmp_path: Path, environ: Mapping[str, str]) -> None:
    with Children(tmp_path) as children:
        child = children.start("sleeper", ["sleeper"], environ)
        wait_for_sleep(child)
        child.terminate()
        wait_until(lambda: child.status is not None, "the end", seconds_max=DEADLINE_SECONDS)
        assert child.status == -signal.SIGTERM
        child.terminate()


def test_an_end_that_is_too_early_is_an_error(tmp_path: Path, environ: Mapping[str, str]) -> None:
    with Children(tmp_path) as children:
        child = children.start("talker", ["talker", "7"], environ)
        with pytest.raises(DemoError, match="the talker ended with status 7 while waiting for rain"):
            wait_until(lambda: False, "rain", seconds_max=DEADLINE_SECONDS, alive=[child])


def test_waiting_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    monkeypatch.setattr(clock, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    looked: list[float] = []
    with pytest.raises(DemoError, match="waited 3 s in vain for rain"):
        wait_until(lambda: False, "rain", seconds_max=3, meanwhile=lambda: looked.append(now[0]))
    assert 10 < len(looked) < 20


def test_last_lines_are_those_of_the_last_process_of_a_name(tmp_path: Path, environ: Mapping[str, str]) -> None:
    with Children(tmp_path) as children:
        for status in ("0", "1"):
            child = children.start("talker", ["talker", status], environ)
            wait_until(lambda child=child: child.status is not None, "the end", seconds_max=DEADLINE_SECONDS)  # type: ignore[misc] # mypy cannot type a lambda's default
        assert child.status == 1
        assert children.tails()["talker"].splitlines() == [str(n) for n in range(100 - TAIL_LINES, 100)]
        assert sorted(path.name for path in tmp_path.glob("*.log")) == ["talker-1.log", "talker-2.log"]
