"""What the worker's pages are put together of: the page itself, sections, tables, marks and times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from consumer.telemetry.markup import Markup, element, join, void
from consumer.telemetry.page_style import STYLE
from consumer.telemetry.page_words import NOTHING, clock_time, duration


class Column(NamedTuple):
    """A column of a table: its head, and its class."""

    title: str
    class_: str = ""


def page(title: str, *body: str) -> str:
    """Return a whole page."""
    head = element(
        "head",
        void("meta", charset="utf-8"),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        void("meta", name="robots", content="noindex"),
        element("title", title),
        element("style", Markup(STYLE)),
    )
    return "<!doctype html>\n" + element("html", head, element("body", *body), lang="en") + "\n"


def section(name: str, title: str, *content: str) -> Markup:
    """Return a section with a heading, which names it."""
    return element("section", element("h2", title, id=name), *content, aria_labelledby=name)


def table(label: str, columns: Sequence[Column], rows: Sequence[Sequence[Markup]]) -> Markup:
    """Return a table. The roles stay when a narrow screen shows rows as cards."""
    titles = (element("th", column.title, **_class(column), scope="col", role="columnheader") for column in columns)
    head = element("thead", element("tr", *titles, role="row"), role="rowgroup")
    body = element("tbody", *(_row(columns, row) for row in rows), role="rowgroup")
    return element("table", head, body, role="table", aria_labelledby=label)


def _row(columns: Sequence[Column], cells: Sequence[Markup]) -> Markup:
    first, *rest = cells
    made = (
        element("td", element("div", cell), **_class(column, cell), data_label=column.title, role="cell")
        for column, cell in zip(columns[1:], rest, strict=True)
    )
    return element("tr", element("th", first, scope="row", role="rowheader"), *made, role="row")


def _class(column: Column, cell: str = "") -> dict[str, str]:
    """Return the class of a cell; a narrow screen leaves out cells with nothing in them."""
    classes = " ".join(filter(None, (column.class_, "none" if cell == NOTHING else "")))
    return {"class_": classes} if classes else {}


def flagged(text: str, marked: bool, level: str = "warning") -> Markup:  # noqa: FBT001 - reads well here
    """Return text, marked where something is the matter with it."""
    return element("span", text, class_=level) if marked else join(text)


def sub(*content: str) -> Markup:
    """Return what stands below a number, in small."""
    return element("span", *content, class_="sub")


def reason_below(reason: str | None) -> Iterator[Markup]:
    """Yield a word for why, if there is one."""
    if reason is not None:
        yield sub(reason)


def time_of_day(time: str) -> Markup:
    """Return a time of which the hour is shown, and the whole on request."""
    return element("time", clock_time(time), datetime=time, title=time)


def ago(time: str | None, now: str) -> Markup:
    """Return how long before `now` a time was; both in ISO-8601."""
    if time is None:
        return join(NOTHING)
    seconds = (datetime.fromisoformat(now) - datetime.fromisoformat(time)).total_seconds()
    return element("time", f"{duration(max(0.0, seconds))} ago", datetime=time, title=time)


def link(path: str, text: str | None = None) -> Markup:
    """Return a link."""
    return element("a", text or path, href=path)


def between(parts: Sequence[Markup], separator: str) -> Iterator[str]:
    """Yield parts with something between them."""
    for place, part in enumerate(parts):
        if place:
            yield separator
        yield part
