"""What is in the images, and what they can do without a network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from consumer import __version__
from deploy.image.build import size_bytes
from deploy.image.docker import Docker
from tests.image.containers import PIPELINE, mounted, run_offline

pytestmark = pytest.mark.image

TMP = "/tmp"  # noqa: S108 - the one place to write to
SIZE_MAX_BYTES = 300_000_000
CONFIG = Path(__file__).parents[2] / "config"
CLICKSTREAM = mounted(CONFIG / "clickstream.yaml")

WRITABLE = """
import os
found = []
for folder, folders, files in os.walk("/"):
    if folder == "/":
        folders[:] = [each for each in folders if each not in ("dev", "proc", "sys")]
    found += [path for path in (folder, *(os.path.join(folder, each) for each in files))
              if not os.path.islink(path) and os.access(path, os.W_OK)]
print(*found)
"""
NOT_COMPILED = """
import os, sys, {modules}
specs = [module.__spec__ for name, module in sorted(sys.modules.items()) if name != "__main__"]
print(*(spec.name for spec in specs if spec and spec.cached and not os.path.exists(spec.cached)))
"""
EVENT = {"user_id": "u-1", "event_time": "2026-01-01T00:00:01.000Z", "page": "/", "country": "DE", "amount": 2.5}


@pytest.fixture(scope="module")
def configuration(docker: Docker, worker_image: str) -> Any:
    return json.loads(docker.run("image", "inspect", worker_image).stdout)[0]["Config"]


def _python(docker: Docker, image: str, code: str, *options: str) -> str:
    done = run_offline(docker, image, "-c", code, options=["--entrypoint=/opt/streamgauge/bin/python", *options])
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def test_the_image_is_small(docker: Docker, worker_image: str) -> None:
    assert size_bytes(docker, worker_image) < SIZE_MAX_BYTES


def test_the_image_says_who_it_is_and_what_it_runs(configuration: Any) -> None:
    assert configuration["User"] == "10001:10001"
    assert configuration["Entrypoint"] == ["/opt/streamgauge/bin/streamgauge"]
    assert configuration["Cmd"] == ["run", PIPELINE]
    assert configuration["Healthcheck"]["Test"][0] == "CMD"
    labels = {name.rpartition(".")[2]: value for name, value in configuration["Labels"].items()}
    assert labels["version"] == __version__
    assert labels["licenses"] == "Apache-2.0"
    assert len(labels["revision"]) == 40


@pytest.mark.parametrize("target", ["worker", "lambda", "emulator"])
def test_it_runs_as_a_user_who_may_write_to_tmp_alone(docker: Docker, images: Mapping[str, str], target: str) -> None:
    image = images[target]
    assert _python(docker, image, "import os; print(os.getuid(), os.getgid())") == "10001 10001"
    assert _python(docker, image, WRITABLE) == TMP


def test_nothing_of_ours_belongs_to_who_runs_it(docker: Docker, worker_image: str) -> None:
    """Where the root file system is not read-only, only what the base image gives to everybody can be written."""
    done = docker.run("run", "--rm", "--entrypoint=python3", worker_image, "-c", WRITABLE)
    assert {TMP} <= set(done.stdout.split()) <= {TMP, "/run/lock", "/var/tmp"}  # noqa: S108 - told apart


@pytest.mark.parametrize(
    ("target", "modules"),
    [
        ("worker", "consumer.entrypoints.worker, consumer.entrypoints.process"),
        ("lambda", "awslambdaric.bootstrap, consumer.entrypoints.lambda_handler"),
    ],
)
def test_all_that_a_start_imports_is_compiled(
    docker: Docker, images: Mapping[str, str], target: str, modules: str
) -> None:
    assert _python(docker, images[target], NOT_COMPILED.format(modules=modules)) == ""


def test_there_are_no_tools_to_build_and_install_in_it(docker: Docker, worker_image: str) -> None:
    for tool in ("apt", "perl", "pip", "gcc", "javac", "jlink"):
        assert _python(docker, worker_image, f"import shutil; print(shutil.which({tool!r}))") == "None"


def test_no_program_changes_whom_it_runs_as(docker: Docker, worker_image: str) -> None:
    code = """
import os
files = (os.path.join(folder, each) for folder, _, names in os.walk("/usr") for each in names)
print(*(path for path in files if not os.path.islink(path) and os.stat(path).st_mode & 0o6000))
"""
    assert _python(docker, worker_image, code) == ""


def test_java_trusts_the_usual_authorities(docker: Docker, worker_image: str) -> None:
    """Nothing else here would notice: the embedded AWS speaks no TLS."""
    arguments = ("-list", "-keystore", "/opt/java/lib/security/cacerts", "-storepass", "changeit")
    done = run_offline(docker, worker_image, *arguments, options=["--entrypoint=/opt/java/bin/keytool"])
    assert done.stdout.count(b"trustedCertEntry") > 100


def test_every_client_that_a_pipeline_needs_can_be_made(docker: Docker, worker_image: str) -> None:
    names = "'kinesis', 'dynamodb', 's3', 'firehose', 'sqs', 'sts', 'lambda'"
    code = f"import boto3\nfor name in ({names}): boto3.client(name)"
    _python(docker, worker_image, code, "--env=AWS_REGION=eu-central-1", "--env=AWS_DEFAULT_REGION=eu-central-1")


def test_doctor_finds_the_jars_and_java_and_warns_of_nothing(docker: Docker, worker_image: str) -> None:
    done = run_offline(docker, worker_image, "doctor")
    assert done.returncode == 0
    assert b"jars                     79 verified" in done.stdout
    assert {line.split()[0] for line in done.stdout.splitlines()} == {b"ok"}


def test_a_pipeline_file_is_checked(docker: Docker, worker_image: str) -> None:
    done = run_offline(docker, worker_image, "check", PIPELINE, options=[CLICKSTREAM])
    assert done.returncode == 0, done.stderr
    assert b"page_views" in done.stdout


def test_a_wrong_pipeline_file_ends_with_its_status_and_line(docker: Docker, worker_image: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("pipeline: shop\nsauce: {}\n")
    done = run_offline(docker, worker_image, "check", PIPELINE, options=[mounted(tmp_path / "wrong.yaml")])
    assert done.returncode == 2
    assert b"sauce" in done.stderr


def test_events_on_standard_input_are_processed(docker: Docker, worker_image: str) -> None:
    events = json.dumps(EVENT).encode() + b"\n"
    done = run_offline(docker, worker_image, "process", PIPELINE, stdin=events, options=[CLICKSTREAM])
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["window"] for row in rows} == {"page_views", "revenue", "visits"}


def test_a_sketch_can_be_made(docker: Docker, worker_image: str, tmp_path: Path) -> None:
    """Its library needs numpy, of which the image has a part."""
    text = (
        (CONFIG / "clickstream.yaml")
        .read_text()
        .replace("views: count()", "views: count()\n      who: approx_distinct(user_id)")
    )
    (tmp_path / "pipeline.yaml").write_text(text)
    events = b"".join(json.dumps(EVENT | {"user_id": f"u-{n}"}).encode() + b"\n" for n in range(100))
    options = [mounted(tmp_path / "pipeline.yaml")]
    done = run_offline(docker, worker_image, "process", PIPELINE, stdin=events, options=options)
    assert done.returncode == 0, done.stderr
    (views,) = [row for row in map(json.loads, done.stdout.splitlines()) if row["window"] == "page_views"]
    assert 90 <= views["who"] <= 110


def test_without_a_pipeline_file_the_worker_says_what_is_missing(docker: Docker, worker_image: str) -> None:
    done = run_offline(docker, worker_image)
    assert done.returncode == 2
    assert PIPELINE.encode() in done.stderr
