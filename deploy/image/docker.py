"""Docker, as the targets of this project use it: a client that can build, and a daemon that answers.

Where no daemon answers, dockerd is installed and we are root, one of our own is started for a while.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 60.0
_WITHOUT_BUILDX_BELOW = 23
"""Clients below this version have BuildKit themselves; others need the plugin buildx."""
_REMEDY = (
    "Install Docker (Debian and Ubuntu: apt-get install docker.io; without root, start its daemon), or set DOCKER_HOST "
    "to where a daemon listens."
)


class DockerError(Exception):
    """What is missing, or what a command said that failed."""


@dataclass(frozen=True, slots=True)
class Docker:
    """A client program, and what it needs in its environment."""

    program: str
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def run(self, *arguments: str, check: bool = True, seconds_max: float = 300.0) -> subprocess.CompletedProcess[str]:
        """Run `docker ARGUMENTS` and return what it wrote; DockerError if it fails."""
        done = subprocess.run(
            [self.program, *arguments],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds_max,
            check=False,
        )
        if check and done.returncode != 0:
            raise DockerError(f"docker {' '.join(arguments)}: {done.stderr[-2000:]}{done.stdout[-500:]}")
        return done

    def show(self, arguments: Sequence[str]) -> None:
        """Run `docker ARGUMENTS` before everybody's eyes; DockerError if it fails."""
        environ = {**self.environ, "DOCKER_BUILDKIT": "1"}
        if subprocess.run([self.program, *arguments], env=environ, check=False).returncode != 0:
            raise DockerError(f"{self.program} {' '.join(arguments[:2])} has failed")

    def has_image(self, name: str) -> bool:
        """Tell whether the image is here."""
        return self.run("image", "inspect", name, check=False).returncode == 0

    def answers(self) -> bool:
        """Tell whether a daemon answers."""
        return self.run("info", check=False).returncode == 0


def find_docker(environ: Mapping[str, str]) -> Docker:
    """Return a client that can build with BuildKit; DockerError if there is none."""
    found = [environ["DOCKER"]] if environ.get("DOCKER") else _on_path("docker", environ)
    for program in found:
        docker = Docker(program, dict(environ))
        if _can_build(docker):
            return docker
    reason = f"{', '.join(found)} cannot build: the plugin buildx is missing. " if found else "there is no docker. "
    raise DockerError(f"{reason}{_REMEDY}")


@contextmanager
def running(docker: Docker) -> Iterator[Docker]:
    """Return a client whose daemon answers, while the block runs; DockerError with the remedy if that cannot be."""
    if docker.answers():
        yield docker
        return
    dockerd = shutil.which("dockerd", path=docker.environ.get("PATH"))
    if dockerd is None or os.geteuid() != 0:
        raise DockerError(f"no Docker daemon answers. {_REMEDY}")
    with (
        tempfile.TemporaryDirectory(prefix="streamgauge-docker-", ignore_cleanup_errors=True) as directory,
        _daemon(dockerd, Path(directory), docker) as started,
    ):
        yield started


def _on_path(name: str, environ: Mapping[str, str]) -> list[str]:
    folders = environ.get("PATH", os.defpath).split(os.pathsep)
    found = (shutil.which(name, path=folder) for folder in dict.fromkeys(folders))
    return [program for program in found if program is not None]


def _can_build(docker: Docker) -> bool:
    version = docker.run("--version", check=False)
    number = re.search(r"version (\d+)", version.stdout)
    if version.returncode != 0 or number is None:
        return False
    return int(number[1]) < _WITHOUT_BUILDX_BELOW or docker.run("buildx", "version", check=False).returncode == 0


@contextmanager
def _daemon(dockerd: str, directory: Path, docker: Docker) -> Iterator[Docker]:
    """Start a daemon that keeps everything in the directory, and stop it."""
    host = f"unix://{directory}/docker.sock"
    files = [f"--data-root={directory}/data", f"--exec-root={directory}/exec", f"--pidfile={directory}/docker.pid"]
    log = directory / "docker.log"
    with log.open("wb") as output:
        daemon = subprocess.Popen([dockerd, *files, "--host", host], stdout=output, stderr=output)
    started = Docker(docker.program, {**docker.environ, "DOCKER_HOST": host})
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while not started.answers():
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise DockerError(f"dockerd does not start: {log.read_text(errors='replace')[-1000:]}\n{_REMEDY}")
            time.sleep(0.5)
        yield started
    finally:
        daemon.terminate()
        try:
            daemon.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
