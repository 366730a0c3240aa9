"""An alert's expression taken apart: what it compares must have data also while nothing is wrong."""

from __future__ import annotations

import re

_BETWEEN = re.compile(r"\s+(?:(?:unless|and)\s+on\s+\([^)]*\)|or)\s+")
_COMPARISON = re.compile(r"\s*(?:>|==)\s*[\d.]+\b")


def compared(expression: str) -> list[str]:
    """Return what stands on both sides of `or`, `and on` and `unless on` outside of brackets, comparisons left out."""
    pieces, begin = [], 0
    for found in _BETWEEN.finditer(expression):
        if found.start() >= begin and not _depth(expression[begin : found.start()]):
            pieces.append(expression[begin : found.start()])
            begin = found.end()
    pieces.append(expression[begin:])
    return [re.sub(r"^absent\((.*)\)$", r"\1", _COMPARISON.sub("", piece).strip()) for piece in pieces]


def _depth(text: str) -> int:
    return text.count("(") - text.count(")")
