"""The worker's end of the hand-over: takes a shard's pipes from a relay and gives them to a thread of their own.

Rules
1. The socket lies in a directory that only this user can enter; a peer of another user is rejected all the same.
2. A connection that does not bring exactly two descriptors is rejected: closed, reported, and nothing else.
3. Files and connection close when the shard's function has returned, in this order; the relay ends with that, and
   the daemon, which waits for both, goes on.
4. An exception that leaves the shard's function is reported before anything closes. Who listens must stop the process.
5. A relay must outlive its shard: Java takes the end of its child for the end of the pipes, whoever else holds them. A
   relay that is gone when it is let go was killed, or went with the daemon; both are reported as DaemonError.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from consumer.errors import DaemonError
from consumer.runtime import clock
from consumer.runtime.pipe_lines import PipeLines
from consumer.sources.multilang import Lines

PIPE_BYTES = 1 << 20
"""Size of the daemon's pipe: a batch of records passes in few system calls."""
SOCKET_NAME = "shards.sock"

_HAND_OVER_SECONDS = 10
_JOIN_SECONDS = 5
_RELEASE = b"\0"
_UCRED = struct.Struct("3i")


OnShard = Callable[[Lines, BinaryIO], None]
"""Serves a shard: what the daemon says, and where the answers go."""


class RejectedError(Exception):
    """A connection was not a relay of ours."""


class RelayListener:
    """Listens in `directory` from `start` to `close`.

    `on_shard(input, output)` runs in a new thread for each shard; output is buffered, so flush what must go out.
    `on_released` is called in that thread when the shard's relay has been let go. `on_failure` gets what escapes
    (also a failure of the listener itself), `on_reject` a sentence about a rejected connection; both are called from
    the listener's threads.
    """

    def __init__(
        self,
        directory: Path,
        on_shard: OnShard,
        *,
        on_released: Callable[[], None],
        on_failure: Callable[[BaseException], None],
        on_reject: Callable[[str], None],
    ) -> None:
        self.path = directory / SOCKET_NAME
        self._on_shard = on_shard
        self._on_released = on_released
        self._on_failure = on_failure
        self._on_reject = on_reject
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._accepting = threading.Thread(target=self._accept_all, name="relays", daemon=True)
        self._shards: list[threading.Thread] = []

    def start(self) -> None:
        """Start to accept relays."""
        self._socket.bind(str(self.path))
        self._socket.listen(socket.SOMAXCONN)
        self._socket.setblocking(False)
        self._accepting.start()

    def close(self) -> None:
        """Accept no more and wait a little for the shards' threads; one that is stuck ends with the process."""
        self._wake_writer.send(_RELEASE)
        if self._accepting.ident is not None:
            self._accepting.join()
        for resource in (self._socket, self._wake_reader, self._wake_writer):
            resource.close()
        self.path.unlink(missing_ok=True)
        deadline = clock.monotonic() + _JOIN_SECONDS
        for thread in self._shards:
            thread.join(max(0.0, deadline - clock.monotonic()))

    def _accept_all(self) -> None:
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._socket, selectors.EVENT_READ)
                selector.register(self._wake_reader, selectors.EVENT_READ)
                while self._wake_reader not in [key.fileobj for key, _ in selector.select()]:
                    self._accept()
        except BaseException as error:  # noqa: BLE001 -- rule 4: reported, and the process ends
            self._on_failure(error)

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # the peer went away between the event and the call
        self._shards = [thread for thread in self._shards if thread.is_alive()]
        thread = threading.Thread(target=self._serve, args=(connection,), name="shard", daemon=True)
        self._shards.append(thread)
        thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                self._run_shard(connection)
        except RejectedError as error:
            self._on_reject(str(error))
        except BaseException as error:  # noqa: BLE001 -- rule 4: reported, and the process ends
            self._on_failure(error)

    def _run_shard(self, connection: socket.socket) -> None:
        input_fd, output_fd = receive_pipes(connection)
        widen_pipe(input_fd)
        with PipeLines(input_fd) as from_daemon, os.fdopen(output_fd, "wb") as to_daemon:
            try:
                self._on_shard(from_daemon, to_daemon)
            except BaseException as error:  # noqa: BLE001 -- rule 4: reported, and the process ends
                self._on_failure(error)
            with contextlib.suppress(BrokenPipeError):  # an answer to a daemon that is gone
                to_daemon.close()
        _release(connection)
        self._on_released()


def _release(connection: socket.socket) -> None:
    try:
        connection.send(_RELEASE)
    except OSError as error:
        raise DaemonError(
            "the relay of a shard ended before the shard did: it was killed, or its daemon was"
        ) from error


def receive_pipes(connection: socket.socket) -> tuple[int, int]:
    """Return the input and output descriptors that a relay sends; RejectedError for anything else."""
    _check_peer(connection)
    connection.settimeout(_HAND_OVER_SECONDS)
    try:
        _, descriptors, flags, _ = socket.recv_fds(connection, 1, 2)
    except OSError as error:
        raise RejectedError(f"a connection to the relay socket broke off before it handed over: {error}") from error
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    more = flags & socket.MSG_CTRUNC
    if len(descriptors) != 2 or more:  # noqa: PLR2004 -- input and output
        for descriptor in descriptors:
            os.close(descriptor)
        count = f"more than {len(descriptors)}" if more else str(len(descriptors))
        raise RejectedError(f"a connection to the relay socket brought {count} descriptors instead of 2")
    return descriptors[0], descriptors[1]


def widen_pipe(descriptor: int) -> None:
    """Ask for a pipe of PIPE_BYTES. A smaller one works too, and a user's total is limited: refusal is no error."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _check_peer(connection: socket.socket) -> None:
    if not hasattr(socket, "SO_PEERCRED"):
        return
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, user, _ = _UCRED.unpack(credentials)
    if user != os.getuid():
        raise RejectedError(f"a process of user {user} connected to the relay socket of user {os.getuid()}")
