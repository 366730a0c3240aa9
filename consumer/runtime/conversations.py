"""Which shards the daemon talks about, and when the last of them has been given back after a stop."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Conversations:
    """Counts the threads that speak for a shard; `on_drained` is called once, when none is left after `stop`.

    Safe in all threads. `on_drained` runs in the thread that ends last, or in the one that stops.
    """

    def __init__(self, on_drained: Callable[[], None]) -> None:
        self._on_drained = on_drained
        self._lock = threading.Lock()
        self._open: set[threading.Thread] = set()
        self._stopping = False
        self._over = threading.Event()

    def begin(self) -> bool:
        """Count this thread in; return False once a stop was asked for: what begins then need not be begun."""
        with self._lock:
            if self._stopping:
                return False
            self._open.add(threading.current_thread())
            return True

    def end(self) -> None:
        """Count this thread out, if it was counted in."""
        with self._lock:
            mine = threading.current_thread()
            last = self._stopping and self._open == {mine}
            self._open.discard(mine)
        if last:
            self._on_drained()

    def stop(self) -> None:
        """Begin no more, and wait for none but the open ones. Call it once."""
        with self._lock:
            self._stopping = True
            none = not self._open
        if none:
            self._on_drained()

    def finish(self) -> None:
        """Let go who waits in `wait_until_over`: the daemon has ended."""
        self._over.set()

    def wait_until_over(self) -> None:
        """Wait for the daemon's end."""
        self._over.wait()
