"""The Java daemon as a child of this process: start, log, stop, and both directions of death.

Rules
1. The daemon dies with this process (`launch.py`), so it is started by the main thread, which lives as long.
2. It has a session of its own: a signal to our process group (Ctrl-C) does not reach it or the relays. A stop is
   SIGTERM to Java alone; it then asks every shard and gives it back. When the last one is given back Java is killed:
   it has written all that it will write, and KCL 3.1.3 would now wait up to a minute for a shard that has ended, and
   meanwhile take leases again that it has just let go. Shards that it begins after the stop are left unanswered for
   that reason. It is killed, too, if that takes longer than its grace time, or it has not even initialised.
3. What ends this process's work: the end of the daemon, or an exception that left a shard or a callback. The first
   of them decides; after an exception the daemon is killed at once, for the state makes that safe and nothing is to
   be answered any more.
4. An end that was not asked for is a DaemonError whatever the status is: a failed initialisation ends with 0.
5. All decisions are taken by the thread that calls `wait`. Other threads and signal handlers only put events into
   a queue.
"""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from consumer.errors import DaemonError
from consumer.runtime import clock, daemon_log, leftover
from consumer.runtime.class_archive import ClassArchive
from consumer.runtime.conversations import Conversations
from consumer.runtime.daemon_files import DaemonConfig, DaemonFiles, write_files
from consumer.runtime.daemon_log import DaemonLine
from consumer.runtime.jars import Jars
from consumer.runtime.java import Java, JvmOptions
from consumer.runtime.listener import OnShard, RelayListener
from consumer.runtime.paced_daemon import program
from consumer.sources.multilang import Lines
from consumer.telemetry.start_events import StartEvents

LAUNCHER = Path(__file__).with_name("launch.py")
STOP_MARGIN_SECONDS = 10.0
"""What a stop may take beyond the grace time: the daemon starts to count when it hears of it, and closes clients."""

_LAST_ERRORS_MAX = 5
_READ_REST_SECONDS = 5
_BLAME_SECONDS = 2.0
_OUT_OF_MEMORY_STATUS = 3
_ECHOES = (DaemonError, EOFError, ConnectionError)
"""What a shard raises when the daemon's end has cut it off."""

OnLog = Callable[[str, str, str, Mapping[str, str]], None]


class DaemonExit(NamedTuple):
    """How the daemon ended after a stop. `status` is negative for a signal.

    `initialised`: it had begun to work. `drained`: every shard that was worked on had been given back. Without it the
    daemon was killed, and the last batches come again at the next start; nothing is lost.
    """

    status: int
    initialised: bool
    drained: bool


@dataclass(frozen=True, slots=True)
class _StopRequested:
    pass


@dataclass(frozen=True, slots=True)
class _Drained:
    pass


@dataclass(frozen=True, slots=True)
class _Ended:
    status: int


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


_Event = _StopRequested | _Drained | _Ended | _Failed


class Daemon:
    """One run of the daemon; a context manager that leaves no process and no file behind.

    `on_shard(input, output)` speaks the protocol for one shard, in a thread of its own, until the end of input.
    `on_log(level, logger, message, extra)` gets the daemon's log, from `log_level` (of daemon_log.LEVELS) on, from
    a thread of its own; `extra` may have `throwable`. `environ` is the environment of the daemon: credentials and
    AWS_ENDPOINT_URL variables pass to it. Java maps its classes from `archive` if that is there. Call from the main
    thread.
    """

    def __init__(
        self,
        config: DaemonConfig,
        java: Java,
        jars: Jars,
        *,
        environ: Mapping[str, str],
        on_shard: OnShard,
        on_log: OnLog,
        options: JvmOptions | None = None,
        log_level: str = "WARN",
        archive: ClassArchive | None = None,
    ) -> None:
        self.mark = leftover.mark(config.application, config.identifier, config.region, environ)
        self._config = config
        self._java = java
        self._jars = jars
        self._environ = environ
        self._on_shard = on_shard
        self._on_log = on_log
        self._options = options or JvmOptions()
        self._log_level = log_level
        self._archive = archive
        self._files: DaemonFiles | None = None
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._last_errors: collections.deque[str] = collections.deque(maxlen=_LAST_ERRORS_MAX)
        self._initialised = threading.Event()
        self.says: str | None = None
        """The newest of what the daemon has told of its initialisation."""
        self._conversations = Conversations(lambda: self._events.put(_Drained()))
        self._drained = False
        self._stop_requested = False
        self._grace_seconds = STOP_MARGIN_SECONDS
        self._kill_at: float | None = None
        self._resources = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    @property
    def pid(self) -> int | None:
        """Return the process id of Java, None before the start."""
        return self._process.pid if self._process else None

    @property
    def initialised(self) -> bool:
        """Return whether the daemon has begun to work; it may still have no shard."""
        return self._initialised.is_set()

    def archive_classes(self, wait: Callable[[float], bool], telemetry: StartEvents) -> None:
        """Have the archive of Java's classes made where there is none yet, in the background; see `make_later`.

        Call it when the daemon has begun to work.
        """
        assert self._files is not None, "start comes first"
        if self._archive is not None:
            self._archive.make_later(self._files.class_list, wait, telemetry)

    def wait_until_alone(self) -> None:
        """Wait for a daemon of the same name that is still ending; SetupError if one stays. `start` does it too."""
        leftover.wait_until_alone(self.mark)

    def start(self) -> None:
        """Start the daemon; it initialises in the background. SetupError if something is missing."""
        assert threading.current_thread() is threading.main_thread(), "the daemon's life is tied to this thread's"
        assert self._process is None, "one run a Daemon"
        self.wait_until_alone()
        files = self._files = write_files(self._config, self._log_level)
        self._resources.callback(files.remove)
        self._grace_seconds = files.shutdown_grace_ms / 1000 + STOP_MARGIN_SECONDS
        listener = RelayListener(
            files.directory,
            self._run_shard,
            on_released=self._conversations.end,
            on_failure=self._fail,
            on_reject=self._log_rejected,
        )
        self._resources.callback(listener.close)
        listener.start()
        self._process = self._launch(files)
        self._resources.callback(self._end_process)

    def stop(self) -> None:
        """Ask the daemon to drain and end; `wait` does it. Safe in a signal handler, in any thread, and again."""
        self._events.put(_StopRequested())

    def wait(self, timeout_seconds: float | None = None) -> DaemonExit | None:
        """Return how the daemon ended after a stop, or None after the time-out.

        Raises DaemonError if it ended without having been asked to, and the exception that left a shard or a
        callback; the daemon is dead then.
        """
        assert self._process is not None, "start comes first"
        deadline = None if timeout_seconds is None else clock.monotonic() + timeout_seconds
        while True:
            event = self._next_event(deadline)
            if isinstance(event, _Ended):
                return self._judge(event.status)
            if isinstance(event, _Failed):
                return self._give_up(event.error)
            if isinstance(event, _StopRequested):
                self._begin_stop()
            elif isinstance(event, _Drained):
                if self._kill_at is not None:  # else its being killed has ended the conversations
                    self._drained = self.initialised
                    self._kill()
            elif _reached(self._kill_at):
                self._kill()
            elif _reached(deadline):
                return None

    def _launch(self, files: DaemonFiles) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(  # noqa: S603 -- our own launcher and Java
            [sys.executable, "-ISs", str(LAUNCHER), str(os.getpid()), *self._command(files)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(self._environ),
            start_new_session=True,
        )
        reader = threading.Thread(target=self._read_log, args=(process,), name="daemon-log", daemon=True)
        reader.start()
        waiter = threading.Thread(target=self._await_end, args=(process, reader), name="daemon-end", daemon=True)
        waiter.start()
        return process

    def _command(self, files: DaemonFiles) -> list[str]:
        class_path, main_class = program(self._jars)
        return [
            str(self._java.path),
            self.mark,
            *self._options.flags(),
            *(self._archive.flags(files.class_list) if self._archive else ()),
            "-cp",
            class_path,
            main_class,
            "--properties-file",
            str(files.properties),
            "--log-configuration",
            str(files.log_configuration),
        ]

    def _next_event(self, deadline: float | None) -> _Event | None:
        """Return the next event, or None when the deadline, or the time to kill, is reached."""
        until = min((at for at in (deadline, self._kill_at) if at is not None), default=None)
        timeout = None if until is None else max(0.0, until - clock.monotonic())
        try:
            return self._events.get(timeout=timeout)
        except queue.Empty:
            return None

    def _begin_stop(self) -> None:
        assert self._process is not None
        if not self._stop_requested:
            self._stop_requested = True
            self._kill_at = clock.monotonic() + self._grace_seconds
            self._process.send_signal(signal.SIGTERM)
            self._conversations.stop()

    def _kill(self) -> None:
        assert self._process is not None
        self._kill_at = None
        self._process.kill()

    def _judge(self, status: int) -> DaemonExit:
        if self._archive is not None and not self.initialised:
            self._archive.blame(status)
        if not self._stop_requested:
            raise self._unasked_end(status)
        return DaemonExit(status, self.initialised, self._drained)

    def _unasked_end(self, status: int) -> DaemonError:
        when = "after" if self.initialised else "before"
        lines = [f"the Java daemon ended {describe_status(status)}, {when} it had initialised"]
        if self._last_errors:
            lines += ["the last errors of its log:", *(f"  {line}" for line in list(self._last_errors))]
        return DaemonError("\n".join(lines))

    def _give_up(self, error: BaseException) -> DaemonExit:
        """Kill the daemon and raise the error; where it is but the echo of the daemon's end, judge that end."""
        assert self._process is not None
        status = self._own_end() if isinstance(error, _ECHOES) else None
        if status is not None:
            self._on_log("WARN", "shard", f"a shard was cut off by the end of the daemon: {error!r}", {})
            return self._judge(status)
        self._process.kill()
        self._process.wait()
        raise error

    def _own_end(self) -> int | None:
        """Return the status if the daemon has ended by itself, as is heard shortly after its pipes have closed."""
        deadline = clock.monotonic() + _BLAME_SECONDS
        while not _reached(deadline):
            with contextlib.suppress(queue.Empty):
                event = self._events.get(timeout=max(0.0, deadline - clock.monotonic()))
                if isinstance(event, _Ended):
                    return event.status
        return None

    def _end_process(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _run_shard(self, from_daemon: Lines, to_daemon: BinaryIO) -> None:
        self._initialised.set()
        if self._conversations.begin():
            self._on_shard(from_daemon, to_daemon)
        else:
            # To let the relay go would make Java end itself, with the shards that it has yet to ask.
            self._conversations.wait_until_over()

    def _fail(self, error: BaseException) -> None:
        self._events.put(_Failed(error))

    def _log_rejected(self, reason: str) -> None:
        self._on_log("WARN", "relay", reason, {})

    def _await_end(self, process: subprocess.Popen[bytes], reader: threading.Thread) -> None:
        status = process.wait()
        reader.join(_READ_REST_SECONDS)
        self._events.put(_Ended(status))
        self._conversations.finish()

    def _read_log(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as stream:
            try:
                for line in iter(lambda: stream.readline(daemon_log.LINE_BYTES_MAX), b""):
                    self._take_line(daemon_log.parse(line))
            except BaseException as error:  # noqa: BLE001 -- rule 3: reported, and the process ends
                self._fail(error)

    def _remember(self, error: str) -> None:
        """Keep the last errors; one that is repeated, as by attempts to initialise, once."""
        if error in self._last_errors:
            self._last_errors.remove(error)
        self._last_errors.append(error)

    def _take_line(self, line: DaemonLine) -> None:
        if line.logger == daemon_log.SCHEDULER:
            self.says = line.message
        if line.marker == daemon_log.INITIALISED:
            self._initialised.set()
        if line.level == "ERROR" or line.logger == daemon_log.PLAIN_LOGGER:
            self._remember(str(line))
        if daemon_log.at_least(line.level, self._log_level):
            extra = {"throwable": line.throwable} if line.throwable else {}
            self._on_log(line.level, line.logger, line.message, extra)


def _reached(deadline: float | None) -> bool:
    return deadline is not None and clock.monotonic() >= deadline


def describe_status(status: int) -> str:
    """Return an exit status in words."""
    if status < 0:
        return f"by signal {-status} ({signal.strsignal(-status)})"
    if status == _OUT_OF_MEMORY_STATUS:
        return f"with status {status} (out of memory: give it a larger heap, or a smaller maxRecords)"
    return f"with status {status}"
