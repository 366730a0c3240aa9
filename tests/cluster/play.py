"""A release's whole life under load on a real node, with an audit after each act."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from bench.recovery_stage import parse_received
from consumer.entrypoints.demo.cloud import REGION
from consumer.entrypoints.emulator import DEFAULT_PORT
from consumer.errors import EXIT_USAGE
from consumer.records import Position
from consumer.runtime import clock
from tests.cluster.nodes import NODE
from tests.cluster.plane import ClusterError, wait_for
from tests.cluster.release import Release, is_ready
from tests.cluster.site import SECRET, Audit, Site

WORKERS = 2
ADDED = "countries"
"""A window that the changed pipeline file has, and whose removal the first one foresees: it may be rolled back to."""
RESTARTS = 2
_READY_SECONDS_MAX = 300.0
_LOOK_SECONDS = 0.2
_PODS_SECONDS = 1.0
_LOAD_SECONDS = 5.0
"""How long there is load before something is done, and behind it."""
_FORESEEN = f"  removed_windows: {{{ADDED}: drop}}\n"
_OUT_OF_MEMORY = """
import os
open("/proc/1/oom_score_adj", "w").write("1000")
held = os.memfd_create("held")
while True:
    os.write(held, b"x" * (16 << 20))
"""
"""Takes the container's memory, by a file that counts for no process, so that the kernel chooses the worker."""


@dataclass(frozen=True, slots=True)
class Act:
    """What was done, how many seconds it took, and what the audit behind it found."""

    name: str
    seconds: float
    audit: Audit


@dataclass
class Watch:
    """When each shard went on, by the workers' metrics."""

    release: Release
    port: int
    rises: dict[str, list[float]] = field(default_factory=dict)
    _received: dict[tuple[str, str], float] = field(default_factory=dict)
    _pods: Mapping[str, str] = field(default_factory=dict)
    _pods_read_s: float = 0.0

    def look(self) -> None:
        """Read the workers' metrics, and note the shards that have gone on."""
        now = clock.monotonic()
        if now - self._pods_read_s > _PODS_SECONDS:
            self._pods = dict(_addresses(self.release.workers()))
            self._pods_read_s = now
        for pod, address in self._pods.items():
            for shard, received in parse_received(_page(f"http://{address}:{self.port}/metrics")).items():
                if received > self._received.get((pod, shard), 0.0):
                    self.rises.setdefault(shard, []).append(clock.monotonic())
                self._received[pod, shard] = received

    def pauses(self) -> Mapping[str, float]:
        """Return the longest time between two batches with records of each shard, in seconds."""
        return {
            shard: max(later - earlier for earlier, later in pairwise(times))
            for shard, times in self.rises.items()
            if len(times) > 1
        }


class Play:
    """The acts, in order. `tell` is called with what is going on."""

    def __init__(self, site: Site, release: Release, directory: Path, tell: Callable[[str], None]) -> None:
        self.acts: list[Act] = []
        self.pauses_s: list[float] = []
        self._site = site
        self._release = release
        self._directory = directory
        self._tell = tell
        self._first, self._changed, self._wrong = site.file, directory / "changed.yaml", directory / "wrong.yaml"
        write_changed(site.file, self._changed)
        self._wrong.write_text(site.file.read_text(encoding="utf-8") + "no_such_key: 1\n", encoding="utf-8")

    def run(self) -> None:
        """Play all of it; ClusterError at the first thing that is not as it must be."""
        names = [f"{self._release.full_name}-{number}" for number in range(WORKERS)]
        self._site.start(names)
        with self._act("helm install, two workers", busy=False):
            self._release.install(*self._values(self._first))
            self._wait_until_ready(WORKERS)
        with self._act("helm test"):
            said = self._release.test()
            if said.count("reads the stream") != WORKERS:
                raise ClusterError(f"helm test does not show what its pod says: {said}")
        with self._act("helm upgrade, one window more"):
            self._release.upgrade(*self._values(self._changed))
            wait_for(lambda: self._site.rows_of(ADDED) > 0, f"rows of {ADDED}", 120)
        with self._act("helm rollback"):
            self._release.rollback(1)
        with self._act("a wrong file, and helm rollback"):
            self._upgrade_in_vain(names)
            self._release.rollback(3)
        with self._act("a worker's pod deleted"):
            self._kubectl("delete", "pod", names[0], "--wait")
            self._wait_until_ready(WORKERS)
        with self._act("a worker out of memory"):
            self._run_out_of_memory(names[1])
        for _ in range(RESTARTS):
            with self._act("rolling restart"):
                self._restart()
        with self._act("scaled out to three and in to two"):
            self._scale(names)
        with self._act("node drained against the budget"):
            self._drain()
        with self._act("helm uninstall, and install again"):
            self._release.uninstall()
            wait_for(lambda: not self._release.workers(), "the end of the pods", 90)
            self._release.install(*self._values(self._first))
            self._wait_until_ready(WORKERS)
        self._release.uninstall()
        wait_for(lambda: not self._release.workers(), "the end of the pods", 90)
        if left := self._release.left():
            raise ClusterError(f"helm uninstall leaves {left}")

    @contextmanager
    def _act(self, name: str, *, busy: bool = True) -> Iterator[None]:
        """Have load while the block runs, and audit. Without `busy` the load begins behind the block."""
        if busy:
            self._load()
        began = clock.monotonic()
        yield
        seconds = clock.monotonic() - began
        if not busy:
            self._load()
        clock.sleep(_LOAD_SECONDS)
        audit = self._site.audit()
        self.acts.append(Act(name, seconds, audit))
        self._tell(f"{name}: {seconds:.0f} s, {audit.rows} rows, {audit.again} came again, none missing or wrong")

    def _load(self) -> None:
        before = self._site.positions()
        self._site.produce()
        wait_for(lambda: self._went_on(before), "all shards to be worked on", _READY_SECONDS_MAX)
        clock.sleep(_LOAD_SECONDS)

    def _went_on(self, before: Mapping[str, Position]) -> bool:
        now = self._site.positions()
        return all(one in now and (one not in before or now[one] > before[one]) for one in self._shards())

    def _shards(self) -> list[str]:
        return [shard.id for shard in self._site.cloud.shards()]

    def _wait_until_ready(self, number: int) -> None:
        def ready() -> bool:
            pods = self._release.workers()
            return len(pods) == number and all(map(is_ready, pods))

        wait_for(ready, f"{number} workers to be ready", _READY_SECONDS_MAX)

    def _upgrade_in_vain(self, names: Sequence[str]) -> None:
        """Upgrade to a file that no worker takes: one of them must go on meanwhile."""
        try:
            self._release.upgrade(*self._values(self._wrong), "--timeout=40s")
        except ClusterError:
            ready = [pod["metadata"]["name"] for pod in self._release.workers() if is_ready(pod)]
            if ready != names[:1]:
                raise ClusterError(f"{ready} are ready while the update waits") from None
            ended = self._status(names[1])["lastState"]["terminated"]
            if ended["exitCode"] != EXIT_USAGE or "no_such_key" not in ended["message"]:
                raise ClusterError(f"{names[1]} does not say what is wrong: {ended}") from None
            return
        raise ClusterError("the upgrade to a wrong file went through")

    def _run_out_of_memory(self, name: str) -> None:
        before = self._restarts(name)
        said = self._kubectl("exec", name, "--", "python3", "-c", _OUT_OF_MEMORY, check=False)
        wait_for(lambda: self._restarts(name) > before, f"{name} to be killed (it said {said!r})", 120)
        ended = self._status(name)["lastState"]["terminated"]
        if ended["reason"] != "OOMKilled":
            raise ClusterError(f"{name} was not killed for its memory: {ended}")
        self._wait_until_ready(WORKERS)

    def _restarts(self, name: str) -> int:
        return int(self._status(name)["restartCount"])

    def _status(self, name: str) -> Any:
        pod = next(one for one in self._release.workers() if one["metadata"]["name"] == name)
        return pod["status"]["containerStatuses"][0]

    def _restart(self) -> None:
        """Restart both workers, one after the other, and note how long each shard stood still."""
        watch = Watch(self._release, self._site.cloud.pipeline.worker.metrics_port)
        before = {pod["metadata"]["uid"] for pod in self._release.workers()}
        _watch_for(watch, 5.0)
        self._kubectl("rollout", "restart", f"statefulset/{self._release.full_name}")

        def done() -> bool:
            watch.look()
            pods = self._release.workers()
            return len(pods) == WORKERS and all(is_ready(one) and one["metadata"]["uid"] not in before for one in pods)

        wait_for(done, "the rolling restart", _READY_SECONDS_MAX)
        _watch_for(watch, 15.0)
        pauses = watch.pauses()
        if set(pauses) != set(self._shards()):
            raise ClusterError(f"of the shards, only {sorted(pauses)} went on")
        self.pauses_s += pauses.values()
        self._tell("shards stood still for " + ", ".join(f"{one:.1f} s" for one in pauses.values()))

    def _scale(self, names: Sequence[str]) -> None:
        third = f"{self._release.full_name}-{WORKERS}"
        self._release.upgrade(*self._values(self._first), "--set", f"replicas={WORKERS + 1}")
        wait_for(lambda: third in self._site.owners().values(), f"{third} to have a shard", 180)
        self._release.upgrade(*self._values(self._first))
        wait_for(
            lambda: set(self._site.owners().values()) <= set(names), f"the shards of {third} to be taken over", 180
        )

    def _drain(self) -> None:
        """Drain the only node: one worker must go, and the budget must keep the other one."""
        selector = f"app.kubernetes.io/instance={self._release.name},app.kubernetes.io/component=worker"
        options = ["--delete-emptydir-data", "--timeout=40s", f"--pod-selector={selector}"]
        said = self._kubectl("drain", NODE, *options, check=False)
        if "disruption budget" not in said:
            raise ClusterError(f"the budget did not keep a worker: {said}")
        ready = [pod for pod in self._release.workers() if is_ready(pod)]
        if len(ready) != WORKERS - 1:
            raise ClusterError(f"{len(ready)} workers are left while the node is drained")
        self._kubectl("uncordon", NODE)
        self._wait_until_ready(WORKERS)

    def _values(self, pipeline: Path) -> list[str]:
        egress = [{"ports": [{"port": DEFAULT_PORT, "protocol": "TCP"}]}]
        values = {
            "replicas": WORKERS,
            "aws": {"region": REGION},
            "extraEnv": [
                {"name": "AWS_ENDPOINT_URL", "value": self._site.endpoint},
                {"name": "AWS_EC2_METADATA_DISABLED", "value": "true"},
            ],
            "extraEnvFrom": [{"secretRef": {"name": SECRET}}],
            "networkPolicy": {"extraEgress": egress},
            # A machine of two cores has the cluster, its AWS and all workers.
            "resources": {"requests": {"cpu": "100m"}},
        }
        path = self._directory / "values.yaml"
        with path.open("w", encoding="utf-8") as file:
            YAML(typ="safe").dump(values, file)
        return ["--values", str(path), "--set-file", f"pipeline={pipeline}"]

    def _kubectl(self, *arguments: str, check: bool = True) -> str:
        return self._release.plane.kubectl("-n", self._release.namespace, *arguments, check=check)


def write_first(source: Path, path: Path) -> None:
    """Write a copy of a pipeline file that may be gone back to from one that has the window ADDED as well."""
    text = source.read_text(encoding="utf-8")
    place = "\nstate:\n"
    assert place in text, "the file has a state"
    path.write_text(text.replace(place, place + _FORESEEN), encoding="utf-8")


def write_changed(first: Path, path: Path) -> None:
    """Write a pipeline file that has the window ADDED as well."""
    window = (
        f"\n  {ADDED}:\n    tumbling: 10s\n    by: [country]\n    combine: false\n    select: {{events: count()}}\n"
    )
    place = "\nsinks:\n"
    text = first.read_text(encoding="utf-8").replace(_FORESEEN, "")
    assert place in text, "the file has sinks"
    path.write_text(text.replace(place, f"{window}{place}"), encoding="utf-8")


def _addresses(pods: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield a name of each container that runs, other after each of its starts, and its pod's address."""
    for pod in pods:
        for one in pod["status"].get("containerStatuses", ()):
            if "running" in one["state"]:
                yield one["containerID"], pod["status"]["podIP"]


def _page(url: str) -> str:
    """Return what a worker says, nothing while it does not answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=1.0) as answer:
            text: str = answer.read().decode()
    except OSError:
        return ""
    return text


def _watch_for(watch: Watch, seconds: float) -> None:
    until = clock.monotonic() + seconds
    while clock.monotonic() < until:
        watch.look()
        clock.sleep(_LOOK_SECONDS)
