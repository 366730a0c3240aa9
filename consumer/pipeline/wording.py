"""How messages and explanations say things: quoted, printable, short, and with a suggestion for a near miss."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

from consumer.pipeline.model import Type

_CANDIDATES_MAX = 500
"""Comparing a word with all others of a huge file would take minutes."""


def printable(text: str) -> str:
    """Return the text with what a terminal would not show as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shorten(text: str, length_max: int = 40) -> str:
    """Return the text, printable and cut to a length that fits a message."""
    shown = printable(text)
    return shown if len(shown) <= length_max else shown[: length_max - 1] + "…"


def closest(written: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant, None if none is near."""
    matches = get_close_matches(written, islice(known, _CANDIDATES_MAX), n=1)
    return matches[0] if matches else None


def suggestion(written: str, known: Iterable[str]) -> str:
    """Return ` (did you mean …?)`, or nothing if no known word is near."""
    meant = closest(written, known)
    return "" if meant is None else f" (did you mean `{meant}`?)"


def table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Return lines, indented by two, with the columns one under the other."""
    cells = list(rows)
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))] if cells else []
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    ]


def type_in_words(type_: Type, *, nullable: bool) -> str:
    """Return the type of values that may be null or not."""
    return f"{type_} or null" if nullable else str(type_)


def bytes_in_words(count: int) -> str:
    """Return a number of bytes, exactly."""
    for unit, size in (("MiB", 1024 * 1024), ("KiB", 1024)):
        if count % size == 0:
            return f"{count // size} {unit}"
    return f"{count} bytes"


def size_in_words(bytes_: int) -> str:
    """Return an estimate of bytes, to two or three digits."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if bytes_ >= size:
            return f"{bytes_ / size:,.0f} {unit}" if bytes_ >= 10 * size else f"{bytes_ / size:.1f} {unit}"
    return f"{bytes_} bytes"
