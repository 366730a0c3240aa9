"""The daemon with a faster loop: two small classes that set what its properties do not reach.

KCL's scheduler looks after its shards in a loop, and each step of a shard (waiting for parents, beginning, reading,
ending) waits for a turn of it. The loop's pause is a documented setting of KCL, a second by default, but none of the
daemon's properties. The classes reach for parts of the daemon that are open to its own packages alone, so they are used
with the version of its jars that they were compiled and tested with; any other daemon is started with its own loop.
A third one stands in for a class of Java's that the daemon calls and that is no more, see DatatypeConverter.java.

`python -m consumer.runtime.paced_daemon` compiles them anew, into the jar beside their sources; it needs `javac`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from consumer.runtime.jars import Jars, find_jars

MAIN_CLASS = "software.amazon.kinesis.multilang.MultiLangDaemon"
PACED_MAIN_CLASS = "software.amazon.kinesis.multilang.PacedMultiLangDaemon"
SOURCES = Path(__file__).with_name("paced")
JAR = SOURCES / "paced.jar"

_RELEASE = "8"
"""The oldest Java that the daemon itself runs with."""
_BEGINNING_OF_TIME = (1980, 1, 1, 0, 0, 0)


def program(jars: Jars) -> tuple[str, str]:
    """Return the class path and the main class to start the daemon with."""
    # Behind the daemon's own jars: an archive of those can be used with what is in front.
    return f"{jars.class_path}:{JAR}", PACED_MAIN_CLASS if jars.tested else MAIN_CLASS


def sources() -> Mapping[str, bytes]:
    """Return the sources by their names."""
    return {path.name: path.read_bytes() for path in sorted(SOURCES.glob("*.java"))}


def write_jar(jar: Path, classes: Mapping[str, bytes]) -> None:
    """Write a jar of classes, by path, and of the sources; the same content gives the same bytes."""
    with zipfile.ZipFile(jar, "w") as archive:
        for name, content in sorted({**classes, **sources()}.items()):
            archive.writestr(zipfile.ZipInfo(name, _BEGINNING_OF_TIME), content)


def compile_classes(jars: Jars, javac: str = "javac") -> Mapping[str, bytes]:
    """Return the compiled classes by path; subprocess.CalledProcessError if they do not fit the jars."""
    with tempfile.TemporaryDirectory() as directory:
        files = [str(SOURCES / name) for name in sources()]
        options = ["--release", _RELEASE, "-Xlint:-options", "-g:none", "-cp", jars.class_path, "-d", directory]
        subprocess.run([javac, *options, *files], check=True, capture_output=True)  # noqa: S603 -- a developer's javac
        found = Path(directory).rglob("*.class")
        return {str(path.relative_to(directory)): path.read_bytes() for path in found}


if __name__ == "__main__":
    write_jar(JAR, compile_classes(find_jars().require()))
    sys.stdout.write(f"{JAR}\n")
