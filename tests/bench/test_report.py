from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bench.measure import Part, Usage
from bench.report import BEGIN, END, Figure, Results, Run, figures, markdown, replace_section

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
SIZES = (1_000_000, 4_000_000)


JAVA_S = 5.0


def run(variant: str, records: int, number: int, java_s: float, python_s: float) -> Run:
    millions = records / 1_000_000
    return Run(
        variant=variant,
        records=records,
        round=number,
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


def a_round(number: int = 1, *, product_python_s: float = 2.0, product_java_s: float = JAVA_S) -> list[Run]:
    costs = {"product": (product_java_s, product_python_s), "nothing": (JAVA_S, 1.0), "kclpy": (JAVA_S, 8.0)}
    return [run(name, records, number, *cost) for records in SIZES for name, cost in costs.items()]


def rounds(*product_java_s: float) -> list[Run]:
    """Return rounds in which Java took so much under the product, and as usual under the others."""
    return [one for number, java_s in enumerate(product_java_s, 1) for one in a_round(number, product_java_s=java_s)]


def results(runs: list[Run]) -> Results:
    return Results("2030-01-31T10:00:00+00:00", {"cores": 2}, {"shards": 4}, figures(runs), runs)


def figure(runs: list[Run], name: str) -> Figure:
    (found,) = [figure for figure in figures(runs) if figure.name == name]
    return found


def values(runs: list[Run]) -> dict[str, float | str]:
    return {figure.name: figure.value for figure in figures(runs)}


def test_the_slope_counts_java_python_and_relays_and_not_the_emulator() -> None:
    found = values(a_round())
    assert found["product_cpu_slope_java"] == pytest.approx(5.0)
    assert found["product_cpu_slope_python"] == pytest.approx(2.0)
    assert found["product_cpu_slope_relays"] == pytest.approx(0.0)
    assert found["product_cpu_slope_total"] == pytest.approx(7.0)
    assert found["product_cpu_slope_emulator"] == pytest.approx(1.2)


def test_ratios_are_of_the_slopes() -> None:
    found = values(a_round())
    assert found["product_to_nothing"] == pytest.approx(7 / 6)
    assert found["product_to_kclpy"] == pytest.approx(7 / 13)
    assert found["product_to_nothing_goal"] == found["product_to_kclpy_goal"] == "met"


def test_a_figure_is_the_median_of_the_rounds_with_lowest_and_highest() -> None:
    found = figure(rounds(9.0, 5.0, 6.0), "product_cpu_slope_java")
    assert (found.value, found.lowest, found.highest) == pytest.approx((6.0, 5.0, 9.0))
    total = figure(rounds(9.0, 5.0, 6.0), "product_cpu_total_1000000_records")
    assert (total.value, total.lowest, total.highest) == pytest.approx((17.04, 16.04, 20.04))


def test_a_single_round_has_no_spread() -> None:
    of_several_runs = {f"{name}_first_record" for name in ("product", "nothing", "kclpy")} | {"cpu_slope_java_of_all"}
    assert {figure.name for figure in figures(a_round()) if figure.spread(".1f")} == of_several_runs


def test_a_ratio_is_taken_within_each_round() -> None:
    """A machine that becomes slower for all from round to round changes no ratio."""
    slower = [
        run(name, records, number, JAVA_S * number, python_s * number)
        for number in (1, 2, 3)
        for records in SIZES
        for name, python_s in {"product": 2.0, "nothing": 1.0, "kclpy": 8.0}.items()
    ]
    found = figure(slower, "product_to_nothing")
    assert (found.value, found.lowest, found.highest) == pytest.approx((7 / 6, 7 / 6, 7 / 6))


def test_with_equal_java_its_noise_is_in_no_ratio() -> None:
    noisy = rounds(9.0, 5.0, 1.0)
    assert figure(noisy, "cpu_slope_java_of_all").value == pytest.approx(JAVA_S)
    found = figure(noisy, "product_to_nothing_equal_java")
    assert (found.value, found.lowest, found.highest) == pytest.approx((7 / 6, 7 / 6, 7 / 6))
    whole = figure(noisy, "product_to_nothing")
    assert (whole.lowest, whole.highest) == pytest.approx((3 / 6, 11 / 6))


def test_python_and_relays_are_compared_alone() -> None:
    found = values(rounds(9.0, 5.0, 1.0))
    assert found["product_to_nothing_python_and_relays"] == pytest.approx(2.0)
    assert found["product_to_kclpy_python_and_relays"] == pytest.approx(0.25)


def test_a_goal_that_is_missed_is_said_to_be() -> None:
    missed = a_round(product_python_s=3.2)
    found = values(missed)
    assert found["product_to_nothing_goal"] == found["product_to_nothing_equal_java_goal"] == "not_met"
    assert found["product_to_kclpy_goal"] == "met"
    assert "at most 1.35, **not met**" in markdown(results(missed))


@pytest.mark.parametrize(
    ("java_s", "verdict", "words"),
    [
        ((5.0, 5.0, 6.0), "met", "at most 1.35, met."),
        ((5.0, 5.0, 9.0), "met_in_the_median", "at most 1.35, met in the median, not in every round."),
        ((5.0, 9.0, 9.0), "not_met", "at most 1.35, **not met**."),
    ],
)
def test_a_goal_is_met_when_every_round_meets_it(java_s: tuple[float, ...], verdict: str, words: str) -> None:
    runs = rounds(*java_s)
    assert values(runs)["product_to_nothing_goal"] == verdict
    assert words in markdown(results(runs))


def test_equal_java_has_a_verdict_of_its_own() -> None:
    flattered = [one for number in (1, 2, 3) for one in a_round(number, product_java_s=1.0, product_python_s=5.0)]
    found = values(flattered)
    assert (found["product_to_nothing_goal"], found["product_to_nothing_equal_java_goal"]) == ("met", "not_met")
    assert "With the same share of Java for both: 1.67 (1.67..1.67) times, **not met**." in markdown(results(flattered))


def test_memory_is_that_of_the_larger_run_and_the_start_that_of_all() -> None:
    found = values(a_round())
    assert found["product_memory_peak_total"] == pytest.approx(730)
    assert found["product_memory_pss_relays"] == pytest.approx(4)
    assert found["product_first_record"] == pytest.approx(7.5)


def test_without_the_others_there_are_no_ratios() -> None:
    found = values([one for one in a_round() if one.variant == "product"])
    assert "product_cpu_slope_total" in found
    assert not any(name.startswith("product_to_") for name in found)


def test_a_figure_is_one_line_of_name_value_and_unit_and_its_spread() -> None:
    assert str(Figure("a_b", 1.23456, "cpu_s")) == "a_b 1.235 cpu_s"
    assert str(Figure("a_b", 1.23456, "cpu_s", 1.0, 1.5)) == "a_b 1.235 cpu_s 1.000..1.500"
    assert str(Figure("a_goal", "met", "at_most_1.35")) == "a_goal met at_most_1.35"
    assert all(len(str(figure).split(" ")) in {3, 4} for figure in figures(rounds(1.0, 2.0)))


def test_the_page_tells_the_spread_of_several_rounds_alone() -> None:
    single, several = markdown(results(a_round())), markdown(results(rounds(4.0, 5.0, 7.0)))
    assert "| Java | 5.00 | 5.00 | 5.00 |" in single
    assert "median" not in single
    assert "| Java | 5.00 (4.00..7.00) | 5.00 (5.00..5.00) | 5.00 (5.00..5.00) |" in several
    assert "the median of 3 rounds" in several


def test_results_can_be_read_back() -> None:
    written = results(rounds(4.0, 5.0))
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
