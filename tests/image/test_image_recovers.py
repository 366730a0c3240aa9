"""The worker's container among others: it drains, and comes back from whatever ends it, with every row right.

The embedded AWS and the producer are containers too, and so is who counts again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from deploy.image.docker import Docker
from tests.image.containers import Container, Network, mounted, wait_until

pytestmark = [pytest.mark.image, pytest.mark.timeout(900, func_only=True)]

FILE = Path(__file__).parents[2] / "config" / "clickstream.yaml"
IDENTIFIER = "worker-0"
MEMORY = "1g"
EVENTS, EVENTS_A_SECOND = 60_000, 600
GRACE_SECONDS = 60
"""Above the 45 s that the daemon gives its shards; below what orchestrators give by default or can be told to."""
STEPS = ("--entrypoint=/opt/streamgauge/bin/python",)
AWS = (
    "--env=AWS_ENDPOINT_URL=http://aws:4566",
    "--env=AWS_ACCESS_KEY_ID=test",
    "--env=AWS_SECRET_ACCESS_KEY=test",
    "--env=AWS_REGION=us-east-1",
    "--env=AWS_DEFAULT_REGION=us-east-1",
)
VICTIM = """
import glob, sys
for path in glob.glob("/proc/[0-9]*/comm"):
    if open(path).read().strip() == sys.argv[1]:
        open(path.replace("comm", "oom_score_adj"), "w").write("1000")
"""
"""Has the kernel choose processes of this name first when memory runs out."""
MAPPED = """
import glob
maps = [open(path).read() for path in glob.glob("/proc/[0-9]*/maps")]
print(any("/opt/java/bin/java" in each and "/java-" in each and ".jsa" in each for each in maps))
"""
"""Tells whether a Java maps an archive of classes."""
EATER = "parts = []\nwhile True: parts.append(bytearray(b'x') * (16 << 20))"


class Play:
    """The embedded AWS, a stream of four shards, and one worker."""

    def __init__(self, docker: Docker, network: Network, images: Mapping[str, str]) -> None:
        self.docker, self.network, self.images = docker, network, images
        self.aws = network.start("aws", images["emulator"], options=["--init"])
        self.step("prepare", "--owner", IDENTIFIER)
        self.worker = network.start(
            "worker",
            images["worker"],
            options=[
                *AWS,
                mounted(FILE),
                f"--env=POD_NAME={IDENTIFIER}",
                f"--memory={MEMORY}",
                f"--memory-swap={MEMORY}",
                "--restart=on-failure",
            ],
        )
        self.worker.wait_for_event("daemon_initialised")

    def step(self, name: str, *arguments: str) -> str:
        command = ("-m", "consumer.entrypoints.demo.steps", name, *arguments, "/etc/streamgauge/pipeline.yaml")
        return self.network.run(self.images["emulator"], *command, options=[*AWS, *STEPS])

    def produce(self) -> Container:
        """Send events, for a while, from a container of their own."""
        arguments = ("produce", f"--events={EVENTS}", f"--rate={EVENTS_A_SECOND}", "/etc/streamgauge/pipeline.yaml")
        command = ("-m", "consumer.entrypoints.demo.steps", *arguments)
        return self.network.start("producer", self.images["emulator"], *command, options=[*AWS, *STEPS])

    def read(self) -> int:
        """Return how many records were read since the worker's last start."""
        code = (
            "import urllib.request as u\n"
            "text = u.urlopen('http://127.0.0.1:9102/metrics').read().decode()\n"
            "lines = [each for each in text.splitlines() if each.startswith('streamgauge_records_received_total')]\n"
            "print(round(sum(float(each.rpartition(' ')[2]) for each in lines)))"
        )
        return int(self.worker.python(code, check=False) or 0)

    def wait_for_reading(self) -> None:
        wait_until("the worker to read", lambda: self.read() > 0, 180)

    def run_out_of_memory(self, victim: str) -> None:
        """Use all memory that the container may use, and have the kernel end `victim`."""
        self.worker.python(VICTIM, victim)
        self.worker.python(EATER, check=False)

    def recount(self) -> Any:
        return json.loads(self.step("recount"))


@pytest.fixture(scope="module")
def play(docker: Docker, images: Mapping[str, str]) -> Iterator[Play]:
    with Network(docker) as network:
        yield Play(docker, network, images)


def test_a_worker_that_is_killed_and_runs_out_of_memory_under_load_loses_and_doubles_nothing(play: Play) -> None:
    producer, worker = play.produce(), play.worker
    play.wait_for_reading()
    assert worker.python(MAPPED).strip() == "True", "the archive that the image brings fits its Java and jars"
    # 1. Killed from outside: Docker does not start again what somebody kills.
    worker.signal("KILL")
    wait_until("the end", lambda: not worker.state["Running"], 30)
    assert worker.state["ExitCode"] == 137
    play.docker.run("start", worker.name)
    worker.wait_for_event("daemon_initialised", times=2)
    play.wait_for_reading()
    # 2. The kernel ends the worker, which is the container: Docker starts it again.
    play.run_out_of_memory("streamgauge")
    worker.wait_for_event("daemon_initialised", times=3)
    assert worker.inspect()["RestartCount"] == 1
    play.wait_for_reading()
    # 3. The kernel ends Java: the worker says so, ends with status 5, and is started again.
    play.run_out_of_memory("java")
    worker.wait_for_event("daemon_initialised", times=4)
    assert worker.inspect()["RestartCount"] == 2
    assert [line["status"] for line in worker.events("worker_stopped")] == [5]
    wait_until("the producer", lambda: not producer.state["Running"], 180)
    assert producer.state["ExitCode"] == 0
    found = play.recount()
    assert (found["events"], found["missing"], found["wrong"], found["adds_up"]) == (EVENTS, 0, 0, True), found
    # 4. Told to stop, it drains.
    seconds = worker.stop(GRACE_SECONDS)
    assert (worker.state["ExitCode"], worker.state["OOMKilled"]) == (0, False)
    assert seconds < GRACE_SECONDS
    print(f"drained in {seconds:.1f} s; {found['expected']} rows, {found['duplicates']} came again")  # noqa: T201 - told


def test_a_worker_that_answers_is_healthy_and_one_that_hangs_is_not(
    docker: Docker, play: Play, images: Mapping[str, str]
) -> None:
    probes = ["--health-interval=1s", "--health-timeout=2s", "--health-retries=2", "--health-start-period=0s"]
    worker = play.network.start(
        "other", images["worker"], options=[*AWS, mounted(FILE), "--env=POD_NAME=other", *probes]
    )
    wait_until("health", lambda: worker.health == "healthy", 60)
    worker.wait_for_event("daemon_initialised")
    worker.signal("STOP")
    wait_until("the end of health", lambda: worker.health == "unhealthy", 60)
    worker.signal("CONT")
    wait_until("health again", lambda: worker.health == "healthy", 60)
    assert worker.stop(GRACE_SECONDS) < GRACE_SECONDS
    assert worker.state["ExitCode"] == 0
