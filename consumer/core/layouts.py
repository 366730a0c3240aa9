"""Where in the changes of windows the rows are that have names: what who cuts or merges stored changes has to know.

A row of a later entry replaces the one of its name; what is gone in a later entry ends what an earlier one tells. In
one entry no name is both gone and told of. Rows of one name stand together.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

NameOf = Callable[[Any], Hashable]


def _first(row: Any) -> Hashable:
    name: Hashable = row[0]
    return name


def _itself(row: Any) -> Hashable:
    name: Hashable = row
    return name


class Table(NamedTuple):
    """Rows with names, at the place `rows` of the changes.

    `gone` is the place of names that are gone, `gone_panes` that of the panes all of whose rows are. `name` gives what
    tells a row's name, for groups of so many columns, `gone_name` the same of one at `gone`; `pane` tells a row's pane.
    `expires`: a row's first value is the watermark at which it is forgotten, of which nothing is told.
    """

    rows: int
    name: Callable[[int], NameOf]
    gone: int | None = None
    gone_panes: int | None = None
    gone_name: Callable[[int], NameOf] | None = None
    pane: NameOf = _first
    expires: bool = False


class Layout(NamedTuple):
    """The changes of a kind of windows: without any, they are `blank`."""

    blank: list[Any]
    tables: tuple[Table, ...]

    def only(self, place: int, rows: list[Any]) -> list[Any]:
        """Return changes that have nothing but these at a place."""
        changes = self.blank.copy()
        changes[place] = rows
        return changes


def _front(count: int) -> NameOf:
    """Return what takes so many values at the front of a row."""
    return _first if count == 1 else lambda row: tuple(row[:count])


def _of_part(row: Any) -> Hashable:
    return tuple(row[2:])


def _of_pane_apart(row: Any) -> Hashable:
    return row[0], *row[3:]


def _of_revision(row: Any) -> Hashable:
    return row[0], *row[2:]


KEYED = Layout(
    [[], [], []],
    (Table(rows=1, gone=0, name=_front), Table(rows=2, name=lambda _: _of_part, expires=True)),
)
PANES = Layout(
    [[], [], [], []],
    (
        Table(rows=2, gone=1, gone_panes=0, name=lambda columns: _front(columns + 1)),
        Table(rows=3, name=lambda _: _of_part, expires=True),
    ),
)
APART = Layout(
    [[], [], [], []],
    (
        Table(rows=2, gone=1, gone_panes=0, name=lambda _: _of_pane_apart, gone_name=lambda _: tuple),
        Table(rows=3, name=lambda _: _of_part, expires=True),
    ),
)
SLIDING = Layout(
    [[], [], [], [], [], None],
    (
        Table(rows=1, gone_panes=0, name=lambda columns: _front(columns + 1)),
        Table(rows=2, gone_panes=4, name=lambda _: _of_revision),
        Table(rows=3, gone_panes=4, name=lambda _: _itself, pane=_itself),
    ),
)
LAYOUTS = {"keyed": KEYED, "panes": PANES, "sliding": SLIDING, "apart": APART}
"""By the name that is stored."""
