"""The demo, step by step."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import socket
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from consumer.entrypoints.demo.clickstream import Scenario
from consumer.entrypoints.demo.cloud import RESULTS_BUCKET, Cloud, count, environment_for
from consumer.entrypoints.demo.lineage import Counted, Family, Together, families, together
from consumer.entrypoints.demo.processes import Child, Children, DemoError, wait_until
from consumer.entrypoints.demo.recount import are_combined, recount
from consumer.entrypoints.demo.screen import Outcome, Screen
from consumer.environment import default_identifier
from consumer.errors import SetupError
from consumer.pipeline.model import Pipeline
from consumer.runtime import clock, launch

PRODUCING_SECONDS = 16.0
"""How long sending takes, so that the worker is killed in the middle of it."""
EVENT_TIME_SPAN_MS = 3 * 3_600_000
SLOW_EVENTS_A_SECOND = 100.0
SLOW_SPAN_MS = 10 * 60_000
"""Event time a minute while everything is left running, until it is the present."""
SEED = 20_260_131

_HOST = "127.0.0.1"
_START_SECONDS_MAX = 90.0
_PROCESS_SECONDS_MAX = 180.0
_STOP_SECONDS_MAX = 90.0
_METRICS_SECONDS_MAX = 2.0
_HOUR_MS = 3_600_000
_ENDPOINT = re.compile(r"listens on (http://\S+?);")
_RECEIVED = re.compile(r"^streamgauge_records_received_total\{[^}]*\} (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be played."""

    pipeline: Pipeline
    file: Path
    events: int
    shards: int
    kill: bool
    reshard: bool

    @property
    def metrics_url(self) -> str:
        """Where the worker's metrics are."""
        return f"http://{_HOST}:{self.pipeline.worker.metrics_port}/metrics"

    def scenario(self, now_ms: int) -> Scenario:
        """Return what the producer sends: some hours that ended a while ago."""
        start_ms = (now_ms - EVENT_TIME_SPAN_MS) // _HOUR_MS * _HOUR_MS - _HOUR_MS
        disorder_ms = self.pipeline.events.out_of_orderness_ms * 9 // 10
        return Scenario(self.events, start_ms, EVENT_TIME_SPAN_MS, disorder_ms, SEED)


class Play:
    """One performance. `environ` is what the processes get, but for the settings of AWS."""

    def __init__(self, plan: Plan, children: Children, screen: Screen, environ: Mapping[str, str]) -> None:
        self._plan = plan
        self._children = children
        self._screen = screen
        self._environ = environ
        self._scenario = plan.scenario(clock.now_ms())
        self._cloud: Cloud | None = None

    @property
    def _aws(self) -> Cloud:
        assert self._cloud is not None, "the embedded AWS has been started"
        return self._cloud

    def run(self) -> Outcome:
        """Play everything to the recount; DemoError or SetupError if a step fails."""
        started = clock.monotonic()
        self._check_port()
        emulator = self._start_emulator()
        worker = self._start_worker(emulator)
        producer = self._start_producer()
        if self._plan.reshard:
            self._split_early(emulator, worker, producer)
        self._wait_until_read(0.5, emulator, worker, producer)
        if self._plan.reshard:
            self._merge_two()
        if self._plan.kill:
            worker = self._kill(worker)
        self._wait_for_producer(emulator, worker, producer)
        counted = self._count_again(emulator, worker)
        self._drain(emulator, worker, counted)
        everything = together(self._plan.pipeline, counted, self._aws.application().generation)
        self._wait_for_combined(emulator, worker, everything)
        self._stop(emulator, worker)
        self._screen.step("Comparing", "what that says with what Firehose has written to S3.")
        compared = recount(self._plan.pipeline, everything, self._aws.delivered())
        return Outcome(
            compared,
            events=self._plan.events,
            shards=len(self._aws.shards()),
            resharded=self._plan.reshard,
            killed=self._plan.kill,
            received=sum(shard.received for shard in everything.shards),
            seconds=clock.monotonic() - started,
            endpoint=self._aws.environ["AWS_ENDPOINT_URL"],
            metrics_url=self._plan.metrics_url,
        )

    def keep_running(self) -> None:
        """Start the worker and a slow producer again; return when somebody interrupts. DemoError if one ends."""
        processes = [self._worker_process()]
        start_ms = self._scenario.start_ms + self._scenario.span_ms
        events = int(SLOW_EVENTS_A_SECOND * 60)
        slow = Scenario(events, start_ms, SLOW_SPAN_MS, self._scenario.disorder_ms, SEED + 1)
        processes.append(self._producer_process(slow, SLOW_EVENTS_A_SECOND, "--endless"))
        environ = self._aws.environ
        names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
        self._screen.running(
            {
                "status page": self._plan.metrics_url.removesuffix("metrics"),
                "metrics": self._plan.metrics_url,
                "AWS": "export " + " ".join(f"{name}={environ[name]}" for name in names),
                "results": f"aws s3 ls --recursive s3://{RESULTS_BUCKET}/",
                "worker's process": str(processes[0].pid),
            }
        )
        try:
            wait_until(lambda: False, "Ctrl-C", seconds_max=float("inf"), alive=processes)
        except KeyboardInterrupt:
            return

    # -- the steps

    def _check_port(self) -> None:
        port = self._plan.pipeline.worker.metrics_port
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_HOST, port))
            except OSError as error:
                raise SetupError(
                    f"port {port} is taken (worker.metrics_port in {self._plan.file.name}): is another worker running?"
                ) from error

    def _start_emulator(self) -> Child:
        self._screen.step("Starting an AWS of our own:", "Kinesis, Firehose, S3 and DynamoDB in one local process.")
        emulator = self._children.start("embedded AWS", ["consumer", "emulator", "--port", "0"], self._environ)
        wait_until(
            lambda: _ENDPOINT.search(emulator.output()) is not None,
            "the embedded AWS",
            seconds_max=_START_SECONDS_MAX,
            alive=[emulator],
        )
        found = _ENDPOINT.search(emulator.output())
        assert found is not None
        self._cloud = Cloud(self._plan.pipeline, environment_for(found[1], self._environ))
        self._screen.step(
            "Creating",
            f"a stream of {self._plan.shards} shards, the delivery streams and the bucket they write to, and the "
            "table for the worker's state.",
        )
        owner = self._plan.pipeline.worker.identifier or default_identifier(self._aws.environ)
        self._aws.prepare(self._plan.shards, owner)
        return emulator

    def _start_worker(self, emulator: Child) -> Child:
        self._screen.step(
            "Starting the worker:",
            f"streamgauge run {self._plan.file.name}. It starts the Kinesis Client Library, in Java, which takes some "
            f"seconds. Its metrics: {self._plan.metrics_url}",
        )
        worker = self._worker_process()
        ready_url = self._plan.metrics_url.replace("/metrics", "/readyz")
        wait_until(
            lambda: _get(ready_url) is not None,
            "the worker to read the stream",
            seconds_max=_START_SECONDS_MAX,
            alive=[emulator, worker],
        )
        return worker

    def _start_producer(self) -> Child:
        hours = EVENT_TIME_SPAN_MS // _HOUR_MS
        self._screen.step(
            "Starting the producer:",
            f"{self._plan.events:,} events of a shop's visitors, {hours} hours of theirs in "
            f"{PRODUCING_SECONDS:.0f} seconds of ours; some out of order, some late, some broken.",
        )
        return self._producer_process(self._scenario, self._plan.events / PRODUCING_SECONDS)

    def _wait_until_read(self, share: float, emulator: Child, worker: Child, producer: Child) -> None:
        """Wait until the worker has read this share of the events, and every shard has committed some."""
        shards = [shard.id for shard in self._aws.shards() if not shard.closed]
        wait_until(
            lambda: self._show(producer) >= self._plan.events * share and bool(self._aws.positions(shards)),
            f"the worker to have read {share:.0%} of the events",
            seconds_max=_PROCESS_SECONDS_MAX,
            alive=[emulator, worker],
        )

    def _split_early(self, emulator: Child, worker: Child, producer: Child) -> None:
        self._wait_until_read(0.2, emulator, worker, producer)
        first = self._aws.shards()[0]
        self._screen.step(
            "Splitting a shard in two:",
            f"{first.id} ends, and its two children take over the windows that it has open.",
        )
        self._aws.split(first)

    def _merge_two(self) -> None:
        """Merge the last two of the open shards; of a stream of one shard, the two it was split into."""
        shards = sorted((one for one in self._aws.shards() if not one.closed), key=lambda one: int(one.hash_range[0]))
        left, right = shards[-2:]
        self._screen.step("Merging two shards:", f"{left.id} and {right.id} end, and one child takes over from both.")
        self._aws.merge(left, right)

    def _kill(self, worker: Child) -> Child:
        self._screen.step(
            "Killing the worker with SIGKILL now:",
            f"process {worker.pid} gets no chance to finish anything; what it has not stored is gone.",
        )
        worker.kill()
        assert worker.status == -signal.SIGKILL
        self._screen.step(
            "Starting it again at once:",
            "it takes its shards back, restores the state of its last commit, sends what may not have been sent, and "
            "skips the records that are counted already.",
        )
        return self._worker_process()

    def _wait_for_producer(self, emulator: Child, worker: Child, producer: Child) -> None:
        wait_until(
            lambda: producer.status is not None,
            "the producer",
            seconds_max=_PROCESS_SECONDS_MAX,
            alive=[emulator, worker],
            meanwhile=lambda: self._show(producer),
        )
        self._show(producer)
        if producer.status != 0:
            raise DemoError(f"the producer ended with status {producer.status}")

    def _count_again(self, emulator: Child, worker: Child) -> list[Counted]:
        """Recount every family of shards, in processes of their own, while the worker catches up."""
        self._screen.step(
            "All events are in the stream:",
            "while the worker catches up, code that shares nothing with it goes through every shard from its first "
            "record, slowly, and says what must come out.",
        )
        generation = self._aws.application().generation
        # Those of most events, which are those of most roots, come first: the last one to end is what takes long.
        found = sorted(families(self._aws.shards()), key=_roots, reverse=True)
        tasks = [(self._plan.pipeline, self._aws.environ, family, generation) for family in found]
        processes = min(len(tasks), os.cpu_count() or 1)
        with multiprocessing.get_context("spawn").Pool(processes, _die_with, [os.getpid()]) as pool:
            counted = pool.starmap_async(count, tasks, chunksize=1)
            wait_until(
                counted.ready,
                "the recount",
                seconds_max=_PROCESS_SECONDS_MAX,
                alive=[emulator, worker],
                meanwhile=lambda: self._screen.read(self._received()),
            )
            return [shard for family in counted.get() for shard in family]

    def _drain(self, emulator: Child, worker: Child, shards: Sequence[Counted]) -> None:
        def caught_up() -> bool:
            self._screen.read(self._received())
            return all(map(self._aws.is_done, shards))

        wait_until(caught_up, "the worker to catch up", seconds_max=_PROCESS_SECONDS_MAX, alive=[emulator, worker])

    def _wait_for_combined(self, emulator: Child, worker: Child, everything: Together) -> None:
        """Wait until global windows that are complete have their rows; those that do not come are missing later."""
        if not everything.combined.rows:
            return
        self._screen.step(
            "Waiting for global windows:",
            "what every shard has counted of a minute is put together when the last of them is past it.",
        )
        deadline = clock.monotonic() + _PROCESS_SECONDS_MAX
        wait_until(
            lambda: (
                are_combined(self._plan.pipeline, everything, self._aws.delivered()) or clock.monotonic() > deadline
            ),
            "global windows",
            seconds_max=2 * _PROCESS_SECONDS_MAX,
            alive=[emulator, worker],
        )

    def _stop(self, emulator: Child, worker: Child) -> None:
        self._screen.step("Stopping the worker with SIGTERM:", "it commits, sends what is ready, and ends.")
        worker.terminate()
        wait_until(
            lambda: worker.status is not None, "the worker to stop", seconds_max=_STOP_SECONDS_MAX, alive=[emulator]
        )
        if worker.status != 0:
            raise DemoError(f"the worker ended with status {worker.status} after SIGTERM")

    # -- processes and what they tell

    def _worker_process(self) -> Child:
        arguments = ["consumer", "run", str(self._plan.file), "--metrics-host", _HOST, "--quick-start"]
        return self._children.start("worker", arguments, self._aws.environ)

    def _producer_process(self, scenario: Scenario, rate: float, *more: str) -> Child:
        settings = {
            "stream": self._plan.pipeline.source.stream,
            "events": scenario.events,
            "start-ms": scenario.start_ms,
            "span-ms": scenario.span_ms,
            "disorder-ms": scenario.disorder_ms,
            "seed": scenario.seed,
            "rate": rate,
        }
        arguments = [f"--{name}={value}" for name, value in settings.items()]
        module = "consumer.entrypoints.demo.producer"
        return self._children.start("producer", [module, *arguments, *more], self._aws.environ)

    def _show(self, producer: Child) -> int:
        """Show how far producer and worker are; return how many records the worker has read since its start."""
        reports = [line for line in producer.output().splitlines() if line.startswith("{") and line.endswith("}")]
        if reports:
            self._screen.sent(msgspec.json.decode(reports[-1], type=dict[str, int])["sent"], self._plan.events)
        received = self._received()
        self._screen.read(received)
        return received or 0

    def _received(self) -> int | None:
        """Return how many records the worker says it has read; None while it does not answer."""
        text = _get(self._plan.metrics_url)
        return None if text is None else round(sum(float(value) for value in _RECEIVED.findall(text)))


def _roots(family: Family) -> int:
    return sum(not shard.parents for shard in family)


def _get(url: str) -> str | None:
    """Return what the worker answers; None while it does not, or not with status 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_METRICS_SECONDS_MAX) as answer:
            return bytes(answer.read()).decode()
    except OSError:
        return None


def _die_with(parent_pid: int) -> None:
    """Make a recounting process die with the demo, and leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    launch.die_with_parent(parent_pid)
