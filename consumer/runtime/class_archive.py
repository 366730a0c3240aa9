"""The daemon's classes in one file that Java maps at a start, in the place of loading and checking some 9,000 of them.

It is the JDK's own class data sharing, and saves a start of the daemon 40 % of its CPU time. Rules
1. An archive is code: it lies in a directory that belongs to this user, and that nobody else may write to.
2. Nothing hangs on it. Java looks whether it was made by the same build and of the same jars, and loads its classes
   one by one if not. It checks the file's sum, so damage is no crash; if one comes all the same, the next start does
   without it.
3. It is made of what a daemon has loaded, when that has worked for a while: in the background, with the lowest
   priority, by one process of the machine at a time, where there is memory for it; if there is not, its maker is what
   the kernel kills. It appears whole, by a rename.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from consumer.errors import SetupError
from consumer.runtime import clock, launch
from consumer.runtime.free_memory import free_bytes
from consumer.runtime.jars import Jars
from consumer.runtime.java import Java
from consumer.telemetry.start_events import StartEvents

DELAY_SECONDS = 30.0
"""From the daemon's beginning to work until the archive is made: what a start loads has been loaded by then."""
ARCHIVES_MAX = 4
"""Of other versions; the oldest are deleted. One is 73 MB."""
MEMORY_BYTES_MIN = 512 * 1024 * 1024
"""What must be free: making an archive takes 360 MB."""

PACKED_IN = "STREAMGAUGE_CLASS_ARCHIVES"
"""Environment variable: the folder of archives that came with an image. Packed one takes 16 MB."""

_JAVA_MIN = 17
"""The oldest version that this was tried with."""
_HEAP = "-Xmx128m"
_SECONDS_MAX = 600.0
_LOWEST_PRIORITY = 19
_FIRST_TO_BE_KILLED = "1000"
_SUFFIX = ".jsa"
_PACKED_SUFFIX = ".jsa.gz"
_COPY_BYTES = 1 << 20
_CRASHES = frozenset({signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV})


@dataclass(frozen=True, slots=True)
class ClassArchive:
    """The archive of one Java and these jars at `path`, be it there or not; `packed` is where an image has it."""

    path: Path
    java: Java
    jars: Jars
    packed: Path | None = None

    def flags(self, class_list: Path) -> list[str]:
        """Return arguments for Java: to use the archive; without one, to list the classes that it would be made of."""
        if self.path.exists():
            # Without the last it would tell about an archive that does not fit on standard output, as errors.
            return [f"-XX:SharedArchiveFile={self.path}", "-XX:+VerifySharedSpaces", "-Xlog:cds=off"]
        return [f"-XX:DumpLoadedClassList={class_list}"]

    def blame(self, status: int) -> None:
        """Delete the archive if a daemon that has not come to work has crashed: it may be damaged."""
        if -status in _CRASHES:
            self.path.unlink(missing_ok=True)

    def make(self, class_list: Path) -> bool:
        """Make the archive of the classes listed; return False if it is there, or being made by another process.

        SetupError if it cannot be made. It takes some 15 CPU seconds.
        """
        if self.path.exists():
            return False
        _check_memory()

        def dump(unfinished: Path) -> None:
            classes = self.path.with_suffix(".classes")
            try:
                self._dump(_whole_lines(class_list, classes), unfinished)
            finally:
                classes.unlink(missing_ok=True)

        return self._write(dump)

    def unpack(self) -> bool:
        """Unpack what an image has; return False if it has nothing for this Java and these jars, or all is done.

        SetupError, OSError, EOFError or zlib.error if it cannot be done. It takes 0.3 CPU seconds.
        """
        packed = self.packed
        if packed is None or not packed.exists() or self.path.exists():
            return False
        _check_memory()

        def write(unfinished: Path) -> None:
            with gzip.open(packed) as source, unfinished.open("xb") as target:
                shutil.copyfileobj(source, target, _COPY_BYTES)

        return self._write(write)

    def _write(self, write: Callable[[Path], None]) -> bool:
        """Have it written, if nobody else is writing it."""
        with _lock(self.path.with_suffix(".lock")) as locked:
            if not locked or self.path.exists():
                return False
            unfinished = self.path.with_suffix(".new")
            unfinished.unlink(missing_ok=True)
            try:
                write(unfinished)
                _write_through(unfinished)
                unfinished.rename(self.path)
            finally:
                unfinished.unlink(missing_ok=True)
        _delete_unfinished(self.path.parent)
        _delete_oldest(self.path.parent)
        return True

    def make_later(self, class_list: Path, wait: Callable[[float], bool], telemetry: StartEvents) -> None:
        """Make the archive in a thread that the end of the process does not wait for, and tell of it.

        `wait(seconds)` waits, and returns True when it is time to end.
        """
        threading.Thread(
            target=self._make_later, args=(class_list, wait, telemetry), name="class-archive", daemon=True
        ).start()

    def _make_later(self, class_list: Path, wait: Callable[[float], bool], telemetry: StartEvents) -> None:
        if self.path.exists() or wait(DELAY_SECONDS):
            return
        began = clock.monotonic()
        try:
            if self.make(class_list):
                seconds = clock.monotonic() - began
                telemetry.class_archive_made(size_bytes=self.path.stat().st_size, seconds=seconds)
        except Exception as error:  # noqa: BLE001 -- rule 2: told, and all goes on
            telemetry.class_archive_not_made(error=error)

    def _dump(self, class_list: Path, archive: Path) -> None:
        files = [f"-XX:SharedClassListFile={class_list}", f"-XX:SharedArchiveFile={archive}"]
        flags = ["-Xshare:dump", "-XX:+UseSerialGC", _HEAP, "-Xlog:disable", "-Xlog:all=error:stderr", *files]
        # It ends with the thread that starts it, which waits for it.
        launcher = [sys.executable, "-ISs", launch.__file__, str(os.getpid())]
        process = subprocess.Popen(  # noqa: S603 -- our own launcher and Java
            [*launcher, str(self.java.path), *flags, "-cp", self.jars.class_path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        with process:
            try:
                os.setpriority(os.PRIO_PROCESS, process.pid, _LOWEST_PRIORITY)
                Path(f"/proc/{process.pid}/oom_score_adj").write_text(_FIRST_TO_BE_KILLED)
                _, errors = process.communicate(timeout=_SECONDS_MAX)
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0 or not archive.is_file():
            raise SetupError(f"Java could not archive its classes (status {process.returncode}): {errors[-500:]}")


def find_archive(java: Java, jars: Jars, environ: Mapping[str, str]) -> ClassArchive | None:
    """Return where the archive of this Java and these jars is, or is to be; None where there can be none."""
    if _major(java.version) < _JAVA_MIN:
        return None
    directory = next((path for path in map(_usable, _directories(environ)) if path is not None), None)
    if directory is None:
        return None
    name = f"java-{_key(java, jars)}"
    images = environ.get(PACKED_IN)
    packed = Path(images) / f"{name}{_PACKED_SUFFIX}" if images else None
    return ClassArchive(directory / f"{name}{_SUFFIX}", java, jars, packed)


def ready_archive(java: Java, jars: Jars, environ: Mapping[str, str], telemetry: StartEvents) -> ClassArchive | None:
    """Do as find_archive does, and unpack it where an image has it; if that fails, it is told, and all goes on."""
    archive = find_archive(java, jars, environ)
    try:
        if archive is not None:
            archive.unpack()
    except (SetupError, OSError, EOFError, zlib.error) as error:
        telemetry.class_archive_not_made(error=error)
    return archive


def _check_memory() -> None:
    if free_bytes() < MEMORY_BYTES_MIN:
        raise SetupError(f"an archive of Java's classes takes {MEMORY_BYTES_MIN >> 20} MiB, and less is free")


def _directories(environ: Mapping[str, str]) -> Iterator[Path]:
    caches = environ.get("XDG_CACHE_HOME") or (f"{environ['HOME']}/.cache" if environ.get("HOME") else "")
    if caches.startswith("/"):
        yield Path(caches) / "streamgauge"
    yield Path(tempfile.gettempdir()) / f"class-archive-of-streamgauge-{os.getuid()}"


def _usable(directory: Path) -> Path | None:
    """Return the directory, made where it is missing, if it is ours alone to write to."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
    except OSError:
        return None
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    return directory if ours and os.access(directory, os.W_OK | os.X_OK) else None


def _key(java: Java, jars: Jars) -> str:
    """Return a name for these programs. Java compares sizes and times of the jars, too."""
    states = [f"{path} {(found := path.stat()).st_size} {found.st_mtime_ns}" for path in (java.path, *jars.paths)]
    return hashlib.sha256("\n".join([java.version, *states]).encode()).hexdigest()[:16]


def _major(version: str) -> int:
    """Return 17 of `17.0.15`, and 8 of `1.8.0_401`; 0 of what is no version."""
    numbers = version.removeprefix("1.").replace("-", ".").split(".")
    return int(numbers[0]) if numbers[0].isdecimal() else 0


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Lock the file while the block runs; False if another process has it locked."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _write_through(path: Path) -> None:
    """Wait until the file is on disk: after a power failure the name must not stand for half of it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _whole_lines(class_list: Path, copy: Path) -> Path:
    """Copy the list, which its daemon still writes, up to its last whole line."""
    try:
        text = class_list.read_bytes()
    except OSError as error:
        raise SetupError(f"the daemon has not listed its classes: {error}") from error
    copy.write_bytes(text[: text.rfind(b"\n") + 1])
    return copy


def _delete_unfinished(directory: Path) -> None:
    """Delete what makers of other archives have left, who were killed."""
    for path in (*directory.glob("*.new"), *directory.glob("*.classes")):
        with _lock(path.with_suffix(".lock")) as nobody_makes_it:
            if nobody_makes_it:
                path.unlink(missing_ok=True)


def _delete_oldest(directory: Path) -> None:
    archives = sorted(directory.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime)
    for path in archives[:-ARCHIVES_MAX]:
        path.unlink(missing_ok=True)
        path.with_suffix(".lock").unlink(missing_ok=True)
