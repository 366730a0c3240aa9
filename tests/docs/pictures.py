"""Draws the pictures of docs/windows.md from its worked tables: `python -m tests.docs.pictures` writes them.

Event time goes to the right, arrival goes down: a lane for each line of the table, with the event as a dot at its time
and under it a bar for each row that it causes. The stair is the watermark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import PurePath

from consumer.pipeline.model import Sliding
from tests.docs.pages import DOCS, Image
from tests.docs.worked_tables import END, IDLE, ROWS_OUT, Example, Line, examples, instant_ms, shown

WIDTH = 820
LEFT, RIGHT = 60, 800
TOP = 60
LANE, BAR, GAP = 30, 16, 4
DOT = 9
LETTER_WIDTH = 6.6
TICKS_MAX = 8
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
HALF_A_DAY_MS = 12 * HOUR
STEPS_MS = (
    *(seconds * SECOND for seconds in (1, 5, 10, 15, 30)),
    *(minutes * MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * HOUR for hours in (1, 2, 3, 6, 12, 24, 48)),
)

INK, FAINT, GRID, RED, AMBER = "#1f2328", "#57606a", "#d8dee4", "#cf222e", "#bf8700"
COLOURS = ("#0969da", "#1a7f37", "#8250df", "#bc4c00")
FONT = 'font-family="system-ui, sans-serif" font-size="12"'

_ROW = re.compile(r"(?P<before>[^\[]*)\[(?P<start>[^,]+), (?P<end>[^)]+)\)(?P<rest>.*)")


@dataclass(frozen=True)
class Bar:
    """A row that came: its window, what it says, and how it counts."""

    start_ms: int
    end_ms: int
    label: str
    group: str
    final: bool
    late: bool


def pictures() -> dict[str, str]:
    """Return the pictures of the page by their file names."""
    return {PurePath(each.image.path).name: draw(each, each.image) for each in examples() if each.image is not None}


def draw(example: Example, image: Image) -> str:
    """Return the picture of an example."""
    in_several = any(isinstance(window.kind, Sliding) for window in example.pipeline.windows)
    return _Picture(example.table.rows, in_several=in_several).svg(image.text)


def _bars(line: Line) -> list[Bar]:
    return [_bar(match) for text in line[ROWS_OUT].split("<br>") if (match := _ROW.fullmatch(text))]


def _bar(match: re.Match[str]) -> Bar:
    before, rest = match["before"].strip(), match["rest"].strip()
    group, _, columns = rest.partition(": ")
    late = before.startswith("late for")
    label = f"{before} {rest}".strip() if not late else before.removesuffix(" for")
    final = "not final" not in columns
    label = label.replace(", not final", "").partition(", replaces")[0] + (", replaces" if "replaces" in rest else "")
    start_ms, end_ms = instant_ms(match["start"]), instant_ms(match["end"])
    if end_ms - start_ms > HALF_A_DAY_MS:
        label += f" ({(end_ms - start_ms) // HOUR} hours)"
    return Bar(start_ms, end_ms, label, group, final, late)


class _Picture:
    """The drawing of one table. `in_several`: an event that is late for one window is counted in others."""

    def __init__(self, lines: Sequence[Line], *, in_several: bool) -> None:
        self._lines = lines
        self._in_several = in_several
        self._heights = [LANE + len(_bars(line)) * (BAR + GAP) for line in lines]
        self._groups = list(dict.fromkeys(line["user"] for line in lines if line.get("user")))
        times = [time for line in lines for time in _times_ms(line)]
        margin = (max(times) - min(times)) // 40
        self._from_ms, self._to_ms = min(times) - margin, max(times) + margin
        self._ended = lines[-1]["time"] == END
        self._bottom = TOP + sum(self._heights) + (0 if self._ended else LANE)

    def svg(self, title: str) -> str:
        """Return the document."""
        height = self._bottom + 10
        size = f'viewBox="0 0 {WIDTH} {height}"'
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" {size} {FONT} role="img" aria-label="{escape(title)}">',
                f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
                *self._axis(),
                *self._watermark(),
                *self._lanes(),
                "</svg>\n",
            ]
        )

    def _x(self, time_ms: int) -> int:
        return LEFT + round((time_ms - self._from_ms) * (RIGHT - LEFT) / (self._to_ms - self._from_ms))

    def _axis(self) -> Iterator[str]:
        span_ms = self._to_ms - self._from_ms
        step_ms = next(step for step in STEPS_MS if span_ms // step <= TICKS_MAX)
        yield f'<text x="{RIGHT}" y="14" text-anchor="end" fill="{FAINT}">event time \N{RIGHTWARDS ARROW}</text>'
        for tick_ms in range(-(-self._from_ms // step_ms) * step_ms, self._to_ms + 1, step_ms):
            x = self._x(tick_ms)
            yield f'<path d="M{x} {TOP - 6}V{self._bottom}" stroke="{GRID}"/>'
            for line, text in enumerate(reversed(shown(tick_ms).split())):
                x = min(x, WIDTH - round(_width(text) / 2) - 2)
                yield f'<text x="{x}" y="{TOP - 12 - 16 * line}" text-anchor="middle" fill="{FAINT}">{text}</text>'

    def _tops(self) -> Iterator[tuple[int, Line]]:
        top = TOP
        for line, height in zip(self._lines, self._heights, strict=True):
            yield top, line
            top += height

    def _watermark(self) -> Iterator[str]:
        """Draw the stair, from the left edge on."""
        moves = [(top, line["watermark"]) for top, line in self._tops() if line.get("watermark")]
        if not moves:
            return
        path = f"M{LEFT} {TOP}"
        for top, watermark in moves:
            path += f"V{top + LANE // 2}H{max(LEFT, self._x(instant_ms(watermark)))}"
        bottom = self._bottom - (self._heights[-1] if self._ended else LANE) + LANE - 8
        yield f'<path d="{path}V{bottom}" fill="none" stroke="{AMBER}" stroke-width="2"/>'
        x = max(LEFT, self._x(instant_ms(moves[-1][1]))) + 6
        yield f'<text x="{x}" y="{bottom - 4}" fill="{AMBER}">watermark</text>'

    def _lanes(self) -> Iterator[str]:
        for top, line in self._tops():
            yield from self._lane(top + LANE // 2, line)
            for number, bar in enumerate(_bars(line)):
                yield from self._bar(top + LANE - 2 + number * (BAR + GAP), bar, line)

    def _lane(self, y: int, line: Line) -> Iterator[str]:
        time = line["time"]
        if time == END or time.startswith(IDLE):
            yield f'<text x="8" y="{y + 4}" fill="{FAINT}">{"end" if time == END else "idle"}</text>'
            if time != END:
                x = self._x(instant_ms(time.removeprefix(IDLE)))
                yield f'<path d="M{x} {y - 8}v16" stroke="{FAINT}" stroke-dasharray="3 2"/>'
                yield _label(x, y, "clock", FAINT)
            return
        yield f'<text x="8" y="{y + 4}" fill="{INK}">{escape(line["user"])}</text>'
        dead = line[ROWS_OUT].startswith("dead letter")
        late = any(bar.late for bar in _bars(line)) and not self._in_several
        yield from self._dot(self._x(instant_ms(time)), y, line, hollow=dead or late)
        if dead:
            yield _label(self._x(instant_ms(time)), y, line[ROWS_OUT], RED)

    def _dot(self, x: int, y: int, line: Line, *, hollow: bool) -> Iterator[str]:
        colour = RED if hollow else self._colour(line["user"])
        fill, ink = ("#ffffff", RED) if hollow else (colour, "#ffffff")
        yield f'<circle cx="{x}" cy="{y}" r="{DOT}" fill="{fill}" stroke="{colour}" stroke-width="1.5"/>'
        yield f'<text x="{x}" y="{y + 4}" text-anchor="middle" fill="{ink}">{line["#"]}</text>'

    def _colour(self, group: str) -> str:
        return COLOURS[self._groups.index(group) % len(COLOURS)] if group in self._groups else FAINT

    def _bar(self, y: int, bar: Bar, line: Line) -> Iterator[str]:
        left, right = self._x(bar.start_ms), self._x(bar.end_ms)
        colour = RED if bar.late else self._colour(bar.group or line["user"])
        dashes = "" if bar.final and not bar.late else ' stroke-dasharray="4 3"'
        fill = 'fill="none"' if bar.late else f'fill="{colour}" fill-opacity="0.15"'
        place = f'x="{left}" y="{y}" width="{right - left}" height="{BAR}" rx="3"'
        yield f'<rect {place} {fill} stroke="{colour}"{dashes}/>'
        yield _bar_text(left, right, y + BAR - 4, bar.label, colour)


def _times_ms(line: Line) -> Iterator[int]:
    """Yield the times that the picture must have room for."""
    if line["time"] != END:
        yield instant_ms(line["time"].removeprefix(IDLE))
    for bar in _bars(line):
        yield bar.start_ms
        yield bar.end_ms


def _width(text: str) -> float:
    return len(text) * LETTER_WIDTH


def _label(x: int, y: int, text: str, colour: str) -> str:
    """Return a text beside a point, on the side where there is room."""
    if x + 14 + _width(text) > RIGHT:
        return f'<text x="{x - 14}" y="{y + 4}" text-anchor="end" fill="{colour}">{escape(text)}</text>'
    return f'<text x="{x + 14}" y="{y + 4}" fill="{colour}">{escape(text)}</text>'


def _bar_text(left: int, right: int, y: int, text: str, colour: str) -> str:
    """Return a bar's text: inside of it, or beside it where there is room."""
    if _width(text) <= right - left:
        return f'<text x="{(left + right) // 2}" y="{y}" text-anchor="middle" fill="{colour}">{escape(text)}</text>'
    if right + 6 + _width(text) <= WIDTH:
        return f'<text x="{right + 6}" y="{y}" fill="{colour}">{escape(text)}</text>'
    return f'<text x="{left - 6}" y="{y}" text-anchor="end" fill="{colour}">{escape(text)}</text>'


def main() -> None:
    """Write the pictures."""
    folder = DOCS / "images"
    folder.mkdir(exist_ok=True)
    for name, picture in pictures().items():
        (folder / name).write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
