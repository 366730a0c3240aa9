"""Writes every file that is made of what stands in this folder: `python -m deploy.observability.generate`.

Rules and CloudWatch's part need nothing but the product; the dashboards need Grafana's library, as
`make observability` installs it. `--rules` leaves the dashboards out.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.observability import cloudwatch, rules
from deploy.observability.boards import BOARDS

ROOT = Path(__file__).parents[2]
DASHBOARDS = ROOT / "helm" / "streamgauge" / "dashboards"
PLAIN_RULES = ROOT / "deploy" / "observability" / "alerts.yaml"
TEMPLATE = ROOT / "deploy" / "lambda" / "template.yaml"
CHART_RULES = ROOT / "helm" / "streamgauge" / "templates" / "prometheusrule.yaml"


def rule_files() -> Mapping[Path, str]:
    """Return the files of alerts and alarms, with what must be in them."""
    template = cloudwatch.with_ours(TEMPLATE.read_text(encoding="utf-8"))
    return {PLAIN_RULES: rules.plain(), CHART_RULES: rules.chart(), TEMPLATE: template}


def dashboard_files() -> Mapping[Path, str]:
    """Return the files of the dashboards, with what must be in them. ModuleNotFoundError without Grafana's library."""
    from deploy.observability.grafana import dashboard_json  # noqa: PLC0415 - only here is the library needed

    return {DASHBOARDS / f"{board.name}.json": dashboard_json(board) for board in BOARDS}


def main(arguments: list[str]) -> None:
    """Write them."""
    files = {**rule_files(), **({} if "--rules" in arguments else dashboard_files())}
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main(sys.argv[1:])
