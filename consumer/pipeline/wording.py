"""How messages quote what stands in a file: printable, short, and with a suggestion for a near miss."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

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
