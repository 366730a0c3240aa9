"""Child processes that die with this one, and whose output goes to a file each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from consumer.errors import StreamgaugeError
from consumer.runtime import clock, launch

TAIL_LINES = 15

_POLL_SECONDS = 0.2
_PACKAGE_PARENT = Path(__file__).parents[3]


class DemoError(StreamgaugeError):
    """The demo could not go on; the message says what it was waiting for or what ended."""


class Child:
    """One process: `python -m` with these arguments."""

    def __init__(self, name: str, arguments: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._log = log
        path = os.pathsep.join(filter(None, (str(_PACKAGE_PARENT), environ.get("PYTHONPATH"))))
        command = [sys.executable, "-ISs", launch.__file__, str(os.getpid()), sys.executable, "-m", *arguments]
        with log.open("ab") as output:
            # A session of its own: Ctrl-C reaches this process alone, which then ends the children in order.
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                command,
                env={**environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Return the exit status (negative: the signal), None while it runs."""
        return self._process.poll()

    def output(self) -> str:
        """Return all that it has written so far."""
        return self._log.read_text(errors="replace")

    def terminate(self) -> None:
        """Ask it to stop."""
        if self.status is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it with SIGKILL, and return when it is gone."""
        if self.status is None:
            self._process.kill()
        self._process.wait()


class Children:
    """The child processes of the demo, in `all`; whatever happens, none of them outlives the `with` block."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.all: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for child in reversed(self.all):
            child.kill()

    def start(self, name: str, arguments: Sequence[str], environ: Mapping[str, str]) -> Child:
        """Start `python -m ARGUMENTS`. Must be called by the main thread: the child dies with that."""
        number = sum(child.name == name for child in self.all) + 1
        child = Child(name, arguments, environ, self._directory / f"{name}-{number}.log")
        self.all.append(child)
        return child

    def tails(self) -> dict[str, str]:
        """Return the last lines of every process, the last process of a name only."""
        return {child.name: "\n".join(child.output().splitlines()[-TAIL_LINES:]) for child in self.all}


def wait_until(
    condition: Callable[[], bool],
    what: str,
    *,
    seconds_max: float,
    alive: Sequence[Child] = (),
    meanwhile: Callable[[], object] = lambda: None,
) -> None:
    """Wait until the condition holds; DemoError if it takes too long or a process that must live has ended."""
    deadline = clock.monotonic() + seconds_max
    while not condition():
        for child in alive:
            if child.status is not None:
                raise DemoError(f"the {child.name} ended with status {child.status} while waiting for {what}")
        if clock.monotonic() > deadline:
            raise DemoError(f"waited {seconds_max:.0f} s in vain for {what}")
        meanwhile()
        clock.sleep(_POLL_SECONDS)
