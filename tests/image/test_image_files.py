"""What the images are made of, as far as it can be told without Docker."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from deploy.image.build import BASE, IMAGES
from deploy.image.docker import DockerError, find_docker
from deploy.image.install import SERVICES, pinned, unused

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE_FOLDER = ROOT / "deploy" / "compose"
LOCKS = ("worker", "lambda-image", "emulator")
OURS = ("streamgauge", "streamgauge-emulator")


def _load(text: str) -> Any:
    return YAML(typ="safe").load(text)


@pytest.fixture(scope="module")
def compose() -> Any:
    return _load((COMPOSE_FOLDER / "compose.yaml").read_text())


@pytest.mark.parametrize("lock", LOCKS)
def test_the_images_have_the_versions_that_were_tested(lock: str) -> None:
    tested = set(pinned((ROOT / "requirements" / "all.txt").read_text()))
    locked = pinned((ROOT / "requirements" / f"{lock}.txt").read_text())
    assert locked
    assert set(locked) <= tested


def test_every_target_of_the_dockerfile_is_built() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
    assert stages[-1] == "worker", "what `docker build .` without a target builds"
    assert set(IMAGES) <= set(stages)
    assert f"ARG BASE_IMAGE={BASE}\n" in DOCKERFILE


def _user(stage: str) -> str:
    """Return whom a stage runs as in the end, perhaps because the one below it does."""
    found = re.search(rf"^FROM (\S+) AS {stage}$(.*?)(?=^FROM|\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert found, stage
    users = re.findall(r"^USER (.*)$", found[2], re.MULTILINE)
    return users[-1] if users else _user(found[1])


@pytest.mark.parametrize("target", IMAGES)
def test_each_image_runs_as_a_user_with_a_number(target: str) -> None:
    assert _user(target) == "10001:10001"


def test_no_shell_is_between_docker_and_the_worker() -> None:
    commands = re.findall(r"^ *(?:ENTRYPOINT|CMD) (.*)$", DOCKERFILE, re.MULTILINE)
    assert commands
    assert all(command.startswith("[") for command in commands)


def test_what_is_copied_is_let_through() -> None:
    """.dockerignore names what goes to the builder."""
    let_through = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    sources = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(Path(source).match(each) or source.startswith(f"{each}/") for each in let_through), source


def test_a_lock_is_read_without_its_hashes() -> None:
    hashes = " \\\n    --hash=sha256:00 \\\n    --hash=sha256:01\n"
    lock = f"# words\na==1{hashes}b==2 ; python_version < '3.12'{hashes}"
    assert pinned(lock) == ["a==1", "b==2 ; python_version < '3.12'"]


def test_descriptions_of_services_that_nobody_calls_are_left_out(tmp_path: Path) -> None:
    data = tmp_path / "botocore" / "data"
    for service in (*SERVICES, "ec2", "glue"):
        (data / service).mkdir(parents=True)
    (data / "endpoints.json").write_text("{}")
    (tmp_path / "numpy" / "linalg" / "tests").mkdir(parents=True)
    assert {path.name for path in unused(tmp_path)} == {"ec2", "glue", "tests"}


def _client(folder: Path, version: str, *, buildx: bool) -> str:
    folder.mkdir()
    program = folder / "docker"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "Docker version {version}, build 0" && exit 0\n'
        f'[ "$1" = buildx ] && exit {0 if buildx else 1}\nexit 1\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


def test_the_first_client_that_can_build_is_taken(tmp_path: Path) -> None:
    _client(tmp_path / "new", "28.2.2", buildx=False)
    old = _client(tmp_path / "old", "20.10.24", buildx=False)
    new = _client(tmp_path / "whole", "28.2.2", buildx=True)
    assert find_docker({"PATH": f"{tmp_path}/new:{tmp_path}/old:{tmp_path}/whole"}).program == old
    assert find_docker({"PATH": f"{tmp_path}/new:{tmp_path}/whole:{tmp_path}/old"}).program == new


def test_without_a_client_that_can_build_the_remedy_is_told(tmp_path: Path) -> None:
    _client(tmp_path / "new", "28.2.2", buildx=False)
    with pytest.raises(DockerError, match=r"the plugin buildx is missing.*DOCKER_HOST"):
        find_docker({"PATH": f"{tmp_path}/new"})
    with pytest.raises(DockerError, match=r"there is no docker.*docker\.io"):
        find_docker({"PATH": f"{tmp_path}"})


def test_what_compose_mounts_is_there(compose: Any) -> None:
    volumes = [volume for service in compose["services"].values() for volume in service.get("volumes", ())]
    assert volumes
    for volume in volumes:
        source, _, mode = volume.split(":")
        assert (COMPOSE_FOLDER / source).exists(), source
        assert mode == "ro"


def test_composes_images_are_pinned_and_its_ports_are_this_machines_alone(compose: Any) -> None:
    for name, service in compose["services"].items():
        tag = service["image"].removesuffix("}").rpartition(":")[2]
        assert re.fullmatch(r"v?\d+\.\d+\.\d+|\$\{STREAMGAUGE_VERSION", tag), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name


def test_our_containers_are_hardened(compose: Any) -> None:
    ours = [each for each in compose["services"].values() if each["image"].partition(":")[0] in OURS]
    assert len(ours) == 4
    for service in ours:
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert [each.partition(":")[0] for each in service["tmpfs"]] == ["/tmp"]  # noqa: S108 - in the container


def test_prometheus_scrapes_the_worker_and_grafana_asks_prometheus(compose: Any) -> None:
    scrape = _load((COMPOSE_FOLDER / "prometheus.yaml").read_text())
    (job,) = scrape["scrape_configs"]
    assert job["static_configs"][0]["targets"] == ["worker:9102"]
    (source,) = _load((COMPOSE_FOLDER / "grafana/datasources/prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = _load((COMPOSE_FOLDER / "grafana/dashboards/streamgauge.yaml").read_text())["providers"]
    grafana = compose["services"]["grafana"]
    folder = provider["options"]["path"]
    (mounted,) = [volume.split(":")[0] for volume in grafana["volumes"] if volume.split(":")[1] == folder]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (COMPOSE_FOLDER / mounted / Path(home).relative_to(folder)).is_file()
