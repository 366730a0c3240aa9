"""Containers of the images, hardened as docs/image.md says, and what they have said and done."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deploy.image.docker import Docker

HARDENED = (
    "--read-only",
    "--tmpfs=/tmp:rw,nosuid,nodev,size=256m",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)
PIPELINE = "/etc/streamgauge/pipeline.yaml"
_POLL_SECONDS = 0.3


def wait_until(what: str, ready: Callable[[], object], seconds_max: float) -> None:
    deadline = time.monotonic() + seconds_max
    while not ready():
        assert time.monotonic() < deadline, f"waited {seconds_max:.0f} s for {what}"
        time.sleep(_POLL_SECONDS)


@dataclass
class Container:
    docker: Docker
    name: str

    def inspect(self) -> Any:
        return json.loads(self.docker.run("inspect", self.name).stdout)[0]

    @property
    def state(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.inspect()["State"]
        return found

    @property
    def health(self) -> str:
        return str(self.state["Health"]["Status"])

    def log(self) -> str:
        done = self.docker.run("logs", self.name)
        return done.stdout + done.stderr

    def events(self, name: str) -> list[Mapping[str, Any]]:
        lines = (json.loads(line) for line in self.log().splitlines() if line.startswith("{"))
        return [line for line in lines if line.get("event") == name]

    def wait_for_event(self, name: str, times: int = 1, seconds_max: float = 180.0) -> None:
        def seen() -> bool:
            return len(self.events(name)) >= times

        try:
            wait_until(f"{times} times {name} of {self.name}", seen, seconds_max)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()[-5000:]}") from None

    def python(self, code: str, *arguments: str, check: bool = True, user: str = "10001") -> str:
        done = self.docker.run("exec", "--user", user, self.name, "python", "-c", code, *arguments, check=check)
        return done.stdout

    def signal(self, name: str) -> None:
        self.docker.run("kill", f"--signal={name}", self.name)

    def stop(self, grace_seconds: int) -> float:
        """Send SIGTERM, and SIGKILL after the grace time; return how long it took."""
        began = time.monotonic()
        self.docker.run("stop", f"--time={grace_seconds}", self.name)
        return time.monotonic() - began


@dataclass
class Network:
    """A network of its own, and containers in it; all are gone at the end of the `with` block."""

    docker: Docker
    name: str = field(default_factory=lambda: f"streamgauge-test-{secrets.token_hex(4)}")
    containers: list[Container] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.docker.run("network", "create", self.name)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for container in self.containers:
            self.docker.run("rm", "--force", "--volumes", container.name, check=False)
        self.docker.run("network", "rm", self.name, check=False)

    def start(self, name: str, image: str, *arguments: str, options: Sequence[str] = ()) -> Container:
        """Start a hardened container that the others know by `name`."""
        container = Container(self.docker, f"{self.name}-{name}")
        self.containers.append(container)
        around = [f"--network={self.name}", f"--network-alias={name}", f"--name={container.name}"]
        self.docker.run("run", "--detach", *around, *HARDENED, *options, image, *arguments)
        return container

    def run(self, image: str, *arguments: str, options: Sequence[str] = ()) -> str:
        """Run a hardened container to its end and return what it wrote."""
        network = f"--network={self.name}"
        return self.docker.run("run", "--rm", network, *HARDENED, *options, image, *arguments).stdout


def run_offline(
    docker: Docker, image: str, *arguments: str, stdin: bytes = b"", options: Sequence[str] = ()
) -> subprocess.CompletedProcess[bytes]:
    """Run a hardened container without a network, and return its end."""
    command = [docker.program, "run", "--rm", "--interactive", "--network=none", *HARDENED, *options, image, *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, env=docker.environ, check=False, timeout=120)


def mounted(path: Path, target: str = PIPELINE) -> str:
    return f"--volume={path}:{target}:ro"
