"""`make up` without Grafana: a worker, the embedded AWS, a producer, Prometheus, as deploy/compose has them.

Prometheus is built from its sources where its image is not here and cannot be pulled.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from consumer import __version__
from deploy.image.docker import Docker
from tests.image.containers import wait_until

pytestmark = [pytest.mark.image, pytest.mark.timeout(900, func_only=True)]

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "compose" / "compose.yaml"
PROJECT = "streamgauge-test-compose"
SERVICES = ("aws", "prepare", "worker", "producer", "prometheus")
PORTS = ("AWS_PORT", "WORKER_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")


class Compose:
    """The project. Its ports are free ones."""

    def __init__(self, command: list[str], docker: Docker, prometheus: str) -> None:
        self.ports = {name: _free_port() for name in PORTS}
        chosen = {"STREAMGAUGE_VERSION": __version__, "PROMETHEUS_IMAGE": prometheus}
        self._environ = {**docker.environ, **self.ports, **chosen}
        self._command = [*command, "--project-name", PROJECT, "--file", str(FILE)]

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._command, *arguments], env=self._environ, capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def ask(self, port: str, path: str) -> Any:
        """Return what a service answers, None while it does not."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[port]}{path}", timeout=5) as answer:
                return json.loads(answer.read())
        except OSError:
            return None

    def value(self, query: str) -> float:
        """Return a number of Prometheus', 0 while it has none."""
        answer = self.ask("PROMETHEUS_PORT", f"/api/v1/query?query={urllib.parse.quote(query)}")
        found = answer["data"]["result"] if answer else []
        return float(found[0]["value"][1]) if found else 0.0


@pytest.fixture(scope="module")
def compose(docker: Docker, images: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    assert images
    context = tmp_path_factory.mktemp("prometheus")
    project = Compose(_command(docker), docker, _prometheus(docker, context))
    try:
        project.run("up", "--detach", *SERVICES)
        yield project
    finally:
        project.run("down", "--volumes", "--timeout", "60")


def test_prometheus_gets_live_numbers_and_a_recount_is_right(compose: Compose) -> None:
    wait_until("windows of this moment", lambda: compose.value("sum(streamgauge_results_emitted_total)") > 0, 300)
    assert compose.value("sum(rate(streamgauge_records_received_total[1m]))") > 0
    lag_seconds = compose.value("max(streamgauge_event_time_lag_seconds)")
    assert 0 < lag_seconds < 60
    compose.run("stop", "producer")
    found = json.loads(
        compose.run("run", "--rm", "-T", "producer", "recount", "/etc/streamgauge/pipeline.yaml").splitlines()[-1]
    )
    assert found["right"], found
    assert found["expected"] > 0


def test_prometheus_has_the_alert_rules(compose: Compose) -> None:
    wait_until("rules", lambda: compose.ask("PROMETHEUS_PORT", "/api/v1/rules"), 60)
    groups = compose.ask("PROMETHEUS_PORT", "/api/v1/rules")["data"]["groups"]
    written = YAML(typ="safe").load((ROOT / "deploy" / "observability" / "alerts.yaml").read_text())["groups"]
    assert [rule["name"] for group in groups for rule in group["rules"]] == [
        rule["alert"] for group in written for rule in group["rules"]
    ]


def _command(docker: Docker) -> list[str]:
    if docker.run("compose", "version", check=False).returncode == 0:
        return [docker.program, "compose"]
    old = shutil.which("docker-compose")
    assert old is not None, "there is no Compose: apt-get install docker-compose"
    return [old]


def _prometheus(docker: Docker, context: Path) -> str:
    """Return an image of Prometheus."""
    (line,) = [line for line in FILE.read_text().splitlines() if "PROMETHEUS_IMAGE:-" in line]
    pinned = line.partition(":-")[2].rstrip("}")
    if docker.has_image(pinned) or docker.run("pull", pinned, check=False).returncode == 0:
        return pinned
    built = subprocess.run(
        [str(ROOT / "deploy" / "tools" / "build"), "prometheus"],
        capture_output=True,
        text=True,
        check=True,
        timeout=800,
    )
    name = f"streamgauge-test-prometheus:{pinned.rpartition(':')[2]}"
    shutil.copy(Path(built.stdout.split()[-1]) / "prometheus", context)
    (context / "Dockerfile").write_text('FROM scratch\nCOPY prometheus /bin/\nENTRYPOINT ["/bin/prometheus"]\n')
    docker.show(["build", "--quiet", "--tag", name, str(context)])
    return name


def _free_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return str(taken.getsockname()[1])
