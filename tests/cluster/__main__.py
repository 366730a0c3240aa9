"""Runs the images by the chart in a real one-node Kubernetes of this machine, by Helm 3 and Helm 4.

Run as `python -m tests.cluster` (`make cluster-test`), as root. Needs what `nodes.check_machine` asks for, a Docker
daemon (or dockerd, to start one), and Go for the tools that are not built yet. Ends with status 0 only if every audit
found every row, and nothing else. `--write` puts the measured pauses into docs/kubernetes.md and bench/kubernetes.json.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from consumer.errors import EXIT_FAILURE, EXIT_OK, StreamgaugeError
from consumer.runtime import clock
from deploy.image import build
from deploy.image.docker import Docker, DockerError, find_docker, running
from tests.chart.chart_rig import ROOT, tools
from tests.cluster.figures import write
from tests.cluster.nodes import REAL_TOOLS, check_machine, real_node
from tests.cluster.plane import TOOLS, ClusterError, ControlPlane, Processes
from tests.cluster.play import Play, write_first
from tests.cluster.release import HELMS, Release, prepare_namespace
from tests.cluster.site import Site

PIPELINE = ROOT / "config" / "clickstream.yaml"
_TARGETS = ("worker", "emulator")


def main() -> int:
    """Play with each Helm; return the exit status."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the cluster is stopped in order
    began = clock.monotonic()

    def tell(text: str) -> None:
        sys.stdout.write(f"{clock.monotonic() - began:5.0f} s  {text}\n")
        sys.stdout.flush()

    try:
        check_machine()
        with ExitStack() as stack:
            directory = Path(options.logs or stack.enter_context(tempfile.TemporaryDirectory(prefix="sg-cluster-")))
            docker = stack.enter_context(running(find_docker(os.environ)))
            _build_images(docker, only_missing=options.images_as_they_are)
            plane = stack.enter_context(_cluster(directory.resolve(), docker))
            tell("the cluster runs")
            plays = {helm: _play(plane, helm, directory.resolve(), tell) for helm in options.helm or HELMS}
    except (ClusterError, DockerError, StreamgaugeError) as error:
        tell(f"{type(error).__name__}: {error}")
        return EXIT_FAILURE
    if options.write:
        write(plays)
    return EXIT_OK


def _build_images(docker: Docker, *, only_missing: bool) -> None:
    wanted = [target for target in _TARGETS if not (only_missing and docker.has_image(build.IMAGES[target]))]
    base = build.find_base(docker, os.environ.get("BASE_IMAGE"), make=True) if wanted else ""
    for target in wanted:
        build.build(docker, target, base)


@contextmanager
def _cluster(directory: Path, docker: Docker) -> Iterator[ControlPlane]:
    programs = tools(*TOOLS, *REAL_TOOLS, *HELMS)
    with Processes(directory) as processes:
        plane = ControlPlane(processes, directory, programs)
        plane.start()
        with real_node(plane, directory, docker, [build.IMAGES[target] for target in _TARGETS]):
            yield plane


def _play(plane: ControlPlane, helm: str, directory: Path, tell: Callable[[str], None]) -> Play:
    prepare_namespace(plane, helm)
    own = directory / helm
    own.mkdir()
    first = own / "first.yaml"
    write_first(PIPELINE, first)
    release = Release(plane, plane.tools / helm, helm)
    play = Play(Site(plane, helm, build.IMAGES["emulator"], first), release, own, lambda text: tell(f"{helm}: {text}"))
    try:
        play.run()
    except BaseException:
        tell(_state(plane, helm))
        raise
    plane.kubectl("delete", "namespace", helm, "--timeout=120s", check=False)
    return play


def _state(plane: ControlPlane, namespace: str) -> str:
    """Return what can be said of a namespace when something has gone wrong."""
    pods = plane.kubectl("-n", namespace, "get", "pods", "-o", "wide", check=False)
    events = plane.kubectl("-n", namespace, "get", "events", "--sort-by=.lastTimestamp", check=False)
    selector = "app.kubernetes.io/component=worker"
    logs = plane.kubectl("-n", namespace, "logs", "-l", selector, "--prefix", "--tail=15", check=False)
    return "\n".join((pods, *events.splitlines()[-25:], logs))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description="Tests the chart in a real cluster.")
    parser.add_argument("--helm", action="append", choices=HELMS, help="with this one only; may be repeated")
    parser.add_argument("--images-as-they-are", action="store_true", help="build only images that are missing")
    parser.add_argument("--logs", help="a folder that keeps the logs of the cluster's parts; without it they go")
    parser.add_argument("--write", action="store_true", help="write the measured figures into the documentation")
    return parser


if __name__ == "__main__":
    sys.exit(main())
