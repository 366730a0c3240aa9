"""The jars of amazon-kclpy: where they are, and whether they are the ones this version was tested with.

amazon-kclpy's build fetches them without checksums, so their SHA-256 are kept beside this file, in jars.json.
`python -m consumer.runtime.jars` prints that file for the jars that are installed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from consumer.errors import SetupError

DISTRIBUTION = "amazon-kclpy"
LOCK_PATH = Path(__file__).with_name("jars.json")

_PACKAGE = "amazon_kclpy"
_INSTALL = "Install Streamgauge with the extra `kcl`: pip install 'streamgauge[kcl]'."


@dataclass(frozen=True, slots=True)
class JarLock:
    """The jars of one version of amazon-kclpy: name to SHA-256 in hex."""

    version: str
    sha256: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Jars:
    """The jars found. `problems` has one sentence for each that is missing, unknown or changed against the lock."""

    version: str
    tested_version: str
    paths: tuple[Path, ...]
    problems: tuple[str, ...]

    @property
    def tested(self) -> bool:
        """Say whether this is the version that the lock describes; of another one every jar may differ."""
        return self.version == self.tested_version

    @property
    def class_path(self) -> str:
        """Return the class path, in a fixed order."""
        return ":".join(map(str, self.paths))

    def require(self) -> Jars:
        """Return self; SetupError if this is the tested version and not its jars."""
        if self.tested and self.problems:
            listed = "\n  ".join(self.problems)
            raise SetupError(
                f"the jars of {DISTRIBUTION} {self.version} are not those that were tested:\n  {listed}\n"
                f"Install it anew: pip install --force-reinstall --no-cache-dir {DISTRIBUTION}=={self.version}"
            )
        return self


def find_jars(directory: Path | None = None, lock: JarLock | None = None) -> Jars:
    """Find the installed jars and compare them with the lock (about 0.1 s). SetupError if there are none."""
    directory = directory or installed_directory()
    lock = lock or read_lock()
    paths = tuple(sorted(directory.glob("*.jar")))
    if not paths:
        raise SetupError(f"no jar in {directory}: {DISTRIBUTION} was built without them. {_INSTALL}")
    found = {path.name: _sha256(path) for path in paths}
    return Jars(installed_version(), lock.version, paths, tuple(_differences(found, lock.sha256)))


def installed_version() -> str:
    """Return the version of amazon-kclpy; SetupError if it is not installed."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError as error:
        raise SetupError(f"{DISTRIBUTION} is not installed. {_INSTALL}") from error


def installed_directory() -> Path:
    """Return where amazon-kclpy keeps its jars, without importing it; SetupError if it is not installed."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise SetupError(f"{DISTRIBUTION} is not installed. {_INSTALL}")
    return Path(spec.submodule_search_locations[0]) / "jars"


def read_lock() -> JarLock:
    """Return the lock that came with this version of Streamgauge."""
    lock = json.loads(LOCK_PATH.read_text(encoding="utf-8"))
    return JarLock(lock["version"], lock["sha256"])


def lock_text(directory: Path, version: str) -> str:
    """Return the text of the lock for the jars of a directory."""
    checksums = {path.name: _sha256(path) for path in sorted(directory.glob("*.jar"))}
    return json.dumps({"version": version, "sha256": checksums}, indent=2) + "\n"


def _differences(found: Mapping[str, str], locked: Mapping[str, str]) -> list[str]:
    missing = [f"{name} is missing" for name in sorted(locked.keys() - found.keys())]
    unknown = [f"{name} is unknown" for name in sorted(found.keys() - locked.keys())]
    common = sorted(locked.keys() & found.keys())
    changed = [f"{name} has been changed" for name in common if locked[name] != found[name]]
    return missing + unknown + changed


def _sha256(path: Path) -> str:
    with path.open("rb") as jar:
        return hashlib.file_digest(jar, "sha256").hexdigest()


if __name__ == "__main__":
    sys.stdout.write(lock_text(installed_directory(), installed_version()))
