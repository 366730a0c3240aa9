from __future__ import annotations

from deploy.observability.alerts import ALERTS, with_defaults
from tests.observability.parts import compared


def test_an_expression_is_taken_apart_outside_of_brackets() -> None:
    assert compared("sum by (a) (x or y) > 0\n  unless on (a, b) sum by (a) (rate(z[5m])) > 0.5\n  or w == 0") == [
        "sum by (a) (x or y)",
        "sum by (a) (rate(z[5m]))",
        "w",
    ]
    assert compared("absent(x)") == ["x"]


def test_nothing_is_compared_in_what_is_left_of_the_alerts() -> None:
    parts = [part for alert in ALERTS for part in compared(with_defaults(alert.expression))]
    assert len(parts) > len(ALERTS)
    assert not [part for part in parts if ">" in part or "==" in part or part.count("(") != part.count(")")]
