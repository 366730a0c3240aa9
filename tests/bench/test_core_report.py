from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest

from bench import core_report
from bench.core_measure import PANES, Timing
from bench.core_report import Measured, facts, figures, markdown, marks, write_json, write_plots, write_section
from bench.plot import bars, lines

WHO = ("streamgauge", "dicts", "bytewax", "polars")
SECONDS = {"streamgauge": 1.0, "dicts": 3.0, "bytewax": 9.0, "polars": 2.0}


def timings(factor: float = 1.0) -> dict[str, Timing]:
    return {name: Timing(1_000_000, [factor * each, factor * each * 1.5]) for name, each in SECONDS.items()}


def measured() -> Measured:
    table = {size: {"decode": timings(), "all": timings(4.0)} for size in (100, 500)}
    lines = {"streamgauge_lines": Timing(1_000_000, [2.0, 2.2]), "lines_alone": Timing(1_000_000, [1.0, 1.1])}
    sliding = {
        "streamgauge": {panes: Timing(1_000_000, [2.0 + panes / 1000]) for panes in PANES},
        "dicts": {panes: Timing(1_000_000, [float(panes)]) for panes in PANES},
    }
    return Measured(table, timings() | lines, sliding)


def values() -> dict[str, float | str]:
    return {figure.name: figure.value for figure in figures(measured())}


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "performance.md"
    path.write_text("before\n\n" + "\n".join(marks("core")) + "\n\nafter\n", encoding="utf-8")
    monkeypatch.setattr(core_report, "PAGE", path)
    return path


def test_figures_are_medians_with_the_lowest_and_the_highest() -> None:
    (figure,) = [each for each in figures(measured()) if each.name == "core_all_500B_dicts"]
    assert figure.value == pytest.approx((1e6 / 12 + 1e6 / 18) / 2)
    assert (figure.lowest, figure.highest) == pytest.approx((1e6 / 18, 1e6 / 12))
    assert figure.unit == "events_per_s"


def test_what_was_aimed_for_is_judged() -> None:
    found = values()
    assert found["core_headline_to_bytewax"] == pytest.approx(9.0)
    assert found["core_headline_to_bytewax_goal"] == "not_met"
    assert found["core_headline_to_dicts"] == pytest.approx(3.0)
    assert found["core_headline_to_dicts_goal"] == "met"
    assert found["core_headline_to_lines_alone"] == pytest.approx(0.5)
    assert found["core_headline_to_lines_alone_goal"] == "met"
    assert found["core_sliding_growth"] == pytest.approx(2.1 / 2.002)
    assert found["core_sliding_growth_goal"] == "met"


def test_the_tables_say_what_is_not_met() -> None:
    text = markdown(measured(), "2030-01-31T10:00:00+00:00", {"cores": 2})
    assert "Measured on 2030-01-31: cores 2." in text
    assert "| 500 B | all |" in text
    assert "as many events a second as Bytewax; wanted: at least 10, **not met**." in text
    assert "as many events a second as by hand; wanted: at least 2.5, met." in text
    assert "| by hand | 2.00 | 5.00 | 20.00 | 100.00 |" in text


def test_a_section_is_replaced_between_its_marks_alone(page: Path) -> None:
    write_section("core", "first")
    write_section("core", "second")
    begin, end = marks("core")
    assert page.read_text() == f"before\n\n{begin}\n\nsecond\n\n{end}\n\nafter\n"


def test_a_page_without_marks_is_refused(page: Path) -> None:
    before = page.read_text()
    with pytest.raises(ValueError, match="lacks <!-- memory: written by"):
        write_section("memory", "text")
    page.write_text(marks("memory")[0])
    with pytest.raises(ValueError, match="lacks <!-- end of memory -->"):
        write_section("memory", "text")
    assert "before" in before


def test_one_part_of_the_figures_leaves_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_report, "JSON", tmp_path / "core.json")
    write_json("memory", {"a": 1})
    write_json("core", msgspec.to_builtins(measured()))
    write_json("core", {"b": 2})
    assert msgspec.json.decode((tmp_path / "core.json").read_bytes()) == {"memory": {"a": 1}, "core": {"b": 2}}


def test_the_published_page_has_the_marks() -> None:
    text = core_report.PAGE.read_text(encoding="utf-8")
    for part in ("core", "memory"):
        begin, end = marks(part)
        assert text.index(begin) < text.index(end)


def test_the_machine_is_told() -> None:
    found = facts("msgspec")
    assert found["cores"]
    assert found["msgspec"] == msgspec.__version__


def test_plots_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_report, "SPEED_PLOT", tmp_path / "images" / "speed.svg")
    monkeypatch.setattr(core_report, "SLIDING_PLOT", tmp_path / "images" / "sliding.svg")
    write_plots(measured())
    speed = ET.fromstring((tmp_path / "images" / "speed.svg").read_text())  # noqa: S314 - our own text
    assert len([each for each in speed.iter() if each.tag.endswith("title")]) == 2 * 2 * len(WHO)
    sliding = ET.fromstring((tmp_path / "images" / "sliding.svg").read_text())  # noqa: S314 - our own text
    assert len([each for each in sliding.iter() if each.tag.endswith("circle")]) == 2 * len(PANES)


def test_a_bar_ten_times_as_long_in_value_is_a_step_on_the_axis() -> None:
    groups = {"g": {"a": 10.0, "b": 100.0, "c": 1000.0}}
    drawn = ET.fromstring(bars("t", {"p": groups}, {"a": "A", "b": "B", "c": "C"}, "u"))  # noqa: S314 - our own text
    widths = [float(each.attrib["width"]) for each in drawn.iter() if len(each) and "width" in each.attrib]
    assert widths[2] - widths[1] == pytest.approx(widths[1] - widths[0], abs=0.2)


def test_texts_are_escaped() -> None:
    ET.fromstring(lines("a < b & c", {"<x>": {1: 1.0, 2: 2.0}}, "&", "<"))  # noqa: S314 - our own text
