"""Builds what a release consists of, into dist/: run as `make dist`.

    streamgauge-VERSION-py3-none-any.whl       the package
    streamgauge-VERSION.tar.gz                 its source
    streamgauge-VERSION.tgz                    the Helm chart
    streamgauge-lambda-ARCHITECTURE.zip        the Lambda function, for the Python that builds it
    streamgauge-observability-VERSION.tar.gz   dashboards and alert rules
    streamgauge-aws-VERSION.tar.gz             templates and policies: ECS, Lambda, IAM, Terraform
    streamgauge-VERSION.cdx.json               the bill of materials of the worker's image
    SHA256SUMS

The same sources and locks give the same bytes. The image is built by `make image`, where there is a base image.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from consumer import __version__
from consumer.runtime.jars import find_jars
from deploy.release.archives import EPOCH_SECONDS, files_below, read_tar_gz, tar_gz
from deploy.release.sbom import bill, jars_of

ROOT = Path(__file__).parents[2]
OUT = ROOT / "dist"
NAME = f"streamgauge-{__version__}"
_OF_THE_PACKAGE = ("pyproject.toml", "README.md", "LICENSE")
_AWS = ("ecs/template.yaml", "iam/worker.yaml", "iam/lambda.yaml", "lambda/template.yaml")


def main() -> int:
    """Build everything, or what is asked for; print the names and hashes."""
    parser = argparse.ArgumentParser(description="Builds what a release consists of.")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--without-lambda", action="store_true", help="which fetches wheels for both architectures")
    options = parser.parse_args()
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    _package(options.out)
    for name, data in _archives().items():
        (options.out / name).write_bytes(data)
    _check_sbom((options.out / f"{NAME}.cdx.json").read_text())
    if not options.without_lambda:
        script = ROOT / "deploy" / "lambda" / "package.py"
        subprocess.run([sys.executable, script, "--out", options.out], check=True, stdout=subprocess.DEVNULL)
    print(_sums(options.out), end="")
    return 0


def _archives() -> dict[str, bytes]:
    return {
        f"{NAME}.tgz": chart(),
        f"streamgauge-observability-{__version__}.tar.gz": observability(),
        f"streamgauge-aws-{__version__}.tar.gz": templates(),
        f"{NAME}.cdx.json": sbom(),
    }


def chart() -> bytes:
    """Return the chart as Helm takes it."""
    folder = ROOT / "helm" / "streamgauge"
    return tar_gz({f"streamgauge/{name}": data for name, data in files_below(folder, _ignored(folder)).items()})


def _ignored(chart_folder: Path) -> list[str]:
    """Return what .helmignore leaves out: names and patterns of them."""
    file = chart_folder / ".helmignore"
    lines = file.read_text().splitlines() if file.exists() else []
    return [".helmignore", *(line.strip().rstrip("/") for line in lines if line.strip() and not line.startswith("#"))]


def observability() -> bytes:
    """Return the dashboards, and the alert rules of plain Prometheus."""
    boards = files_below(ROOT / "helm" / "streamgauge" / "dashboards")
    files = {f"dashboards/{name}": data for name, data in boards.items() if name.endswith(".json")}
    return tar_gz(files | {"alerts.yaml": (ROOT / "deploy" / "observability" / "alerts.yaml").read_bytes()})


def templates() -> bytes:
    """Return what is deployed without Kubernetes; the folders are as the Terraform module needs them."""
    folder = ROOT / "deploy"
    module = files_below(folder / "terraform", (".terraform*", "*.tfstate*"))
    return tar_gz(
        {name: (folder / name).read_bytes() for name in _AWS}
        | {f"terraform/{name}": data for name, data in module.items()}
    )


def sbom() -> bytes:
    """Return the bill of materials."""
    jars = jars_of(ROOT / "consumer" / "runtime" / "jars.json")
    folder = find_jars().require().paths[0].parent
    return (json.dumps(bill(ROOT / "requirements" / "worker.txt", jars, folder), indent=1) + "\n").encode()


def _check_sbom(text: str) -> None:
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415 - only `make dist` installs it
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415 - as above

    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error is not None:
        raise SystemExit(f"the bill of materials is not as its schema says: {error}")


def _package(out: Path) -> None:
    """Build wheel and source, out of a copy: setuptools would take what earlier builds have left."""
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary, "source")
        shutil.copytree(ROOT / "consumer", copy / "consumer", ignore=shutil.ignore_patterns("__pycache__"))
        for name in _OF_THE_PACKAGE:
            shutil.copy(ROOT / name, copy)
        for path in copy.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        environ = os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH_SECONDS)}
        for kind in ("build_sdist", "build_wheel"):
            code = f"from setuptools import build_meta; build_meta.{kind}({temporary!r})"
            subprocess.run([sys.executable, "-c", code], cwd=copy, env=environ, check=True, capture_output=True)
        source = tar_gz(read_tar_gz(Path(temporary, f"{NAME}.tar.gz").read_bytes()))
        (out / f"{NAME}.tar.gz").write_bytes(source)
        (wheel,) = Path(temporary).glob("*.whl")
        shutil.copy(wheel, out)


def _sums(out: Path) -> str:
    """Write SHA256SUMS, as `sha256sum --check` takes it, and return it."""
    files = sorted(path for path in out.iterdir() if path.is_file())
    text = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    (out / "SHA256SUMS").write_text(text)
    return text


if __name__ == "__main__":
    sys.exit(main())
