"""Builds the Lambda function's zip file: the same bytes from the same sources and lock, wherever it is built.

Run as `make lambda-zip`; see docs/lambda.md. boto3 is left out: the runtime has it.
The bytecode goes in, for a container cannot keep what it compiles; so the function's Python must be the one that built.
"""

from __future__ import annotations

import argparse
import compileall
import hashlib
import py_compile
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements" / "lambda.txt"
ARCHITECTURES = {"arm64": "aarch64", "x86_64": "x86_64"}
ZIP_BYTES_MAX = 15 * 1024 * 1024
_UNUSED = (
    "consumer/emulator",
    "consumer/testing",
    "consumer/entrypoints/demo",
    "consumer/entrypoints/emulator.py",
    "consumer/entrypoints/unit_tests",
)
"""What a function never imports."""
_LEFT_OUT = (
    "*.dist-info/RECORD",
    "*.dist-info/INSTALLER",
    "*.dist-info/REQUESTED",
    "*.dist-info/direct_url.json",
    "bin/*",
)
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can say: files have no other."""
_MODE = 0o644 << 16
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The runtime's version that the file is for: that which builds it."""


def main() -> int:
    """Build one zip file an architecture; print their paths, runtimes, sizes and hashes."""
    options = _parser().parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for architecture in options.arch:
        target = options.out / f"streamgauge-lambda-{architecture}.zip"
        build(target, architecture, options.pipeline)
        size = target.stat().st_size
        digest = hashlib.sha256(target.read_bytes()).hexdigest()
        print(f"{target} for python{_PYTHON} on {architecture}, {size / 1024 / 1024:.1f} MiB, sha256:{digest}")
        if size > ZIP_BYTES_MAX:
            print(f"larger than {ZIP_BYTES_MAX} bytes", file=sys.stderr)
            return 1
    return 0


def build(target: Path, architecture: str, pipeline: Path | None) -> None:
    """Build the zip file; with the pipeline file as `pipeline.yaml` in it, if there is one."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        _install(directory, architecture)
        shutil.copytree(ROOT / "consumer", directory / "consumer", ignore=shutil.ignore_patterns("__pycache__"))
        for each in _UNUSED:
            path = directory / each
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for pattern in _LEFT_OUT:
            for path in directory.glob(pattern):
                path.unlink()
        if pipeline is not None:
            shutil.copy(pipeline, directory / "pipeline.yaml")
        _compile(directory)
        _zip(target, directory)


def _install(directory: Path, architecture: str) -> None:
    platforms = [f"manylinux_2_{glibc}_{ARCHITECTURES[architecture]}" for glibc in (17, 24, 26, 27, 28)]
    platforms.append(f"manylinux2014_{ARCHITECTURES[architecture]}")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    command += ["--no-deps", "--require-hashes", "--requirement", str(REQUIREMENTS), "--target", str(directory)]
    command += ["--only-binary", ":all:", "--implementation", "cp"]
    command += ["--python-version", _PYTHON]
    command += [argument for platform in platforms for argument in ("--platform", platform)]
    subprocess.run(command, check=True)


def _compile(directory: Path) -> None:
    done = compileall.compile_dir(
        directory,
        quiet=1,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        stripdir=str(directory),
        prependdir="/var/task",
    )
    if not done:
        raise SystemExit("a module could not be compiled")


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in sorted(directory.rglob("*")) if path.is_file())


def _zip(target: Path, directory: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in _files(directory):
            info = zipfile.ZipInfo(path.relative_to(directory).as_posix(), _EPOCH)
            info.external_attr = _MODE
            info.create_system = 3
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, path.read_bytes())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Builds the Lambda function's zip file.")
    parser.add_argument("--arch", choices=ARCHITECTURES, nargs="+", default=tuple(ARCHITECTURES))
    parser.add_argument("--pipeline", type=Path, help="a pipeline file to put in as pipeline.yaml")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    return parser


if __name__ == "__main__":
    sys.exit(main())
