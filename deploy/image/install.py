"""Makes the Python environment of an image: from wheels alone, slim, compiled. Run by the Dockerfile.

`--slim` leaves out what nothing in the worker or the function ever reads: the descriptions of the some 400 services of
AWS that are not called, tests, and what is for compiling against a library. That is 60 MB.
"""

from __future__ import annotations

import argparse
import compileall
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path

SERVICES = ("dynamodb", "firehose", "kinesis", "lambda", "s3", "signin", "sqs", "sso", "sso-oidc", "sts")
"""What we call, and what boto3 calls to get credentials."""
TIME = 946_684_800
"""Of all files: the first second of 2000."""
UNUSED = ("numpy/**/tests", "numpy/**/*.pyi", "numpy/f2py", "numpy/_core/include", "numpy/_core/lib", "boto3/examples")


def main() -> int:
    """Make the environment; return the exit status."""
    parser = argparse.ArgumentParser(description="Makes the Python environment of an image.")
    parser.add_argument("--slim", action="store_true", help="leave out what a worker never reads")
    parser.add_argument("target", type=Path, help="where the environment will be")
    parser.add_argument("wheels", type=Path, help="folder of all wheels")
    parser.add_argument("lock", type=Path, nargs="?", help="what to install; without it Streamgauge alone")
    options = parser.parse_args()
    wanted = pinned(options.lock.read_text()) if options.lock else ["streamgauge"]
    site_packages = _install(options.target, options.wheels, wanted)
    if options.slim:
        for path in unused(site_packages):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    _set_times(options.target)
    # By hash and unchecked: the files never change, and the times of files are not kept by every builder.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    return 0 if compileall.compile_dir(site_packages, quiet=1, invalidation_mode=mode) else 1


def unused(site_packages: Path) -> Iterator[Path]:
    """Find what a worker or a function never reads."""
    for pattern in UNUSED:
        yield from sorted(site_packages.glob(pattern))
    for service in sorted((site_packages / "botocore" / "data").iterdir()):
        if service.is_dir() and service.name not in SERVICES:
            yield service


def pinned(lock: str) -> list[str]:
    """Return what a lock names without its hashes: they were checked when the wheels came.

    A wheel that was built here, from a source whose hash was checked, has another one.
    """
    return [line.rstrip(" \\") for line in lock.splitlines() if "==" in line and not line.startswith((" ", "#"))]


def _set_times(target: Path) -> None:
    """Give every file one time: Java uses an archive of classes for jars of the same time alone."""
    for path in target.rglob("*"):
        os.utime(path, (TIME, TIME), follow_symlinks=False)


def _install(target: Path, wheels: Path, wanted: Sequence[str]) -> Path:
    venv.create(target, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(target / "bin" / "python"), "install", "--quiet"]
    offline = ["--no-compile", "--no-deps", "--no-index", "-f", str(wheels)]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as names:
        names.write("".join(f"{each}\n" for each in wanted))
        names.flush()
        subprocess.run([*pip, *offline, "-r", names.name], check=True)
    (found,) = (target / "lib").glob("python3.*/site-packages")
    return found


if __name__ == "__main__":
    sys.exit(main())
