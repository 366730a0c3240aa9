"""The image of the function: the real runtime client in a container, hardened as AWS Lambda does it.

The Runtime API, the embedded AWS and the mapping are here; the container shares this machine's network.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from consumer.emulator.server import Emulator
from consumer.entrypoints.demo.clickstream import Scenario
from consumer.entrypoints.demo.cloud import Cloud, environment_for
from consumer.entrypoints.demo.lineage import count_stream
from consumer.entrypoints.demo.processes import Children
from consumer.entrypoints.demo.producer import Producer
from consumer.entrypoints.demo.recount import are_combined, recount
from consumer.entrypoints.demo.runtime_api import LambdaFunction, tick_until
from consumer.pipeline.load import load
from consumer.sources.kinesis import describe
from consumer.sources.mapping import UNCHECKED
from consumer.testing.mapping import EventSourceMapping
from deploy.image.docker import Docker
from tests.image.containers import HARDENED, Container, mounted

pytestmark = [pytest.mark.image, pytest.mark.timeout(600, func_only=True)]

FILE = Path(__file__).parents[2] / "config" / "clickstream.yaml"
EVENTS = 3_000
SECONDS_MAX = 180.0
ANY_USER = "993:990"
"""AWS runs functions as whom it likes."""
EVERY = 7
"""Every so many invocations one is killed."""


class _FunctionContainer(Container):
    """What LambdaFunction asks of its containers."""

    @property
    def status(self) -> int | None:
        found = self.state
        return None if found["Running"] else int(found["ExitCode"])

    def output(self) -> str:
        return self.log()

    def kill(self) -> None:
        self.docker.run("rm", "--force", self.name, check=False)


class _FunctionContainers:
    """Starts containers of the image, in the place of processes."""

    def __init__(self, docker: Docker, image: str) -> None:
        self._docker, self._image = docker, image

    def start(self, name: str, _arguments: Sequence[str], environ: Mapping[str, str]) -> _FunctionContainer:
        container = _FunctionContainer(self._docker, f"streamgauge-test-{name}-{secrets.token_hex(4)}")
        variables = [
            f"--env={key}={value}" for key, value in environ.items() if key.startswith(("AWS_", "STREAMGAUGE"))
        ]
        options = ["--network=host", f"--name={container.name}", f"--user={ANY_USER}", "--memory=512m", *HARDENED]
        options += [mounted(FILE, "/var/task/pipeline.yaml"), *variables]
        self._docker.run("run", "--detach", *options, self._image)
        return container


def test_the_function_in_its_container_loses_and_doubles_nothing(docker: Docker, images: Mapping[str, str]) -> None:
    with Emulator() as aws:
        environ = environment_for(aws.endpoint, {})
        pipeline = load(FILE, environ)
        cloud = Cloud(pipeline, environ)
        cloud.prepare(2, "nobody")
        client: Any = aws.client("kinesis")
        Producer(client, pipeline.source.stream).send(
            Scenario(EVENTS, 1_767_225_600_000, 3_600_000, 9_000, 7).messages(), lambda _: None
        )
        containers = cast("Children", _FunctionContainers(docker, images["lambda"]))
        with LambdaFunction(containers, environ | {UNCHECKED: "yes"}, handler="as the image has it") as function:
            invocations = 0

            def invoke(event: Mapping[str, Any]) -> Any:
                nonlocal invocations
                invocations += 1
                return function.invoke(event, kill_after_seconds=None if invocations % EVERY else 0.05)

            arn = describe(client, pipeline.source.stream).arn
            mapping = EventSourceMapping(client, pipeline.source.stream, arn, invoke, batch_size=300, random=Random(7))
            while not mapping.drained():
                pass
            assert function.containers > 1
            counted = count_stream(pipeline, cloud.shards(), 0, cloud.records)
            tick_until(
                lambda: are_combined(pipeline, counted, cloud.delivered()), function.invoke, seconds_max=SECONDS_MAX
            )
        found = recount(pipeline, counted, cloud.delivered())
        assert found.results.expected > 0
        assert found.is_right, (found.results.examples, found.late.examples, found.dead_letters.examples)
