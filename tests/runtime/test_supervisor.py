"""The supervisor with real processes: a stand-in for Java in most tests, the real daemon in the last."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import select
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO, Self

import pytest

from consumer.emulator.server import Emulator
from consumer.errors import DaemonError, SetupError, SinkError
from consumer.runtime import daemon_log, leftover, supervisor
from consumer.runtime.daemon_files import DaemonConfig
from consumer.runtime.jars import Jars, find_jars
from consumer.runtime.java import Java, JvmOptions, find_java
from consumer.runtime.private_directory import remove_stale_directories
from consumer.runtime.supervisor import Daemon, DaemonExit
from consumer.sources import leases
from consumer.sources.kinesis import roots
from consumer.sources.multilang import Lines

DEADLINE_SECONDS = 60
NO_JARS = Jars("0", "0", (), ())
INITIALISED = ("INFO", *daemon_log.INITIALISED)

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and the parent-death signal")


class Run:
    """A daemon with a stand-in, and everything it told."""

    def __init__(self, directory: Path, plan: Mapping[str, object], extra: tuple[tuple[str, str], ...] = ()) -> None:
        self.logged: queue.SimpleQueue[tuple[str, str, str, Mapping[str, str]]] = queue.SimpleQueue()
        self.messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.on_message: Callable[[bytes], None] = lambda _: None
        self.environ = {**os.environ, "FAKE_DAEMON": json.dumps(plan)}
        self.daemon = Daemon(
            DaemonConfig("clicks", "app", str(directory), "us-east-1", None, extra),
            stand_in(directory),
            NO_JARS,
            environ=self.environ,
            on_shard=self._shard,
            on_log=lambda *entry: self.logged.put(entry),
        )

    def _shard(self, lines: Lines, output: BinaryIO) -> None:
        while line := bytes(lines.readline()):
            self.messages.put(line.strip())
            self.on_message(line.strip())
            output.write(b"ok\n")
            output.flush()


def stand_in(directory: Path) -> Java:
    path = directory / "java"
    source = Path(__file__).with_name("fake_java.py").read_text()
    path.write_text(f"#!{sys.executable}\n{source}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return Java(path, "0", "test")


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Run]]:
    """Start a stand-in with a plan; at the end its process and its files are gone."""
    with tempfile.TemporaryDirectory(prefix="sg-") as parent, contextlib.ExitStack() as stack:
        monkeypatch.setattr("consumer.runtime.daemon_files.default_temporary_directories", lambda: (parent,))

        def start_run(extra: tuple[tuple[str, str], ...] = (), **plan: object) -> Run:
            run = Run(tmp_path, plan, extra)
            stack.enter_context(run.daemon)
            run.daemon.start()
            assert run.logged.get(timeout=DEADLINE_SECONDS) == ("WARN", "fake", "ready", {})
            return run

        yield start_run
        stack.close()
        assert not [*Path(parent).iterdir()], "private files are left"


Start = Callable[..., Run]


def test_a_stop_asks_the_daemon_which_asks_the_shard(start: Start) -> None:
    run = start(serve=True, log=[INITIALISED])
    assert run.messages.get(timeout=DEADLINE_SECONDS) == b"initialize"
    run.daemon.stop()
    run.daemon.stop()
    exit_ = run.daemon.wait(DEADLINE_SECONDS)
    assert exit_ in [DaemonExit(status, initialised=True, drained=True) for status in (143, -signal.SIGKILL)]
    assert run.messages.get(timeout=DEADLINE_SECONDS) == b"shutdownRequested"
    assert run.logged.get(timeout=DEADLINE_SECONDS) == ("WARN", "fake", "asked to stop", {})
    assert run.logged.empty(), "lines below the level that was asked for are not shown"


@pytest.mark.parametrize("plan", [{"linger": True}, {"late": True}])
def test_a_daemon_that_has_given_back_every_shard_is_not_waited_for(start: Start, plan: Mapping[str, object]) -> None:
    """KCL 3.1.3 waits for shards that have ended, and takes leases again that it has let go."""
    run = start(serve=True, log=[INITIALISED], **plan)
    assert run.messages.get(timeout=DEADLINE_SECONDS) == b"initialize"
    run.daemon.stop()
    assert run.daemon.wait(DEADLINE_SECONDS / 2) == DaemonExit(-signal.SIGKILL, initialised=True, drained=True)
    assert run.messages.get(timeout=DEADLINE_SECONDS) == b"shutdownRequested"
    assert run.messages.empty(), "what begins after the stop is not begun"


def test_a_daemon_without_a_shard_has_nothing_to_drain(start: Start) -> None:
    run = start(stubborn=True, log=[INITIALISED])
    wait_until_initialised(run)
    run.daemon.stop()
    assert run.daemon.wait(DEADLINE_SECONDS / 2) == DaemonExit(-signal.SIGKILL, initialised=True, drained=True)


def test_a_stop_may_come_from_a_signal_handler(start: Start) -> None:
    run = start(serve=True, log=[INITIALISED])
    previous = signal.signal(signal.SIGUSR2, lambda *_: run.daemon.stop())
    try:
        timer = threading.Thread(target=lambda: signal_main_thread_after(run.messages))
        timer.start()
        exit_ = run.daemon.wait()
        timer.join()
    finally:
        signal.signal(signal.SIGUSR2, previous)
    assert exit_ is not None
    assert exit_.drained


def signal_main_thread_after(messages: queue.SimpleQueue[bytes]) -> None:
    messages.get(timeout=DEADLINE_SECONDS)
    os.kill(os.getpid(), signal.SIGUSR2)


def test_waiting_has_a_time_out_and_goes_on_afterwards(start: Start) -> None:
    run = start()
    assert run.daemon.wait(0.01) is None
    assert run.daemon.wait(0) is None
    run.daemon.stop()
    assert run.daemon.wait() is not None


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"exit": 0}, "ended with status 0, before it had initialised"),
        ({"exit": 0, "log": [INITIALISED]}, "ended with status 0, after it had initialised"),
        ({"exit": 1, "serve": True}, "ended with status 1, after it had initialised"),
        ({"exit": 3}, "status 3 (out of memory"),
        ({"kill": 9}, "ended by signal 9"),
    ],
)
def test_an_end_nobody_asked_for_is_an_error_whatever_the_status(
    start: Start, plan: dict[str, object], message: str
) -> None:
    run = start(**plan)
    with pytest.raises(DaemonError) as error:
        run.daemon.wait(DEADLINE_SECONDS)
    assert message in str(error.value)


def test_the_error_tells_the_last_errors_of_the_log_each_once(start: Start) -> None:
    errors = [("ERROR", "a.b.Scheduler", f"attempt {n}") for n in (0, 1, 2, 1, 1, 3, 3, 4, 5)]
    run = start(exit=0, log=[*errors, ("WARN", "a.b.Other", "not this")])
    with pytest.raises(DaemonError) as error:
        run.daemon.wait(DEADLINE_SECONDS)
    told = str(error.value).splitlines()[2:]
    assert told == [f"  ERROR Scheduler: attempt {n}" for n in (2, 1, 3, 4, 5)]


def test_a_daemon_that_does_not_end_is_killed_after_its_grace(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_MARGIN_SECONDS", 0.2)
    run = start(extra=(("shutdownGraceMillis", "100"),), stubborn=True, serve=True, log=[INITIALISED])
    assert run.messages.get(timeout=DEADLINE_SECONDS) == b"initialize"
    run.daemon.stop()
    assert run.daemon.wait() == DaemonExit(-signal.SIGKILL, initialised=True, drained=False)


def wait_until_initialised(run: Run) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not run.daemon.initialised:
        assert time.monotonic() < deadline
        assert run.daemon.wait(0.01) is None


def test_a_daemon_that_has_not_initialised_has_nothing_to_drain(start: Start) -> None:
    run = start(stubborn=True)
    run.daemon.stop()
    assert run.daemon.wait() == DaemonExit(-signal.SIGKILL, initialised=False, drained=False)


def test_what_a_shard_raises_kills_the_daemon_and_is_raised_by_wait(start: Start) -> None:
    run = start(serve=True, messages=["processRecords"])
    error = SinkError("no such stream")

    def fail_at_records(message: bytes) -> None:
        if message == b"processRecords":
            raise error

    run.on_message = fail_at_records
    with pytest.raises(SinkError) as raised:
        run.daemon.wait(DEADLINE_SECONDS)
    assert raised.value is error
    assert run.daemon.pid is not None
    assert not Path(f"/proc/{run.daemon.pid}").exists()


def test_a_shard_that_was_cut_off_by_the_daemon_s_end_does_not_hide_it(start: Start) -> None:
    run = start(serve=True, exit=1)

    def shard(lines: Lines, output: BinaryIO) -> None:
        lines.readline()
        output.write(b"ok\n")
        output.flush()
        assert not lines.readline()
        raise EOFError("the daemon is gone")

    run.daemon._on_shard = shard
    with pytest.raises(DaemonError, match="ended with status 1"):
        run.daemon.wait(DEADLINE_SECONDS)


def test_what_the_log_callback_raises_is_raised_by_wait(start: Start) -> None:
    run = start(serve=True, log=[INITIALISED])
    assert run.messages.get(timeout=DEADLINE_SECONDS) == b"initialize"

    def fail(*_: object) -> None:
        raise OSError("disk full")

    run.daemon._on_log = fail
    run.daemon.stop()
    with pytest.raises(OSError, match="disk full"):
        run.daemon.wait(DEADLINE_SECONDS)


def test_leaving_the_context_ends_a_daemon_that_runs(start: Start, tmp_path: Path) -> None:
    run = start()
    pid = run.daemon.pid
    run.daemon.__exit__(None, None, None)
    assert not Path(f"/proc/{pid}").exists()


@linux_only
def test_a_second_worker_of_the_same_name_is_refused(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start()
    monkeypatch.setattr(leftover, "LEFTOVER_SECONDS_MAX", 0.2)
    with pytest.raises(SetupError, match=f"process {run.daemon.pid}"):
        leftover.wait_until_alone(run.daemon.mark, 0.2)
    run.daemon.stop()
    run.daemon.wait()
    leftover.wait_until_alone(run.daemon.mark, 0.2)


def test_a_leftover_that_is_ending_is_waited_for() -> None:
    answers = iter([[7], [7], []])
    leftover.wait_until_alone("mark", DEADLINE_SECONDS, lambda _: next(answers))
    assert next(answers, None) is None


@linux_only
def test_marks_tell_workers_apart_and_are_found_as_whole_arguments() -> None:
    mark = leftover.mark("app", "pod-0", "us-east-1", {})
    assert mark != leftover.mark("app", "pod-1", "us-east-1", {})
    assert mark != leftover.mark("app", "pod-0", "us-east-1", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
    mark += f".{os.getpid()}"
    wait = "import sys; print(flush=True); sys.stdin.read()"
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen([sys.executable, "-c", *script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            for script in [(wait, mark), (f"'{mark}'; {wait}", mark + "x")]
        ]
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n", "it runs, so its arguments can be seen"
        marked, _other = started
        assert leftover.find_marked(mark) == [marked.pid]


PARENT = """
import json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from consumer.runtime.daemon_files import DaemonConfig
from consumer.runtime.jars import find_jars
from consumer.runtime.java import Java, JvmOptions
from consumer.runtime.supervisor import Daemon

config = DaemonConfig("clicks", "app", sys.argv[3], "us-east-1", None)
java = Java(Path(sys.argv[2]), "0", "test")
with Daemon(config, java, find_jars(), environ=os.environ, on_shard=lambda *_: None, on_log=print,
            options=JvmOptions(quick_start=True)) as daemon:
    daemon.start()
    print(daemon.pid, flush=True)
    daemon.wait()
"""


def kill_the_worker_and_await_the_daemon(java: Path, identifier: str, environ: Mapping[str, str]) -> None:
    """Run a worker in a process of its own, kill it, and wait for its daemon to die."""
    root = Path(supervisor.__file__).parents[2]
    with tempfile.TemporaryDirectory(prefix="sg-") as temporary:
        worker = subprocess.Popen(
            [sys.executable, "-c", PARENT, root, java, identifier],
            stdout=subprocess.PIPE,
            env={**environ, "TMPDIR": temporary},
        )
        _kill_and_await(worker, leftover.mark("app", identifier, "us-east-1", environ))
        assert [*Path(temporary).iterdir()], "nobody was left to tidy up"
        remove_stale_directories(temporary)
        assert not [*Path(temporary).iterdir()]


def _kill_and_await(worker: subprocess.Popen[bytes], mark: str) -> None:
    try:
        assert worker.stdout
        pid = int(worker.stdout.readline())
        descriptor = os.pidfd_open(pid)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while leftover.find_marked(mark) != [pid]:  # until it is executed it bears another command line
            assert time.monotonic() < deadline
            time.sleep(0.01)
        worker.kill()
        worker.wait(DEADLINE_SECONDS)
        assert select.select([descriptor], [], [], DEADLINE_SECONDS)[0], "the daemon outlives the worker"
        os.close(descriptor)
        leftover.wait_until_alone(mark)
    finally:
        worker.kill()
        worker.communicate()


@linux_only
def test_kill_9_of_the_worker_kills_its_daemon(tmp_path: Path) -> None:
    environ = {**os.environ, "FAKE_DAEMON": "{}"}
    kill_the_worker_and_await_the_daemon(stand_in(tmp_path).path, str(tmp_path), environ)


class Refusal(BaseHTTPRequestHandler):
    """Answers every AWS call with a missing permission."""

    def do_POST(self) -> None:
        body = b'{"__type": "AccessDeniedException", "message": "not allowed to do that"}'
        self.send_response(400)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def refusing_aws() -> Iterator[dict[str, str]]:
    """Give the environment of an AWS that refuses everything."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield {
        **os.environ,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_address[1]}",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
    }
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.daemon
def test_the_real_daemon_s_failed_initialisation_is_an_error(refusing_aws: dict[str, str], tmp_path: Path) -> None:
    """It ends with 0, which is why the status is not trusted."""
    logged: queue.SimpleQueue[str] = queue.SimpleQueue()
    daemon = Daemon(
        DaemonConfig(
            "clicks", "app", tmp_path.name, "us-east-1", None, (("schedulerInitializationBackoffTimeMillis", "10"),)
        ),
        find_java(os.environ),
        find_jars(),
        environ=refusing_aws,
        on_shard=lambda *_: None,
        on_log=lambda level, _logger, message, extra: logged.put(f"{level} {message} {extra}"),
        options=JvmOptions(quick_start=True),
    )
    with daemon:
        daemon.start()
        with pytest.raises(DaemonError) as error:
            daemon.wait(DEADLINE_SECONDS)
        assert "ended with status 0, before it had initialised" in str(error.value)
        assert "not allowed to do that (Service: DynamoDb" in str(error.value)
        assert "not allowed to do that" in logged.get()
        assert not daemon.initialised


@pytest.mark.daemon
@linux_only
def test_kill_9_of_the_worker_kills_real_java(refusing_aws: dict[str, str], tmp_path: Path) -> None:
    kill_the_worker_and_await_the_daemon(find_java(os.environ).path, tmp_path.name, refusing_aws)


@pytest.mark.daemon
def test_the_real_daemon_reads_drains_and_takes_its_leases_back(tmp_path: Path) -> None:
    """Prepared leases; killed while it is the leader; started again under the same name; stopped."""
    with Emulator() as aws:
        kinesis = aws.client("kinesis")
        kinesis.create_stream(StreamName="clicks", ShardCount=2)
        kinesis.get_waiter("stream_exists").wait(StreamName="clicks", WaiterConfig={"Delay": 0.05})
        leases.prepare(aws.client("dynamodb"), "app", roots(kinesis, "clicks", None), tmp_path.name, None)
        kinesis.put_record(StreamName="clicks", Data=b"hello", PartitionKey="k")

        with RealRun(aws, tmp_path.name) as killed:
            assert killed.first_record() == b"hello"
            killed.wait_for_the_lock()
            assert killed.daemon.initialised
        with RealRun(aws, tmp_path.name) as drained:
            assert leases.release_leader(aws.client("dynamodb"), "app", tmp_path.name)
            assert drained.first_record() == b"hello", "nothing was checkpointed"
            drained.daemon.stop()
            exit_ = drained.daemon.wait()
        assert exit_ is not None
        assert exit_.drained
        assert sorted(drained.actions[-4:]) == ["leaseLost", "leaseLost", "shutdownRequested", "shutdownRequested"]


class RealRun:
    """The real daemon on the embedded AWS; its shards acknowledge everything and checkpoint nothing."""

    def __init__(self, aws: Emulator, identifier: str) -> None:
        self._aws = aws
        self._records: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.actions: list[str] = []
        environ = {**os.environ, **aws.environment}
        self.daemon = Daemon(
            DaemonConfig("clicks", "app", identifier, "us-east-1", None),
            find_java(environ),
            find_jars(),
            environ=environ,
            on_shard=self._shard,
            on_log=lambda *_: None,
            options=JvmOptions(quick_start=True),
        )

    def __enter__(self) -> Self:
        self.daemon.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.daemon.__exit__(None, None, None)

    def _shard(self, lines: Lines, output: BinaryIO) -> None:
        while line := bytes(lines.readline()):
            message = json.loads(line)
            if message["action"] != "processRecords":
                self.actions.append(message["action"])
            for record in message.get("records", []):
                self._records.put(base64.b64decode(record["data"]))
            output.write(json.dumps({"action": "status", "responseFor": message["action"]}).encode() + b"\n")
            output.flush()

    def first_record(self) -> bytes:
        return self._records.get(timeout=DEADLINE_SECONDS)

    def wait_for_the_lock(self) -> None:
        """Wait until the daemon is the leader, looking between two waits for its end."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        dynamodb = self._aws.client("dynamodb")
        key = {"key": {"S": "Leader"}}
        while "Item" not in dynamodb.get_item(TableName="app-CoordinatorState", Key=key):
            assert time.monotonic() < deadline, "the daemon never became the leader"
            assert self.daemon.wait(0.1) is None
