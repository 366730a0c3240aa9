"""The demo itself, small, with the real daemon, a split, a merge, a kill and a restart."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS_MAX = 240


@pytest.mark.daemon
@pytest.mark.deep
def test_the_demo_survives_its_kill(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = Path("config/clickstream.yaml").read_text(encoding="utf-8")
    text, replaced = re.subn(r"metrics_port: \S+", f"metrics_port: {port}", text)
    assert replaced == 1
    file = tmp_path / "clickstream.yaml"
    file.write_text(text, encoding="utf-8")
    script = (
        "import sys, pathlib\n"
        "from consumer.entrypoints.demo import demo\n"
        "sys.exit(demo(events=4000, shards=2, json_output=True, pipeline_file=pathlib.Path(sys.argv[1])))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(file)], capture_output=True, text=True, timeout=SECONDS_MAX, check=False
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["ok"]
    assert figures["killed"]
    assert figures["resharded"]
    assert figures["shards"] == 2 + 2 + 1
    assert figures["events_in_stream"] >= 4000
    assert (figures["missing"], figures["wrong"]) == (0, 0)
    assert all(window["adds_up"] for window in figures["windows"].values())
    assert all(window["in_results"] > 0 for window in figures["windows"].values())
    assert all(rows["expected"] > 0 for rows in figures["rows"].values())
