"""What a cold start of the Lambda function costs, beside importing boto3 and making one client, which nobody escapes.

Run as `make bench-cold-start`. Builds the zip file for this machine, unpacks it, and starts both in turns, each in a
process of its own, boto3 from the same place. CPU time from the first line: imports, the pipeline file read and
checked, the loop compiled. Prints one line a figure, `name value unit`.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
BOTO3 = ("boto3", "botocore", "s3transfer", "jmespath", "urllib3", "dateutil", "six")
"""What Lambda's runtime brings."""
_TIMED = "import time; began = time.process_time()\n{}\nprint(time.process_time() - began, file=sys.stderr)"
_CLIENT = "import boto3; boto3.client('dynamodb')"
_FUNCTION = "from consumer.entrypoints.lambda_handler import Container; Container('function', os.environ)"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measures a cold start of the Lambda function.")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="streamgauge-cold-start-") as name:
        directory = Path(name)
        zip_bytes = _unpack(directory)
        environ = _environ(directory)
        runs = [(_cpu_ms(_CLIENT, environ), _cpu_ms(_FUNCTION, environ)) for _ in range(options.rounds)]
    client_ms, function_ms = (median(each) for each in zip(*runs, strict=True))
    print(f"zip {zip_bytes / 1024 / 1024:.1f} MiB")
    print(f"boto3_and_one_client {client_ms:.0f} ms of CPU time")
    print(f"cold_start {function_ms:.0f} ms of CPU time")
    print(f"cold_start_by_client {median(own / base for base, own in runs):.2f} times")
    return 0


def _unpack(directory: Path) -> int:
    """Put the function and boto3 into a directory, with bytecode, as in a container; return the zip file's size."""
    architecture = "arm64" if platform.machine() == "aarch64" else "x86_64"
    script = ROOT / "deploy" / "lambda" / "package.py"
    pipeline = ROOT / "config" / "clickstream.yaml"
    arguments = ["--arch", architecture, "--out", str(directory), "--pipeline", str(pipeline)]
    subprocess.run([sys.executable, str(script), *arguments], check=True, stdout=subprocess.DEVNULL)
    archive = directory / f"streamgauge-lambda-{architecture}.zip"
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(directory / "function")
    (directory / "runtime").mkdir()
    for module in BOTO3:
        found = importlib.util.find_spec(module)
        assert found is not None, module
        assert found.origin is not None, module
        place = Path(found.origin)
        place = place.parent if place.name == "__init__.py" else place
        (directory / "runtime" / place.name).symlink_to(place)
    return archive.stat().st_size


def _environ(directory: Path) -> Mapping[str, str]:
    return {
        "PYTHONPATH": f"{directory / 'function'}:{directory / 'runtime'}",
        "STREAMGAUGE_PIPELINE": str(directory / "function" / "pipeline.yaml"),
        "STREAMGAUGE_LOG_LEVEL": "error",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
    }


def _cpu_ms(code: str, environ: Mapping[str, str]) -> float:
    command = [sys.executable, "-S", "-c", "import os, sys\n" + _TIMED.format(code)]
    done = subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=dict(environ), text=True
    )
    return float(done.stderr.splitlines()[-1]) * 1000


if __name__ == "__main__":
    sys.exit(main())
