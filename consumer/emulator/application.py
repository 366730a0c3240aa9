"""From a request to its answer: which service, which trouble, what goes into the journal."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from consumer.emulator.admin import PREFIX, Admin
from consumer.emulator.calls import CallEntry, Calls
from consumer.emulator.errors import AwsError
from consumer.emulator.faults import Faults, Strike
from consumer.emulator.http import Answer, Request
from consumer.emulator.service import Call, Service
from consumer.emulator.settings import Settings

KINESIS_TARGET = "Kinesis_20131202."
FIREHOSE_TARGET = "Firehose_20150804."

_log = logging.getLogger("streamgauge.emulator")


@dataclass(frozen=True, slots=True)
class Application:
    """All services behind one door. Runs on one event loop; `worker` does what may wait."""

    kinesis: Service
    firehose: Service
    others: Service
    admin: Admin
    faults: Faults
    calls: Calls
    settings: Settings
    worker: ThreadPoolExecutor

    async def answer(self, request: Request) -> Answer | None:
        """Return the answer; None means to close the connection without one."""
        if request.path.startswith(PREFIX):
            return await asyncio.get_running_loop().run_in_executor(self.worker, self.admin.perform, request)
        service = self._service(request)
        try:
            return await self._answer(service, request)
        except AwsError as error:
            return service.refuse(request, error)
        except Exception:  # noqa: BLE001 - the emulator's own error: told to the client and to the log's reader
            _log.exception("the emulator failed on %s %s", request.method, request.path)
            text = "The emulator failed; its log says why."
            return service.refuse(request, AwsError("InternalFailure", text, 500))

    async def _answer(self, service: Service, request: Request) -> Answer | None:
        call = service.prepare(request)
        strike = self.faults.strike(call.service, call.operation, call.coordinates, call.batch)
        latency_ms = strike.delay_ms + (self.settings.put_latency_ms if call.put else 0)
        if latency_ms:
            await asyncio.sleep(latency_ms / 1000)
        entry = self._enter(call, strike)
        try:
            answer = await _perform(service, call, strike)
        except AwsError as error:
            answer = service.refuse(request, error)
        if entry is not None and answer is not None:
            entry.status = answer.status
        return answer

    def _service(self, request: Request) -> Service:
        target = request.header("x-amz-target")
        if target.startswith(KINESIS_TARGET):
            return self.kinesis
        return self.firehose if target.startswith(FIREHOSE_TARGET) else self.others

    def _enter(self, call: Call, strike: Strike) -> CallEntry | None:
        if not self.settings.journal:
            return None
        return self.calls.enter(call.service, call.operation, call.coordinates, strike.kind)


async def _perform(service: Service, call: Call, strike: Strike) -> Answer | None:
    """Do the call as the strike has it: faults before the effect, the effect, faults after it."""
    match strike.kind:
        case "throttle":
            raise service.throttle(call)
        case "error_before":
            raise service.failure(call)
        case "drop_before":
            return None
    answer = await call.run(strike)
    match strike.kind:
        case "error_after":
            raise service.failure(call)
        case "drop_after":
            return None
        case "cut":
            answer.cut = True
    return answer
