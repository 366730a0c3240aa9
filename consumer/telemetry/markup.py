"""HTML whose text is escaped unless it is known to be HTML: nothing is forgotten, for nothing has to be remembered."""

from __future__ import annotations

import html

_FORBIDDEN = (*range(9), 11, 12, *range(14, 32), 127)
_TURNING = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_CONTROLS = dict.fromkeys((*_FORBIDDEN, *_TURNING), "\ufffd")
"""What HTML forbids, and what would turn the direction of the text that follows."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(text: str) -> Markup:
    """Return text as HTML; Markup as it is."""
    return text if isinstance(text, Markup) else Markup(html.escape(text.translate(_CONTROLS)))


def join(*parts: str) -> Markup:
    """Return parts in a row."""
    return Markup("".join(map(escape, parts)))


def element(name: str, /, *content: str, **attributes: str) -> Markup:
    """Return an element with its content. `class_` is the attribute `class`; `data_label` is `data-label`."""
    return Markup(f"<{name}{_attributes(attributes)}>{join(*content)}</{name}>")


def void(name: str, /, **attributes: str) -> Markup:
    """Return an element that has no content and no end tag."""
    return Markup(f"<{name}{_attributes(attributes)}>")


def _attributes(attributes: dict[str, str]) -> str:
    return "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
