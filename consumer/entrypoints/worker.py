"""`streamgauge run`: builds the worker from a pipeline file and hands over to it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from consumer import __version__
from consumer.core.compile import Program, compile_pipeline
from consumer.entrypoints.aws_session import open_session, region_of
from consumer.entrypoints.beginning import start_seconds
from consumer.entrypoints.footing import Footing, Shards, find_footing
from consumer.environment import default_identifier
from consumer.errors import EXIT_FAILURE, EXIT_OK, FencedError, RetryableError, SetupError, StreamgaugeError
from consumer.pipeline.explain_windows import window_in_brief
from consumer.pipeline.load import load
from consumer.pipeline.model import Pipeline, StdoutSink
from consumer.runtime import clock
from consumer.runtime.churn import ClaimPace
from consumer.runtime.class_archive import ready_archive
from consumer.runtime.clock import Stop
from consumer.runtime.compaction import Background
from consumer.runtime.daemon_files import DaemonConfig, setting_ms
from consumer.runtime.handovers import HandoverWatch
from consumer.runtime.jars import find_jars
from consumer.runtime.java import JvmOptions, find_java
from consumer.runtime.misrouting import MisroutingWatch
from consumer.runtime.retry import StoppedError, until_done
from consumer.runtime.shard import ShardRunner
from consumer.runtime.start_watch import StartWatch
from consumer.runtime.supervisor import Daemon
from consumer.runtime.surroundings import Surroundings
from consumer.sources import leases
from consumer.sources.multilang import Lines
from consumer.telemetry.events import StartStep, Telemetry
from consumer.telemetry.health import Health
from consumer.telemetry.http import MonitoringServer
from consumer.telemetry.logging import configure_logging
from consumer.telemetry.metrics import Metrics, new_registry
from consumer.telemetry.progress import Progress, show
from consumer.telemetry.status_report import StatusBoard

START_RETRY_SECONDS_MAX = 120.0
"""How long each call to AWS that a start needs is tried again: throttles of many workers that start at once pass."""
SINK_GRACE_SECONDS = 20.0
"""How long a stop waits for a sink that is down. The rows are stored; the next owner sends them."""
FENCED_PAUSE_SECONDS_MAX = 10.0
"""Twins must not fence one another in lockstep: a fenced process waits up to this long before it ends."""
SWITCH_SECONDS = 0.05
"""How long a shard's thread keeps the interpreter: Python's own 5 ms cost a tenth of the processing in switching."""
_POLL_SECONDS = 0.2

T = TypeVar("T")


def run(path: Path, environ: Mapping[str, str], *, log_level: str, metrics_host: str, quick_start: bool) -> int:
    """Run the worker until SIGTERM or SIGINT; return the exit status, 0 when it has drained.

    PipelineError or SetupError before anything is started.
    """
    pipeline = load(path, environ)
    program = compile_pipeline(pipeline)
    sys.setswitchinterval(SWITCH_SECONDS)
    # Rows on standard output would garble a live line on the same terminal.
    progress = None if _writes_to_stdout(pipeline) else Progress(clock.monotonic)
    logger = configure_logging(level=log_level, now_ms=clock.now_ms)
    registry = new_registry()
    health = Health(clock.monotonic)
    telemetry = Telemetry(
        metrics=Metrics(registry, stream=pipeline.source.stream),
        logger=logger,
        health=health,
        windows=[window.name for window in pipeline.windows],
        monotonic=clock.monotonic,
        now_ms=clock.now_ms,
        progress=progress,
    )
    telemetry.facts.window_texts = {window.name: window_in_brief(window) for window in pipeline.windows}
    with ExitStack() as stack:
        monitoring = MonitoringServer(
            host=metrics_host,
            port=pipeline.worker.metrics_port,
            registry=registry,
            health=health,
            status=StatusBoard(telemetry.facts, health),
            logger=telemetry.logger,
        )
        stack.enter_context(monitoring)
        stack.enter_context(StartWatch(telemetry))
        if progress is not None:
            stack.enter_context(show(progress))
        try:
            status = _Worker(program, environ, telemetry, quick_start=quick_start).run()
        except Exception as error:  # noqa: BLE001 - told without payloads, and the process ends with its status
            telemetry.failed(error=error)
            status = error.exit_status if isinstance(error, StreamgaugeError) else EXIT_FAILURE
        telemetry.worker_stopped(status=status)
        return status


def _writes_to_stdout(pipeline: Pipeline) -> bool:
    targets = [*(route.target for route in pipeline.sinks), pipeline.late, pipeline.dead_letter]
    return any(isinstance(target, StdoutSink) for target in targets)


class _Worker:
    """One run of a worker."""

    def __init__(
        self, program: Program, environ: Mapping[str, str], telemetry: Telemetry, *, quick_start: bool
    ) -> None:
        self._program = program
        self._pipeline = program.pipeline
        self._environ = environ
        self._telemetry = telemetry
        self._options = JvmOptions(quick_start=quick_start)
        self._identifier = self._pipeline.worker.identifier or default_identifier(environ)
        self._session = open_session(environ)
        self._stop = Stop(SINK_GRACE_SECONDS)
        self._daemon: Daemon | None = None
        self._reason: str | None = None

    def run(self) -> int:
        """Run until a signal; return the exit status."""
        with self._signals():
            try:
                return self._run()
            except StoppedError:
                return EXIT_OK  # nothing runs yet

    def _run(self) -> int:
        worker = self._pipeline.worker
        self._telemetry.worker_started(
            pipeline=self._pipeline.name,
            definitions=self._program.definitions,
            version=__version__,
            stream=self._pipeline.source.stream,
            application=worker.application,
            identifier=self._identifier,
        )
        region = region_of(self._session)
        self._telemetry.start_step("find_java")
        java, jars = find_java(self._environ), find_jars().require()
        footing = find_footing(self._program, self._session, self._starting, self._telemetry, runs_in="worker")
        application = footing.application
        router = footing.router(self._session)
        around = Surroundings(
            program=footing.program,
            application=application,
            store=footing.store,
            router=router,
            lineage=Shards(footing.stream, self._pipeline.source.stream),
            telemetry=self._telemetry,
            clock=clock,
            pause=self._stop.pause,
            in_background=Background(),
            retention=footing.retention(self._stop.pause),
        )
        daemon = Daemon(
            DaemonConfig(
                stream=self._pipeline.source.stream,
                application=worker.application,
                identifier=self._identifier,
                region=region,
                start_seconds=start_seconds(self._pipeline, application.started_at_ms),
                extra=worker.kcl,
            ),
            java,
            jars,
            environ=self._environ,
            on_shard=self._runner(around, footing.misrouting_watch(self._telemetry, around.in_background)),
            on_log=self._log,
            options=self._options,
            archive=ready_archive(java, jars, self._environ, self._telemetry),
        )
        with ExitStack() as stack:
            stack.callback(router.close)
            stack.enter_context(daemon)
            self._telemetry.start_step("wait_for_old_daemon")
            daemon.wait_until_alone()
            lease_tables = leases.make_client(self._session)
            self._starting(
                "release_leader", lambda: leases.release_leader(lease_tables, worker.application, self._identifier)
            )
            self._starting("accept_leases", lambda: self._accept_leases(lease_tables, footing))
            self._daemon = daemon
            if self._stop.requested:
                return EXIT_OK
            self._telemetry.start_step("start_daemon")
            daemon.start()
            self._telemetry.start_step("initialise_daemon")
            self._telemetry.daemon_started(pid=daemon.pid or 0, java_version=java.version)
            handovers = HandoverWatch(
                self._identifier,
                read=lambda: leases.read(lease_tables, worker.application),
                finish=lambda lease: leases.finish_handover(lease_tables, worker.application, lease),
                telemetry=self._telemetry,
                monotonic=clock.monotonic,
                failover_seconds=setting_ms(worker.kcl, "failoverTimeMillis") / 1000,
            )
            status = self._wait(daemon, handovers)
            self._leave(lease_tables)
            return status

    def _accept_leases(self, lease_tables: leases.DynamoDBClient, footing: Footing) -> None:
        """Take what is this worker's, and would wait for time-outs and turns of the daemon's if it were left to it."""
        application = self._pipeline.worker.application
        leases.accept(lease_tables, application, self._identifier)
        leases.inherit(lease_tables, application, self._identifier, footing.shards())

    def _leave(self, lease_tables: leases.DynamoDBClient) -> None:
        """Let go of what others wait for, and if so told of the leases; if that fails, they wait for time-outs."""
        worker = self._pipeline.worker
        try:
            if worker.on_stop == "release":
                alive_since_ms = clock.now_ms() - 2 * setting_ms(worker.kcl, "workerMetricsReporterFreqInMillis")
                released = leases.release(lease_tables, worker.application, self._identifier, alive_since_ms // 1000)
                self._telemetry.leases_released(leases=released)
            leases.leave(lease_tables, worker.application, self._identifier)
        except StreamgaugeError as error:
            self._telemetry.leases_not_released(error=error)

    def _wait(self, daemon: Daemon, handovers: HandoverWatch) -> int:
        started, initialised, stopping = clock.monotonic(), False, False
        while True:
            try:
                exit_ = daemon.wait(_POLL_SECONDS)
            except FencedError:
                self._stop.wait(clock.random() * FENCED_PAUSE_SECONDS_MAX)
                raise
            if not initialised:
                self._telemetry.daemon_says(daemon.says)
            if daemon.initialised and not initialised:
                initialised = True
                handovers.start(self._stop.wait)
                daemon.archive_classes(self._stop.wait, self._telemetry)
                self._telemetry.daemon_initialised(seconds=clock.monotonic() - started)
            if self._reason is not None and not stopping:
                stopping = True
                self._telemetry.worker_stopping(reason=self._reason)
            if exit_ is not None:
                self._telemetry.daemon_ended(status=exit_.status, expected=True)
                return EXIT_OK
            handovers.check()

    def _starting(self, step: StartStep, call: Callable[[], T]) -> T:
        """Make a call to AWS that the start needs until it works.

        SetupError after START_RETRY_SECONDS_MAX, StoppedError when the worker is told to stop.
        """
        self._telemetry.start_step(step)

        def on_retry(error: RetryableError, wait_seconds: float) -> None:
            self._telemetry.start_retry(step=step, error=error, wait_seconds=wait_seconds)

        try:
            return until_done(
                call, clock=clock, pause=self._stop.wait, seconds_max=START_RETRY_SECONDS_MAX, on_retry=on_retry
            )
        except RetryableError as error:
            raise SetupError(
                f"{error} (tried for {START_RETRY_SECONDS_MAX:.0f} s). Check the network, the endpoint and the limits "
                "of the AWS account, and start the worker again."
            ) from error

    def _runner(self, around: Surroundings, misrouting: MisroutingWatch) -> Callable[[Lines, BinaryIO], None]:
        failover_ms = setting_ms(self._pipeline.worker.kcl, "failoverTimeMillis")
        pace = ClaimPace()

        def serve(lines: Lines, output: BinaryIO) -> None:
            runner = ShardRunner(around, failover_seconds=failover_ms / 1000, pace=pace, misrouting=misrouting)
            runner.run(lines, output)

        return serve

    def _log(self, level: str, logger: str, message: str, extra: Mapping[str, str]) -> None:
        self._telemetry.daemon_log(level=level, logger=logger, message=message, extra=extra)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT drain the worker, from its first moment on."""

        def drain(number: int, _frame: object) -> None:
            # Nothing that takes a lock: the main thread may hold it.
            self._reason = signal.Signals(number).name
            self._stop.request()
            if self._daemon is not None:
                self._daemon.stop()

        previous = {number: signal.signal(number, drain) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
