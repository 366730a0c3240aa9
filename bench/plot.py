"""Plots as SVG, without a library: horizontal bars in panels, and lines; both axes of numbers are logarithmic."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#0969da", "#bf8700", "#cf222e", "#8250df")
_TEXT, _FAINT, _GRID = "#1f2328", "#57606a", "#d8dee4"
_BAR, _BAR_GAP, _GROUP_GAP = 9, 2, 12
_LABELS, _PANEL, _PANEL_GAP, _TOP = 70, 220, 25, 60

Groups = Mapping[str, Mapping[str, float]]
"""Numbers by group, then by series."""


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where numbers lie between `low` and `high`, over so many pixels."""

    low: float
    high: float
    pixels: float

    def at(self, value: float) -> float:
        """Return the pixels from the low end."""
        return self.pixels * math.log(value / self.low) / math.log(self.high / self.low)


def bars(title: str, panels: Mapping[str, Groups], series: Mapping[str, str], unit: str) -> str:
    """Return an SVG with a panel for each of `panels`, all with one scale; `series` has names and what to call them."""
    groups = next(iter(panels.values()))
    values = [value for panel in panels.values() for group in panel.values() for value in group.values()]
    scale = _Scale(_decade_below(min(values)), max(values) * 1.05, _PANEL)
    height = _TOP + len(groups) * (len(series) * (_BAR + _BAR_GAP) + _GROUP_GAP) + 35
    width = _LABELS + len(panels) * (_PANEL + _PANEL_GAP)
    parts = [*_legend(list(series.values()), _LABELS), *_group_labels(groups, len(series))]
    for number, (name, panel) in enumerate(panels.items()):
        left = _LABELS + number * (_PANEL + _PANEL_GAP)
        parts += _panel(name, panel, list(series), scale, left, height - 35)
    parts.append(_text(width / 2, height - 6, unit, anchor="middle", colour=_FAINT))
    return _svg(title, width, height, parts)


def _panel(
    name: str, groups: Groups, series: Sequence[str], scale: _Scale, left: float, bottom: float
) -> Iterator[str]:
    yield _text(left, _TOP - 12, name, weight="bold")
    for tick in _decades(scale):
        x = left + scale.at(tick)
        yield f'<path d="M{x:.1f} {_TOP - 5}V{bottom}" stroke="{_GRID}"/>'
        yield _text(x, bottom + 13, _short(tick), anchor="middle", colour=_FAINT)
    for number, values in enumerate(groups.values()):
        for place, each in enumerate(series):
            if each in values:
                y = _group_top(number, len(series)) + place * (_BAR + _BAR_GAP)
                yield (
                    f'<rect x="{left}" y="{y}" width="{scale.at(values[each]):.1f}" height="{_BAR}" '
                    f'fill="{COLOURS[place]}"><title>{escape(each)}: {values[each]:,.0f}</title></rect>'
                )


def _group_top(number: int, series: int) -> int:
    return _TOP + number * (series * (_BAR + _BAR_GAP) + _GROUP_GAP)


def _group_labels(groups: Groups, series: int) -> Iterator[str]:
    for number, name in enumerate(groups):
        middle = _group_top(number, series) + series * (_BAR + _BAR_GAP) / 2 + 3
        yield _text(_LABELS - 8, middle, name, anchor="end")


def lines(title: str, points: Mapping[str, Mapping[int, float]], x_unit: str, y_unit: str) -> str:
    """Return an SVG with a line for each of `points`: y by x."""
    width, height, left, bottom = 560, 300, 60, 40
    x_values = [x for line in points.values() for x in line]
    y_values = [y for line in points.values() for y in line.values()]
    across = _Scale(min(x_values), max(x_values), width - left - 30)
    up = _Scale(_decade_below(min(y_values)), max(y_values) * 1.2, height - bottom - 45)
    parts = [*_legend(list(points), left), *_axes(sorted(set(x_values)), across, up, left, height - bottom)]
    for number, line in enumerate(points.values()):
        places = [(left + across.at(x), height - bottom - up.at(y)) for x, y in sorted(line.items())]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path d="M{path}" fill="none" stroke="{COLOURS[number]}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLOURS[number]}"/>' for x, y in places]
    parts.append(_text(width / 2, height - 6, x_unit, anchor="middle", colour=_FAINT))
    parts.append(_text(left - 50, 40, y_unit, colour=_FAINT))
    return _svg(title, width, height, parts)


def _axes(ticks: Sequence[int], across: _Scale, up: _Scale, left: float, bottom: float) -> Iterator[str]:
    for tick in _decades(up):
        y = bottom - up.at(tick)
        yield f'<path d="M{left} {y:.1f}H{left + across.pixels}" stroke="{_GRID}"/>'
        yield _text(left - 8, y + 4, _short(tick), anchor="end", colour=_FAINT)
    for tick in ticks:
        yield _text(left + across.at(tick), bottom + 16, str(tick), anchor="middle", colour=_FAINT)


def _legend(names: Sequence[str], left: float) -> Iterator[str]:
    for number, name in enumerate(names):
        x = left + number * 130
        yield f'<rect x="{x}" y="10" width="10" height="10" fill="{COLOURS[number]}"/>'
        yield _text(x + 15, 19, name)


def _decade_below(value: float) -> float:
    return float(10 ** math.floor(math.log10(value)))


def _decades(scale: _Scale) -> Iterator[float]:
    tick = _decade_below(scale.low)
    while tick <= scale.high:
        if tick >= scale.low:
            yield tick
        tick *= 10


def _short(value: float) -> str:
    for factor, unit in ((1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:g} {unit}"
    return f"{value:g}"


def _text(x: float, y: float, text: str, *, anchor: str = "start", colour: str = _TEXT, weight: str = "normal") -> str:
    style = f'text-anchor="{anchor}" fill="{colour}" font-weight="{weight}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def _svg(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'font-family="system-ui, sans-serif" font-size="11" role="img" aria-label="{escape(title)}">'
    )
    return "\n".join([head, f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>', *parts, "</svg>", ""])
