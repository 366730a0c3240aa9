"""Every colour of a text can be read on the ground that it stands on, in the light and in the dark."""

from __future__ import annotations

import re

import pytest

from consumer.telemetry.page_style import STYLE

CONTRAST_MIN = 4.5
"""What WCAG 2.2 asks for (AA)."""
ON = {
    "text": ("page", "card", "ok-on", "warn-on", "bad-on"),
    "soft": ("page", "card"),
    "link": ("page", "card"),
    "ok": ("ok-on",),
    "warn": ("warn-on", "card"),
    "bad": ("bad-on", "card"),
}
LIGHT, DARK = (
    dict(re.findall(r"--([\w-]+):#([0-9a-f]{3,6})", block)) for block in re.findall(r":root\{(.*?)\}", STYLE, re.DOTALL)
)


def luminance(colour: str) -> float:
    full = "".join(2 * digit for digit in colour) if len(colour) == 3 else colour
    channels = (int(full[place : place + 2], 16) / 255 for place in (0, 2, 4))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_the_definition() -> None:
    assert contrast("000", "fff") == pytest.approx(21)
    assert contrast("777777", "ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), [(text, ground) for text, grounds in ON.items() for ground in grounds])
def test_texts_can_be_read(colours: dict[str, str], text: str, ground: str) -> None:
    assert contrast(colours[text], colours[ground]) >= CONTRAST_MIN


def test_every_colour_is_looked_at() -> None:
    assert set(LIGHT) == set(DARK) == {*ON, *(ground for grounds in ON.values() for ground in grounds), "line"}


def test_the_style_loads_nothing() -> None:
    assert not re.search(r"url\(|@import|expression", STYLE)
