"""Writes the golden renders: `python -m tests.chart.goldens`. Look at the difference before it is committed."""

from __future__ import annotations

from tests.chart.chart_rig import GOLDEN, SETS, render, tools

if __name__ == "__main__":
    helm = tools("helm3") / "helm3"
    for name in SETS:
        (GOLDEN / f"{name}.yaml").write_text(render(helm, name), encoding="utf-8")
