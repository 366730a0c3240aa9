from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bench.measure import Part, Usage
from bench.report import BEGIN, END, Figure, Results, Run, figures, markdown, replace_section

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
SIZES = (1_000_000, 4_000_000)


def run(variant: str, records: int, java_s: float, python_s: float) -> Run:
    millions = records / 1_000_000
    return Run(
        variant=variant,
        records=records,
        usage={
            Part.JAVA: Usage(8.0 + java_s * millions, 600 * MIB, 590 * MIB),
            Part.PYTHON: Usage(1.0 + python_s * millions, 90 * MIB, 80 * MIB),
            Part.RELAYS: Usage(0.04, 40 * MIB, 4 * MIB),
        },
        emulator_cpu_s=1.2 * millions,
        first_record_s=5.0 + millions,
        elapsed_s=10.0 * millions,
        checkpoints=int(9 * millions),
        rows=0,
    )


def runs(product_python_s: float = 2.0) -> list[Run]:
    costs = {"product": (5.0, product_python_s), "nothing": (5.0, 1.0), "kclpy": (5.0, 8.0)}
    return [run(name, records, *cost) for records in SIZES for name, cost in costs.items()]


def results(runs: list[Run]) -> Results:
    return Results("2030-01-31T10:00:00+00:00", {"cores": 2}, {"shards": 4}, figures(runs), runs)


def values(runs: list[Run]) -> dict[str, float | str]:
    return {figure.name: figure.value for figure in figures(runs)}


def test_the_slope_counts_java_python_and_relays_and_not_the_emulator() -> None:
    found = values(runs())
    assert found["product_cpu_slope_java"] == pytest.approx(5.0)
    assert found["product_cpu_slope_python"] == pytest.approx(2.0)
    assert found["product_cpu_slope_relays"] == pytest.approx(0.0)
    assert found["product_cpu_slope_total"] == pytest.approx(7.0)
    assert found["product_cpu_slope_emulator"] == pytest.approx(1.2)


def test_ratios_are_of_the_slopes() -> None:
    found = values(runs())
    assert found["product_to_nothing"] == pytest.approx(7 / 6)
    assert found["product_to_kclpy"] == pytest.approx(7 / 13)
    assert found["product_to_nothing_goal"] == found["product_to_kclpy_goal"] == "met"


def test_a_goal_that_is_missed_is_said_to_be() -> None:
    found = values(runs(product_python_s=3.2))
    assert found["product_to_nothing_goal"] == "not_met"
    assert found["product_to_kclpy_goal"] == "met"
    assert "**not met**" in markdown(results(runs(product_python_s=3.2)))


def test_memory_is_that_of_the_larger_run_and_the_start_the_quicker() -> None:
    found = values(runs())
    assert found["product_memory_peak_total"] == pytest.approx(730)
    assert found["product_memory_pss_relays"] == pytest.approx(4)
    assert found["product_first_record"] == pytest.approx(6.0)


def test_without_the_others_there_are_no_ratios() -> None:
    found = values([one for one in runs() if one.variant == "product"])
    assert "product_cpu_slope_total" in found
    assert not any(name.startswith("product_to_") for name in found)


def test_a_figure_is_one_line_of_name_value_and_unit() -> None:
    assert str(Figure("a_b", 1.23456, "cpu_s")) == "a_b 1.235 cpu_s"
    assert str(Figure("a_goal", "met", "at_most_1.35")) == "a_goal met at_most_1.35"
    assert all(len(str(figure).split(" ")) == 3 for figure in figures(runs()))


def test_results_can_be_read_back() -> None:
    written = results(runs())
    assert msgspec.json.decode(msgspec.json.encode(written), type=Results) == written


def test_a_section_is_replaced_and_the_rest_stays() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert replace_section(page, "new") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert replace_section(replace_section(page, "x"), "new") == replace_section(page, "new")


@pytest.mark.parametrize("page", ["", f"{BEGIN} only", f"{END} only", f"{END}{BEGIN}"])
def test_a_page_without_both_marks_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="lacks"):
        replace_section(page, "new")


def test_the_page_has_the_figures_of_the_last_run() -> None:
    last = msgspec.json.decode((ROOT / "bench" / "results.json").read_bytes(), type=Results)
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert replace_section(page, markdown(last)) == page
    assert last.figures == figures(last.runs)
