"""The one place that reads the process' environment."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def environment() -> Mapping[str, str]:
    """Return the environment variables."""
    return os.environ


def default_identifier(environ: Mapping[str, str]) -> str:
    """Return a worker identifier that stays the same when the worker starts again: POD_NAME, else the host name."""
    return environ.get("POD_NAME") or socket.gethostname()
