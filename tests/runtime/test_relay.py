"""The relay and the listener, with real processes, pipes and descriptors."""

from __future__ import annotations

import array
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from consumer.errors import DaemonError
from consumer.runtime import relay
from consumer.runtime.listener import PIPE_BYTES, RelayListener
from consumer.sources.multilang import Lines

DEADLINE_SECONDS = 30
RELAY = Path(relay.__file__)


class Worker:
    """A listener whose shards do what a test says, and what it reported."""

    def __init__(self, directory: Path) -> None:
        self.behaviour: Callable[[Lines, BinaryIO], None] = echo
        self.failures: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
        self.rejected: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.threads: queue.SimpleQueue[threading.Thread] = queue.SimpleQueue()
        self.released: queue.SimpleQueue[threading.Thread] = queue.SimpleQueue()
        self.listener = RelayListener(
            directory,
            self._shard,
            on_released=lambda: self.released.put(threading.current_thread()),
            on_failure=self.failures.put,
            on_reject=self.rejected.put,
        )

    def _shard(self, lines: Lines, output: BinaryIO) -> None:
        self.threads.put(threading.current_thread())
        self.behaviour(lines, output)


def echo(lines: Lines, output: BinaryIO) -> None:
    while line := lines.readline():
        output.write(line)
        output.flush()


def read_one_line(lines: Lines, _output: BinaryIO) -> None:
    lines.readline()


@pytest.fixture
def directory() -> Iterator[Path]:
    """Give a directory for sockets; pytest's own paths may be too long for them."""
    with tempfile.TemporaryDirectory(prefix="sg-") as path:
        yield Path(path)


@pytest.fixture
def worker(directory: Path) -> Iterator[Worker]:
    worker = Worker(directory)
    worker.listener.start()
    yield worker
    worker.listener.close()


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for child in started:
        child.kill()
        child.wait(DEADLINE_SECONDS)
        for stream in (child.stdin, child.stdout, child.stderr):
            if stream:
                stream.close()


@pytest.fixture
def start_relay(children: list[subprocess.Popen[bytes]]) -> Callable[[Path], subprocess.Popen[bytes]]:
    def start(path: Path) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [sys.executable, "-ISs", RELAY, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        children.append(child)
        return child

    return start


StartRelay = Callable[[Path], "subprocess.Popen[bytes]"]


def ask(child: subprocess.Popen[bytes], line: bytes) -> bytes:
    assert child.stdin
    assert child.stdout
    child.stdin.write(line)
    child.stdin.flush()
    return child.stdout.readline()


def end_of(child: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    """Close the daemon's end of the input; return the status and what the relay wrote to standard error."""
    assert child.stdin
    assert child.stderr
    child.stdin.close()
    return child.wait(DEADLINE_SECONDS), child.stderr.read()


def test_lines_pass_both_ways_and_the_end_of_input_ends_the_relay(worker: Worker, start_relay: StartRelay) -> None:
    child = start_relay(worker.listener.path)
    assert ask(child, b"one\n") == b"one\n"
    assert ask(child, b"x" * 100_000 + b"\n") == b"x" * 100_000 + b"\n"
    assert end_of(child) == (0, b"")
    assert child.stdout
    assert child.stdout.read() == b""


def test_every_shard_has_a_thread_of_its_own(worker: Worker, start_relay: StartRelay) -> None:
    first, second = start_relay(worker.listener.path), start_relay(worker.listener.path)
    assert ask(second, b"2\n") == b"2\n"
    assert ask(first, b"1\n") == b"1\n"
    threads = {worker.threads.get(timeout=DEADLINE_SECONDS) for _ in range(2)}
    assert len(threads) == 2
    assert all(thread.name.startswith("shard") and thread.daemon for thread in threads)
    assert end_of(first) == end_of(second) == (0, b"")


def test_the_relay_ends_when_the_shard_lets_go_while_the_daemon_still_talks(
    worker: Worker, start_relay: StartRelay
) -> None:
    worker.behaviour = read_one_line
    child = start_relay(worker.listener.path)
    assert ask(child, b"enough\n") == b"", "the daemon sees the end of the output"
    assert child.wait(DEADLINE_SECONDS) == 0


def test_the_relay_ends_when_the_daemon_is_gone_though_the_shard_is_stuck(
    worker: Worker, start_relay: StartRelay
) -> None:
    freed = threading.Event()

    def get_stuck(_lines: Lines, _output: BinaryIO) -> None:
        freed.wait(DEADLINE_SECONDS)

    worker.behaviour = get_stuck
    child = start_relay(worker.listener.path)
    worker.threads.get(timeout=DEADLINE_SECONDS)
    for stream in (child.stdin, child.stdout, child.stderr):
        assert stream
        stream.close()
    assert child.wait(DEADLINE_SECONDS) == 1
    freed.set()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_relay_keeps_no_copy_of_the_pipes(worker: Worker, start_relay: StartRelay) -> None:
    child = start_relay(worker.listener.path)
    assert ask(child, b"ready\n") == b"ready\n"
    deadline = time.monotonic() + DEADLINE_SECONDS
    while {"0", "1"} & {path.name for path in Path(f"/proc/{child.pid}/fd").iterdir()}:
        assert time.monotonic() < deadline, "standard input or output is still open"
        time.sleep(0.01)
    end_of(child)


def test_the_death_of_the_worker_ends_the_relay_with_a_status(directory: Path, start_relay: StartRelay) -> None:
    path = directory / "worker.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        child = start_relay(path)
        connection, _ = server.accept()
        _, descriptors, _, _ = socket.recv_fds(connection, 1, 2)
        for descriptor in descriptors:
            os.close(descriptor)
        connection.close()
        assert end_of(child) == (1, b"")


def test_without_a_worker_the_relay_fails_silently(directory: Path, start_relay: StartRelay) -> None:
    child = start_relay(directory / "nobody.sock")
    assert child.wait(DEADLINE_SECONDS) == 1
    assert child.stdout
    assert child.stderr
    assert (child.stdout.read(), child.stderr.read()) == (b"", b"")


def test_the_death_of_a_relay_is_told_when_its_conversation_ends(worker: Worker, start_relay: StartRelay) -> None:
    """The pipes outlive it, but Java closes its ends with its child."""
    child = start_relay(worker.listener.path)
    assert ask(child, b"before\n") == b"before\n"
    child.kill()
    child.wait(DEADLINE_SECONDS)
    assert ask(child, b"after\n") == b"after\n"
    assert worker.failures.empty()
    assert child.stdin
    child.stdin.close()
    error = worker.failures.get(timeout=DEADLINE_SECONDS)
    assert isinstance(error, DaemonError)
    assert "relay of a shard ended before the shard" in str(error)


def test_an_exception_of_a_shard_is_reported_before_the_daemon_hears_of_it(
    worker: Worker, start_relay: StartRelay
) -> None:
    error = ValueError("not foreseen")

    def fail(lines: Lines, output: BinaryIO) -> None:
        output.write(b"half an answer")
        lines.readline()
        raise error

    worker.behaviour = fail
    child = start_relay(worker.listener.path)
    ask(child, b"go\n")
    assert worker.failures.get(timeout=DEADLINE_SECONDS) is error
    assert child.wait(DEADLINE_SECONDS) == 0


def test_a_daemon_that_died_before_the_answer_is_no_failure_of_its_own(worker: Worker, start_relay: StartRelay) -> None:
    def answer_late(lines: Lines, output: BinaryIO) -> None:
        while lines.readline():
            pass
        output.write(b"too late\n")

    worker.behaviour = answer_late
    child = start_relay(worker.listener.path)
    thread = worker.threads.get(timeout=DEADLINE_SECONDS)
    assert child.stdout
    child.stdout.close()
    end_of(child)
    thread.join(DEADLINE_SECONDS)
    assert worker.failures.empty()


def test_the_daemon_s_pipe_is_widened(worker: Worker, start_relay: StartRelay) -> None:
    fcntl = pytest.importorskip("fcntl")
    if not hasattr(fcntl, "F_GETPIPE_SZ"):
        pytest.skip("pipes have one size here")
    child = start_relay(worker.listener.path)
    assert ask(child, b"ready\n") == b"ready\n"
    assert child.stdin
    assert fcntl.fcntl(child.stdin.fileno(), fcntl.F_GETPIPE_SZ) == PIPE_BYTES
    end_of(child)


def hand_over(path: Path, descriptors: list[int]) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    connection.sendmsg([b"\0"], rights)
    connection.settimeout(DEADLINE_SECONDS)
    return connection


@pytest.mark.parametrize("count", [0, 1, 3, 9])
def test_another_number_of_descriptors_is_rejected_and_none_is_kept(worker: Worker, count: int) -> None:
    reader, writer = os.pipe()
    with hand_over(worker.listener.path, [writer] * count) as connection:
        assert connection.recv(1) == b"", "closed without a release"
        assert "instead of 2" in worker.rejected.get(timeout=DEADLINE_SECONDS)
    os.close(writer)
    assert os.read(reader, 1) == b"", "no copy of the write end is left"
    os.close(reader)
    assert worker.failures.empty()


def test_a_connection_that_breaks_off_is_rejected(worker: Worker) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(worker.listener.path))
    assert worker.rejected.get(timeout=DEADLINE_SECONDS)
    assert worker.threads.empty()


def test_another_user_is_rejected(worker: Worker, start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(socket, "SO_PEERCRED"):
        pytest.skip("peers are not told here")
    user = os.getuid()
    monkeypatch.setattr("consumer.runtime.listener.os.getuid", lambda: user + 1)
    assert start_relay(worker.listener.path).wait(DEADLINE_SECONDS) == 1
    assert f"user {user}" in worker.rejected.get(timeout=DEADLINE_SECONDS)


def test_closing_waits_for_shards_and_removes_the_socket(directory: Path, start_relay: StartRelay) -> None:
    worker = Worker(directory)
    worker.listener.start()
    child = start_relay(worker.listener.path)
    assert ask(child, b"hello\n") == b"hello\n"
    thread = worker.threads.get(timeout=DEADLINE_SECONDS)
    assert child.stdin
    child.stdin.close()
    worker.listener.close()
    assert not thread.is_alive()
    assert not worker.listener.path.exists()
    assert start_relay(worker.listener.path).wait(DEADLINE_SECONDS) == 1


def test_a_listener_that_never_started_closes(directory: Path) -> None:
    Worker(directory).listener.close()
