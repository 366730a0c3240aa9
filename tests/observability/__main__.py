"""`make observability-test`: everything about dashboards and alerts that needs a tool.

1. The files are what their sources give, the dashboards included (Grafana's library).
2. promtool finds nothing wrong in the rules, plain ones and those that the chart renders, and runs their tests on both.
3. A real worker is scraped by a real Prometheus, under load and in some trouble: every query of every dashboard, and
   all that alerts compare, has data there; what cannot is named with its reason.

`python -m tests.observability` prints what it did; exit status 0 if all is well.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from deploy.observability.generate import PLAIN_RULES, ROOT, dashboard_files, rule_files
from tests.observability import live
from tests.observability.live import say

CASES = Path(__file__).with_name("alerts_test.yaml")
TOOLS = ("promtool", "prometheus", "helm3")
RELEASE = "streamgauge"
NAMESPACE = "shop"
"""Those of the cases' series."""


def main() -> int:
    """Run it all; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.observability", description="Test dashboards and alerts.")
    parser.add_argument("--no-live", action="store_true", help="without the worker and its Prometheus")
    options = parser.parse_args()
    tools = _tools()
    wrong = [f"{path.relative_to(ROOT)} is not what its source gives: make observability" for path in _stale()]
    with tempfile.TemporaryDirectory(prefix="streamgauge-rules-") as temporary:
        wrong += _promtool(tools / "promtool", PLAIN_RULES, CASES)
        wrong += _promtool(tools / "promtool", *_rendered(tools / "helm3", Path(temporary)))
    if not options.no_live and not wrong:
        wrong += live.run(tools / "prometheus")
    for line in wrong:
        say(f"WRONG: {line}")
    say("dashboards and alerts are right" if not wrong else f"{len(wrong)} things are wrong")
    return 1 if wrong else 0


def _tools() -> Path:
    done = subprocess.run([ROOT / "deploy" / "tools" / "build", *TOOLS], check=True, stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.strip())


def _stale() -> list[Path]:
    files = {**rule_files(), **dashboard_files()}
    return [path for path, text in files.items() if path.read_text(encoding="utf-8") != text]


def _promtool(program: Path, rules: Path, cases: Path) -> list[str]:
    wrong = []
    commands: tuple[list[str | Path], ...] = (
        ["check", "rules", "--lint=all", "--lint-fatal", rules],
        ["test", "rules", cases],
    )
    for command in commands:
        done = subprocess.run([program, *command], check=False, capture_output=True, text=True)
        say(f"promtool {command[0]} rules {rules.name}: {'right' if done.returncode == 0 else 'WRONG'}")
        if done.returncode:
            wrong.append(f"promtool {command[0]} {rules}: {done.stdout}{done.stderr}")
    return wrong


def _rendered(helm: Path, directory: Path) -> tuple[Path, Path]:
    """Return the rules of the chart, and the cases for them: its alerts look at one release alone."""
    done = subprocess.run(
        [helm, "template", RELEASE, ROOT / "helm" / "streamgauge", "--namespace", NAMESPACE, *_VALUES],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    yaml = YAML(typ="safe")
    (rule,) = [made for made in yaml.load_all(done.stdout) if made and made["kind"] == "PrometheusRule"]
    rules, cases = directory / "chart.yaml", directory / "chart_test.yaml"
    with rules.open("w", encoding="utf-8") as out:
        yaml.dump({"groups": rule["spec"]["groups"]}, out)
    with cases.open("w", encoding="utf-8") as out:
        yaml.dump(_for_the_release(yaml.load(CASES.read_text(encoding="utf-8")), rules), out)
    return rules, cases


_VALUES = ["--set", "alerts.enabled=true", "--set-file", f"pipeline={ROOT / 'config' / 'clickstream.yaml'}"]


def _for_the_release(cases: Any, rules: Path) -> Any:
    """Return the cases with what the chart's alerts say more: a namespace where nothing is there to have one."""
    cases["rule_files"] = [str(rules)]
    for case in cases["tests"]:
        for test in case["alert_rule_test"]:
            for alert in test["exp_alerts"]:
                alert["exp_labels"].setdefault("namespace", NAMESPACE)
    return cases


if __name__ == "__main__":
    sys.exit(main())
