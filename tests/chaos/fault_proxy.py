"""A TCP proxy in front of the embedded AWS that does what networks do: slow down, reset, swallow, cut answers."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from threading import Thread
from typing import Self

HOST = "127.0.0.1"
_CHUNK_BYTES = 65_536
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends a reset."""


@dataclass(frozen=True)
class Weather:
    """How bad it is: the chances are for each chunk of an answer."""

    latency_seconds: float = 0.0
    reset: float = 0.0
    cut: float = 0.0
    black_hole: bool = False


FAIR = Weather()


class FaultProxy:
    """Listens on a port of its own in a thread of its own; `weather` may be set at any time. `counts` are its deeds."""

    def __init__(self, host: str, port: int, seed: int) -> None:
        self.weather = FAIR
        self.counts: Counter[str] = Counter()
        self.endpoint = ""
        self._target = (host, port)
        self._random = Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, HOST, 0), self._loop).result(10)
        self.endpoint = f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _end(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        pumps = [
            asyncio.ensure_future(self._requests(reader, far_writer)),
            asyncio.ensure_future(self._answers(far_reader, writer)),
        ]
        with suppress(asyncio.CancelledError):  # at the end, and asyncio would tell of it
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        for side in (writer, far_writer):
            side.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(_CHUNK_BYTES):
                await self._wait_out()
                writer.write(chunk)
                await writer.drain()
        except OSError:
            return

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(_CHUNK_BYTES):
                await self._wait_out()
                weather, chance = self.weather, self._random.random()
                if chance < weather.reset:
                    self.counts["resets"] += 1
                    _reset(writer)
                    return
                if chance < weather.reset + weather.cut:
                    self.counts["answers cut"] += 1
                    writer.write(chunk[: self._random.randrange(len(chunk))])
                    return
                writer.write(chunk)
                await writer.drain()
        except OSError:
            return

    async def _wait_out(self) -> None:
        if self.weather.latency_seconds:
            self.counts["chunks delayed"] += 1
            await asyncio.sleep(self.weather.latency_seconds * self._random.random())
        while self.weather.black_hole:
            self.counts["chunks swallowed for a while"] += 1
            await asyncio.sleep(0.2)


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
