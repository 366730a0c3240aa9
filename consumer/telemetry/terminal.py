"""A live line at the foot of a terminal. The only module here that imports rich."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

_REFRESHES_PER_SECOND = 4.0


def live_line(line: Callable[[], str]) -> Live:
    """Return a context that shows `line()` on standard error, kept up to date by a thread of its own.

    What is written to standard error meanwhile scrolls by above it. Standard output is left alone: result
    rows may be going there.
    """
    spinner = Spinner("dots")

    def render() -> Spinner:
        spinner.update(text=Text(line(), no_wrap=True, overflow="ellipsis"))
        return spinner

    return Live(
        console=Console(stderr=True),
        get_renderable=render,
        refresh_per_second=_REFRESHES_PER_SECOND,
        redirect_stdout=False,
        redirect_stderr=True,
    )
