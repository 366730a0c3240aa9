"""Expression text to tokens. Every token and every error knows its character offset in the text."""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import NamedTuple

from consumer.pipeline.wording import printable, shorten

INT_MIN = -(2**63)
INT_MAX = 2**63 - 1
_INT_DIGITS_MAX = 19


class ExpressionError(Exception):
    """The expression is wrong at character `offset` (from 0); the message says what and how to mend it."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


class Kind(Enum):
    """What a token is."""

    INT = auto()
    FLOAT = auto()
    STRING = auto()
    NAME = auto()
    SYMBOL = auto()
    END = auto()


class Token(NamedTuple):
    """`text` as written; `value` is the number or the unescaped string of a literal."""

    kind: Kind
    text: str
    value: str | int | float | None
    offset: int


_FLOAT = re.compile(r"(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+")
_INT = re.compile(r"[0-9]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SYMBOL = re.compile(r"==|!=|<=|>=|[-+*/%<>(),]")
_BLANKS = re.compile(r"[ \t\r\n]*")
_HEX = re.compile(r"[0-9a-fA-F]+")
_ESCAPES = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "r": "\r", "t": "\t"}
_HEX_ESCAPES = {"x": 2, "u": 4, "U": 8}
_QUOTES = "'\""
_SURROGATES = range(0xD800, 0xE000)
_CODE_POINT_MAX = 0x10FFFF
_MISTAKES = (
    ("<>", "write `!=` for not equal"),
    ("=", "write `==` to compare"),
    ("&&", "write `and`"),
    ("||", "write `or`"),
    ("!", "write `not`"),
    ("?", "write if(condition, a, b)"),
    (".", "declare what lies deeper as a field with a path, such as {type: string, path: user.name}"),
    ("[", "values to compare with stand in parentheses, x in (1, 2); an element of a list is a field with a path"),
    ("\u2018", "use straight quotes: ' or \""),
    ("\u2019", "use straight quotes: ' or \""),
    ("\u201c", "use straight quotes: ' or \""),
    ("\u201d", "use straight quotes: ' or \""),
    ("\u00a0", "a no-break space: type an ordinary blank"),
)


def tokenize(text: str) -> list[Token]:
    """Return the tokens of an expression, the last of kind END; ExpressionError where there is none to read."""
    tokens: list[Token] = []
    offset = _skip_blanks(text, 0)
    while offset < len(text):
        token, end = _token(text, offset)
        tokens.append(token)
        offset = _skip_blanks(text, end)
    tokens.append(Token(Kind.END, "", None, len(text)))
    return tokens


def _skip_blanks(text: str, offset: int) -> int:
    blanks = _BLANKS.match(text, offset)
    assert blanks is not None
    return blanks.end()


def _token(text: str, offset: int) -> tuple[Token, int]:
    """Return the token at `offset` and the offset after it."""
    if text[offset] in _QUOTES:
        value, end = _string(text, offset)
        return Token(Kind.STRING, text[offset:end], value, offset), end
    if match := _FLOAT.match(text, offset) or _INT.match(text, offset):
        _refuse_suffix(text, match)
        return _number(match.group(), offset), match.end()
    if match := _NAME.match(text, offset):
        return Token(Kind.NAME, match.group(), None, offset), match.end()
    # Two characters that begin like a symbol but are none, before the symbols.
    if text.startswith("<>", offset):
        raise _mistake(text, offset)
    if match := _SYMBOL.match(text, offset):
        return Token(Kind.SYMBOL, match.group(), None, offset), match.end()
    raise _mistake(text, offset)


def _mistake(text: str, offset: int) -> ExpressionError:
    for written, remedy in _MISTAKES:
        if text.startswith(written, offset):
            return ExpressionError(f"`{printable(written)}` means nothing here: {remedy}", offset)
    return ExpressionError(f"`{printable(text[offset])}` means nothing here", offset)


def _refuse_suffix(text: str, match: re.Match[str]) -> None:
    """Refuse `10s`, `1_000`, `0x1f`: a number must end where its digits end."""
    suffix = _NAME.match(text, match.end())
    if suffix is not None:
        written = match.group() + suffix.group()
        raise ExpressionError(f"`{written}` is no number: write digits only, times in milliseconds", match.start())


def _number(text: str, offset: int) -> Token:
    if _INT.fullmatch(text):
        digits = text.lstrip("0") or "0"
        # One more than INT_MAX may pass here: it is the smallest int if a minus stands before it.
        if len(digits) > _INT_DIGITS_MAX or int(digits) > -INT_MIN:
            raise ExpressionError(f"{shorten(text)} does not fit a 64-bit int: write {shorten(text)}.0", offset)
        return Token(Kind.INT, text, int(digits), offset)
    value = float(text)
    if value == float("inf"):
        raise ExpressionError(f"{shorten(text)} is beyond the largest float", offset)
    return Token(Kind.FLOAT, text, value, offset)


def _string(text: str, start: int) -> tuple[str, int]:
    """Return the value of the string literal at `start` and the offset after its closing quote."""
    quote = text[start]
    characters: list[str] = []
    offset = start + 1
    while offset < len(text) and text[offset] != quote:
        if text[offset] == "\\":
            character, offset = _escape(text, offset)
        else:
            character, offset = text[offset], offset + 1
        characters.append(character)
    if offset >= len(text):
        raise ExpressionError(f"this text lacks its closing {quote}", start)
    return "".join(characters), offset + 1


def _escape(text: str, start: int) -> tuple[str, int]:
    """Return the character of the escape at `start` (a backslash) and the offset after it."""
    letter = text[start + 1 : start + 2]
    if letter in _ESCAPES and letter:
        return _ESCAPES[letter], start + 2
    if letter not in _HEX_ESCAPES or not letter:
        raise ExpressionError(
            f"`\\{printable(letter)}` is no escape: write `\\\\{printable(letter)}` for a backslash", start
        )
    end = start + 2 + _HEX_ESCAPES[letter]
    digits = text[start + 2 : end]
    if len(digits) < _HEX_ESCAPES[letter] or not _HEX.fullmatch(digits):
        raise ExpressionError(f"`\\{letter}` takes {_HEX_ESCAPES[letter]} hexadecimal digits", start)
    code = int(digits, 16)
    if code in _SURROGATES or code > _CODE_POINT_MAX:
        raise ExpressionError(f"`\\{letter}{digits}` is no character", start)
    return chr(code), end
