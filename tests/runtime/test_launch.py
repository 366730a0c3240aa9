"""The launcher: the command lives as long as the parent, whatever way that ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from consumer.runtime import launch

DEADLINE_SECONDS = 30
LAUNCHER = str(Path(launch.__file__))

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux'")

PARENT = """
import os, subprocess, sys, threading
launcher = [sys.executable, "-ISs", sys.argv[1], str(os.getpid())]
child = subprocess.Popen([*launcher, "/bin/sh", "-c", "echo started; exec sleep 600"], start_new_session=True)
print(child.pid, flush=True)
sys.stdin.read()
os._exit(0)
"""


def launch_from_a_parent(pipe: int) -> tuple[subprocess.Popen[bytes], int]:
    """Start a parent that starts a command holding the write end of `pipe`; return both once the command runs."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, LAUNCHER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[pipe],
    )
    assert parent.stdout
    lines = {parent.stdout.readline().strip() for _ in range(2)}
    return parent, int((lines - {b"started"}).pop())


@linux_only
@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, None])
def test_the_command_dies_with_its_parent(way: signal.Signals | None) -> None:
    reader, writer = os.pipe()
    parent, pid = launch_from_a_parent(writer)
    try:
        descriptor = os.pidfd_open(pid)
        assert not select.select([descriptor], [], [], 0)[0], "the command runs while its parent does"
        if way is None:
            assert parent.stdin
            parent.stdin.close()
        else:
            parent.send_signal(way)
        parent.wait(DEADLINE_SECONDS)
        assert select.select([descriptor], [], [], DEADLINE_SECONDS)[0], "the command outlives its parent"
        os.close(descriptor)
    finally:
        parent.kill()
        for stream in (parent.stdin, parent.stdout):
            if stream:
                stream.close()
        os.close(reader)
        os.close(writer)


@linux_only
def test_a_parent_that_was_gone_before_the_request_is_noticed() -> None:
    """The launcher is told another parent than it has: the one it had is dead."""
    answer = subprocess.run(
        [sys.executable, "-ISs", LAUNCHER, "1", "/bin/echo", "alive"],
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert (answer.returncode, answer.stdout) == (launch.EXIT_ORPHANED, b"")


def test_the_command_keeps_process_id_arguments_and_status() -> None:
    script = 'echo $$ "$@"; exit 7'
    command = [sys.executable, "-ISs", LAUNCHER, str(os.getpid()), "/bin/sh", "-c", script, "sh", "a b", "*"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stdout.read() == f"{child.pid} a b *\n".encode()
        assert child.wait(DEADLINE_SECONDS) == 7


def test_a_command_that_cannot_run_says_so() -> None:
    command = [sys.executable, "-ISs", LAUNCHER, str(os.getpid()), "/nowhere/java"]
    answer = subprocess.run(command, capture_output=True, timeout=DEADLINE_SECONDS, check=False)
    assert answer.returncode == launch.EXIT_CANNOT_RUN
    assert answer.stderr.startswith(b"cannot run /nowhere/java: ")
