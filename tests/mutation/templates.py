"""Changes of code that stands in string literals: Python that the core writes, and DynamoDB's conditions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_LITERAL = re.compile(r"(?P<prefix>[A-Za-z]*)(?P<quote>\"\"\"|'''|\"|')", re.DOTALL)
_QUOTED = re.compile(r"\\\"[^\"]*\\\"|'[^']*'|\"[^\"]*\"")

_CODE = (
    (r"<=", "<"),
    (r"(?<![<-])<(?![<=])", "<="),
    (r">=", ">"),
    (r"(?<![>-])>(?![>=])", ">="),
    (r"==", "!="),
    (r"!=", "=="),
    (r"\bis not\b", "is"),
    (r"\bis\b(?! not)", "is not"),
    (r"\bnot in\b", "in"),
    (r"(?<!is )\bnot (?!in\b)", ""),
    (r" and ", " or "),
    (r" or ", " and "),
    (r"(?<=[\w)\] ]) ?\+= ", " -= "),
    (r" -= ", " += "),
    (r" \+ ", " - "),
    (r" - ", " + "),
    (r" \* ", " // "),
    (r" // ", " * "),
    (r" / ", " * "),
    (r" \| ", " & "),
    (r" \|= ", " &= "),
    (r"\bTrue\b", "False"),
    (r"\bFalse\b", "True"),
    (r"\bmin\(", "max("),
    (r"\bmax\(", "min("),
    (r"\bcontinue\b", "pass"),
    (r"\bbreak\b", "pass"),
)
_NUMBER = re.compile(r"(?<![\w.])\d+(?![\w.])")

_CONDITIONS = (
    (r"<>", "="),
    (r"<=", "<"),
    (r"(?<=\w) = (?=[:#])", " <> "),
    (r" AND ", " OR "),
    (r" OR ", " AND "),
    (r"\battribute_not_exists\b", "attribute_exists"),
    (r"\battribute_exists\b", "attribute_not_exists"),
    (r"#?\w+(?:\(#?\w+\))?(?: = :\w+)? AND ", ""),
    (r" AND #?\w+(?:\(#?\w+\))?(?: = :\w+)?", ""),
    (r"^ADD ", "SET "),
)
_IS_CONDITION = re.compile(r" = [:#]| AND | OR |<>|attribute_(?:not_)?exists|^ADD ")


class Piece(NamedTuple):
    """A part of a literal: where it begins in it, and its text."""

    start: int
    text: str


def pieces(literal: str) -> Iterator[tuple[Piece, bool]]:
    """Yield the parts of a string literal's content, and whether each is an expression that is filled in."""
    opening = _LITERAL.match(literal)
    assert opening is not None
    first, last = opening.end(), len(literal) - len(opening["quote"])
    if "f" not in opening["prefix"].lower():
        yield Piece(first, literal[first:last]), False
        return
    begin = position = first
    while position < last:
        character = literal[position]
        if literal[position : position + 2] in {"{{", "}}"}:
            position += 2
        elif character == "{":
            yield Piece(begin, literal[begin:position]), False
            end = _closing(literal, position)
            yield Piece(position + 1, _without_conversion(literal[position + 1 : end])), True
            begin = position = end + 1
        else:
            position += 1
    yield Piece(begin, literal[begin:last]), False


def _closing(literal: str, position: int) -> int:
    """Return where the hole that begins at a position ends."""
    depth = 0
    for place in range(position, len(literal)):
        depth += {"{": 1, "}": -1}.get(literal[place], 0)
        if depth == 0:
            return place
    raise ValueError(f"a hole that does not end: {literal}")


def _without_conversion(text: str) -> str:
    return re.sub(r"!(?:r|s|a)$", "", text)


def code(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield changes (start, end, text) of a piece of Python; what is quoted in it stays."""
    quoted = [match.span() for match in _QUOTED.finditer(text)]

    def is_quoted(place: int) -> bool:
        return any(start <= place < end for start, end in quoted)

    for pattern, new in _CODE:
        for match in re.finditer(pattern, text):
            if not is_quoted(match.start()):
                yield match.start(), match.end(), new
    for match in _NUMBER.finditer(text):
        if not is_quoted(match.start()):
            yield match.start(), match.end(), str(int(match[0]) + 1)


def conditions(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield changes (start, end, text) of a condition or update of DynamoDB; none if the text is no such thing."""
    if not _IS_CONDITION.search(text):
        return
    for pattern, new in _CONDITIONS:
        for match in re.finditer(pattern, text):
            yield match.start(), match.end(), new
