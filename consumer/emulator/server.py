"""The embedded AWS, ready to use: in process for tests and the demo, or in the foreground."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Self

import boto3
from botocore.config import Config

from consumer.emulator.admin import Admin
from consumer.emulator.application import Application
from consumer.emulator.calls import Calls
from consumer.emulator.clock import Clock, now_ms
from consumer.emulator.errors import REGION
from consumer.emulator.faults import Faults
from consumer.emulator.firehose import Firehose
from consumer.emulator.firehose_api import firehose_service
from consumer.emulator.kinesis import Kinesis
from consumer.emulator.kinesis_api import kinesis_service
from consumer.emulator.moto_service import Moto, MotoService
from consumer.emulator.settings import Settings
from consumer.emulator.transport import HttpServer

LOOPBACK = "127.0.0.1"
DELIVERY_TICK_S = 0.1
DELIVERY_RETRY_S = 1.0
ACCESS_KEY_ID = "test"
SECRET_ACCESS_KEY = "test"  # noqa: S105 - the emulator takes any credentials

_log = logging.getLogger("streamgauge.emulator")


class Emulator:
    """The embedded AWS in a thread of its own, from `start` to `stop` (or in a `with` block).

    It listens on `host` (the loopback address unless told) and `port` (0: any free one). `kinesis`, `firehose`,
    `faults`, `calls` and `settings` are what it works with, for looking in and for changing. What moto serves
    (DynamoDB, S3 and others) is shared by all emulators of a process.
    """

    def __init__(self, host: str = LOOPBACK, port: int = 0, *, clock: Clock = now_ms) -> None:
        self._host = host
        self._port = port
        self.settings = Settings()
        self.faults = Faults()
        self.calls = Calls(clock)
        self.kinesis = Kinesis(clock, self.settings)
        self.firehose = Firehose(clock, self._write_object, self.settings)
        self._moto: Moto | None = None
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._session: boto3.session.Session | None = None
        self._session_lock = Lock()
        self._clients: list[Any] = []

    @property
    def endpoint(self) -> str:
        """The URL that clients on this machine use."""
        host = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(self._host, self._host)  # noqa: S104 - compared, not bound
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that make AWS' tools and SDKs use this emulator."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
            "AWS_DEFAULT_REGION": REGION,
        }

    def start(self) -> Self:
        """Start, and return when calls are answered. OSError if the port is taken."""
        assert self._thread is None, "an emulator starts once"
        self._moto = Moto()
        started: Future[int] = Future()
        self._thread = Thread(target=lambda: asyncio.run(self._run(started)), name="emulator")
        self._thread.start()
        try:
            self._port = started.result()
        except BaseException:
            self._thread.join()
            self._moto.close()
            raise
        return self

    def stop(self) -> None:
        """Write what Firehose holds, close every connection, end the thread, forget everything."""
        assert self._thread is not None
        assert self._loop is not None
        assert self._stopping is not None
        assert self._moto is not None
        for client in self._clients:
            client.close()
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._moto.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    def client(self, service: str, config: Config | None = None) -> Any:
        """Return a boto3 client for this emulator; it is closed with it. It tries once, unless `config` says more."""
        base = Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"total_max_attempts": 1},
            max_pool_connections=50,
            proxies={},
            s3={"addressing_style": "path"},
        )
        with self._session_lock:
            if self._session is None:
                self._session = boto3.session.Session(
                    aws_access_key_id=ACCESS_KEY_ID, aws_secret_access_key=SECRET_ACCESS_KEY, region_name=REGION
                )
            client = self._session.client(
                service,  # type: ignore[call-overload] # the stubs know a service by its literal name only
                endpoint_url=self.endpoint,
                config=base.merge(config) if config else base,
            )
            self._clients.append(client)
            return client

    def _write_object(self, bucket: str, key: str, body: bytes) -> None:
        assert self._moto is not None
        self._moto.put_object(bucket, key, body)

    async def _run(self, started: Future[int]) -> None:
        assert self._moto is not None
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="emulator-moto") as worker:
            server = HttpServer(self._application(self._moto, worker).answer)
            try:
                port = await server.start(self._host, self._port)
            except OSError as error:
                started.set_exception(error)
                return
            timer = asyncio.create_task(self._deliver_in_time(worker))
            started.set_result(port)
            await self._stopping.wait()
            await server.stop()
            timer.cancel()
            with suppress(asyncio.CancelledError):
                await timer
            await self._loop.run_in_executor(worker, self._deliver_rest)

    def _application(self, moto: Moto, worker: ThreadPoolExecutor) -> Application:
        admin = Admin(
            kinesis=self.kinesis,
            firehose=self.firehose,
            faults=self.faults,
            calls=self.calls,
            settings=self.settings,
        )
        return Application(
            kinesis=kinesis_service(self.kinesis),
            firehose=firehose_service(self.firehose),
            others=MotoService(moto, worker),
            admin=admin,
            faults=self.faults,
            calls=self.calls,
            settings=self.settings,
            worker=worker,
        )

    async def _deliver_in_time(self, worker: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(DELIVERY_TICK_S)
            if not self.firehose.pending():
                continue
            try:
                await loop.run_in_executor(worker, self.firehose.deliver)
            except OSError as error:
                _log.warning("Firehose keeps what S3 does not take: %s", error)
                await asyncio.sleep(DELIVERY_RETRY_S)

    def _deliver_rest(self) -> None:
        try:
            self.firehose.flush()
        except OSError as error:
            _log.warning("Firehose ends with %d bytes undelivered: %s", self.firehose.undelivered_bytes(), error)
