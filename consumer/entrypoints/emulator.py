"""`streamgauge emulator`: the embedded AWS in the foreground, until SIGTERM or SIGINT."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from threading import Event

from consumer.emulator.server import LOOPBACK, Emulator
from consumer.errors import EXIT_OK, SetupError

DEFAULT_PORT = 4566


def serve(host: str = LOOPBACK, port: int = DEFAULT_PORT, *, ready: Callable[[str], None] | None = None) -> int:
    """Serve until told to stop, and return the exit status. Must be called in the main thread.

    `ready` is called once with the endpoint's URL; without it, one line tells the endpoint and the environment
    variables to set. SetupError if the address cannot be listened on.
    """
    stopped = Event()
    ends = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        emulator = Emulator(host, port)
        try:
            emulator.start()
        except OSError as error:
            raise SetupError(f"the embedded AWS cannot listen on {host}:{port}: {error.strerror}") from error
        try:
            (ready or (lambda _endpoint: _announce(emulator)))(emulator.endpoint)
            stopped.wait()
        finally:
            emulator.stop()
    finally:
        for number, before in ends.items():
            signal.signal(number, before)
    return EXIT_OK


def _announce(emulator: Emulator) -> None:
    variables = " ".join(f"{name}={value}" for name, value in emulator.environment.items())
    sys.stdout.write(f"The embedded AWS listens on {emulator.endpoint}; to use it: export {variables}\n")
    sys.stdout.flush()
