"""From a character of a scalar's value back to the character of the file it came from.

Quotes, escapes, folded lines and indentation stand between the two. Blanks are where folding happens, so the
characters that are not blank are matched one by one, in order; a blank is taken to stand before the next of them.
"""

from __future__ import annotations

from collections.abc import Iterator

_BLOCK_STYLES = ("|", ">")
_HEX_ESCAPES = {"x": 2, "u": 4, "U": 8}
_BLANK_ESCAPES = frozenset(" tnr\tNLP_ev\n0ab")
"""Escapes of double quotes that give a blank or a control character, or nothing (a line's end)."""


def source_indexes(source: str, value: str, start: int, end: int, style: str | None) -> tuple[int, ...]:
    """Return for each character of `value`, and for its end, an index into `source` between `start` and `end`.

    `style` is the library's: None for plain, a quote, `|` or `>`.
    """
    visible = list(_visible_indexes(source, start, end, style))
    used = 0
    indexes = []
    for character in value:
        indexes.append(visible[used] if used < len(visible) else end)
        if not _is_blank(character):
            used += 1
    last = indexes[-1] + 1 if indexes else start
    return (*indexes, min(last, end))


def _visible_indexes(source: str, start: int, end: int, style: str | None) -> Iterator[int]:
    """Yield the index of each character in the source that gives a visible character of the value."""
    if style == '"':
        return _double_quoted(source, start + 1, end - 1)
    if style == "'":
        return _single_quoted(source, start + 1, end - 1)
    if style in _BLOCK_STYLES:
        return _visible(source, source.find("\n", start, end), end)
    return _visible(source, start, end)


def _visible(source: str, start: int, end: int) -> Iterator[int]:
    return (index for index in range(start, end) if not _is_blank(source[index]))


def _single_quoted(source: str, start: int, end: int) -> Iterator[int]:
    index = start
    while index < end:
        if not _is_blank(source[index]):
            yield index
        # Two quotes stand for one.
        index += 2 if source[index] == "'" else 1


def _double_quoted(source: str, start: int, end: int) -> Iterator[int]:
    index = start
    while index < end:
        if source[index] != "\\":
            if not _is_blank(source[index]):
                yield index
            index += 1
            continue
        letter = source[index + 1 : index + 2]
        length = 2 + _HEX_ESCAPES.get(letter, 0)
        if not _gives_blank(letter, source[index + 2 : index + length]):
            yield index
        index += length


def _gives_blank(letter: str, digits: str) -> bool:
    if letter in _HEX_ESCAPES:
        return _is_blank(chr(int(digits, 16)))
    return letter in _BLANK_ESCAPES


def _is_blank(character: str) -> bool:
    return character.isspace() or not character.isprintable()
