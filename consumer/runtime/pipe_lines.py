"""Lines of many megabytes out of a pipe, each read straight into memory that the one before it was in.

Python's own `readline` copies every byte twice more, looks at one after the other, and asks the system for new memory
for each line: with ten thousand records a line that costs as much as a third of decoding them.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

USUAL_BYTES = 1 << 16
"""The memory that is kept for lines. A longer one gets more, which is kept until a line is this short again."""


class PipeLines:
    """The lines that come out of a pipe, which belongs to this object."""

    def __init__(self, descriptor: int) -> None:
        self._pipe = os.fdopen(descriptor, "rb", buffering=0)
        self._memory = bytearray(USUAL_BYTES)
        self._taken = 0
        self._filled = 0
        """What lies between these two was read with the last line, and belongs to the next one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._pipe.close()

    def readline(self) -> memoryview:
        """Return the next line, which is there until the next call. At the end of the pipe: what is left, or nothing.

        OSError as reading from a pipe.
        """
        self._begin()
        searched = 0
        while (after := self._memory.find(b"\n", searched, self._filled) + 1) == 0:
            searched = self._filled
            if not self._read():
                after = self._filled
                break
        self._taken = after
        return memoryview(self._memory)[:after]

    def _begin(self) -> None:
        """Forget the last line. Others behind it are rare: who writes them waits for answers."""
        rest = self._memory[self._taken : self._filled]
        if self._taken <= USUAL_BYTES < len(self._memory):
            self._memory = bytearray(max(USUAL_BYTES, len(rest)))
        self._memory[: len(rest)] = rest
        self._taken, self._filled = 0, len(rest)

    def _read(self) -> int:
        """Read what there is, as far as there is room; return how much, 0 at the end of the pipe."""
        if self._filled == len(self._memory):
            self._memory = self._memory + bytes(len(self._memory))  # not in place: someone may look at the last line
        count = self._pipe.readinto(memoryview(self._memory)[self._filled :])
        self._filled += count
        return count
