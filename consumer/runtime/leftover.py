"""Looks for a daemon of the same name that is still alive on this machine.

Two daemons of one name take turns in renewing the same leases. The kernel kills the daemon with its worker, but not
in no time, and a second worker may have been started by mistake; so a mark is left on the daemon's command line.
Only Linux shows it (/proc); elsewhere nothing is found.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from consumer.errors import SetupError
from consumer.runtime import clock

LEFTOVER_SECONDS_MAX = 10.0
"""How long a start waits for an earlier daemon to end. A killed one is gone in less than a second."""

_POLL_SECONDS = 0.1
_PROCESSES = Path("/proc")
_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL")


def mark(application: str, identifier: str, region: str, environ: Mapping[str, str]) -> str:
    """Return the argument that marks the daemon of this worker: its names, and where its leases are."""
    endpoint = next((environ[name] for name in _ENDPOINT_VARIABLES if environ.get(name)), region)
    return f"-Dstreamgauge.worker={application}/{identifier}@{endpoint}"


def find_marked(marked: str, processes: Path = _PROCESSES) -> list[int]:
    """Return the ids of the other processes with this argument."""
    wanted = os.fsencode(marked)
    found = []
    for directory in processes.glob("[0-9]*"):
        try:
            arguments = (directory / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has just ended, or is hidden from us
        if wanted in arguments and int(directory.name) != os.getpid():
            found.append(int(directory.name))
    return sorted(found)


def wait_until_alone(
    marked: str,
    seconds_max: float = LEFTOVER_SECONDS_MAX,
    find: Callable[[str], list[int]] = find_marked,
) -> None:
    """Wait for other daemons with this mark to end; SetupError if one does not."""
    deadline = clock.monotonic() + seconds_max
    while others := find(marked):
        if clock.monotonic() >= deadline:
            worker = marked.partition("=")[2]
            pids = ", ".join(map(str, others))
            raise SetupError(
                f"a daemon of the worker {worker} is already running on this machine (process {pids}). Stop it, or "
                "give this worker another worker.identifier."
            )
        clock.sleep(_POLL_SECONDS)
