"""Lines out of a pipe: the same as `readline` of a file gives, however the bytes come."""

from __future__ import annotations

import io
import os
import random
import threading

import pytest

from consumer.runtime.pipe_lines import USUAL_BYTES, PipeLines


def lines_of(data: bytes, sizes: list[int]) -> list[bytes]:
    """Return the lines that are read while the bytes are written in pieces of these sizes, over and over."""
    reader, writer = os.pipe()

    def write() -> None:
        at = 0
        while at < len(data):
            for size in sizes:
                os.write(writer, data[at : at + size])
                at += size
        os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    with PipeLines(reader) as lines:
        found = [bytes(line) for line in iter(lines.readline, b"")]
        assert not lines.readline()
    thread.join()
    return found


@pytest.mark.parametrize("seed", range(30))
def test_lines_are_those_of_a_file(seed: int) -> None:
    chance = random.Random(seed)
    longest = chance.choice([3, 100, USUAL_BYTES + 1, 5 * USUAL_BYTES])
    lines = [chance.randbytes(chance.randint(0, longest)).replace(b"\n", b" ") for _ in range(chance.randint(0, 8))]
    data = b"\n".join(lines)
    sizes = [chance.randint(1, max(1, len(data) // 5)) for _ in range(5)]
    assert lines_of(data, sizes) == list(io.BytesIO(data))


@pytest.mark.parametrize("size", [USUAL_BYTES - 1, USUAL_BYTES, USUAL_BYTES + 1, 2 * USUAL_BYTES])
def test_a_line_may_fill_the_memory_to_the_last_byte(size: int) -> None:
    data = b"x" * (size - 1) + b"\n" + b"y" * (size - 1) + b"\n" + b"z\n"
    assert lines_of(data, [1000]) == list(io.BytesIO(data))
    assert lines_of(data, [len(data)]) == list(io.BytesIO(data))


def test_the_memory_of_a_long_line_is_given_up_after_a_usual_one() -> None:
    reader, writer = os.pipe()
    with PipeLines(reader) as lines, os.fdopen(writer, "wb", buffering=0) as pipe:

        def line_of(size: int) -> memoryview:
            thread = threading.Thread(target=pipe.write, args=(b"x" * (size - 1) + b"\n",))
            thread.start()
            line = lines.readline()
            thread.join()
            assert len(line) == size
            return line

        long = line_of(3 * USUAL_BYTES)
        assert line_of(2 * USUAL_BYTES).obj is long.obj, "the next long line comes into the same memory"
        usual = line_of(10)
        assert usual.obj is long.obj
        after: object = line_of(10).obj
        assert isinstance(after, bytearray)
        assert len(after) == USUAL_BYTES


def test_the_pipe_is_closed() -> None:
    reader, writer = os.pipe()
    with PipeLines(reader):
        pass
    with os.fdopen(writer, "wb", buffering=0) as pipe, pytest.raises(BrokenPipeError):
        pipe.write(b"x")
