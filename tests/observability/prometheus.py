"""A real Prometheus for a test: started, asked, stopped."""

from __future__ import annotations

import json
import math
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from consumer.entrypoints.demo.processes import DemoError, wait_until
from tests.end_to_end.rig import free_port

SCRAPE_SECONDS = 1
_CONFIG = """\
global: {{scrape_interval: {scrape}s, evaluation_interval: {scrape}s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: streamgauge
    static_configs:
      - targets: ["127.0.0.1:{port}"]
        labels: {{namespace: shop, pod: streamgauge-0}}
"""


class Prometheus:
    """A server that scrapes one worker each second and knows the alert rules, from `with` on."""

    def __init__(self, program: Path, directory: Path, *, worker_port: int, rules: Path) -> None:
        self._address = f"127.0.0.1:{free_port()}"
        self._log = directory / "prometheus.log"
        config = directory / "prometheus.yaml"
        config.write_text(_CONFIG.format(scrape=SCRAPE_SECONDS, rules=rules, port=worker_port))
        self._command = [
            str(program),
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'tsdb'}",
            f"--web.listen-address={self._address}",
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)
        wait_until(self._is_ready, f"Prometheus (its log: {self._log})", seconds_max=120)
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(timeout=60)

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise DemoError(f"Prometheus ended: {self._log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(f"http://{self._address}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def ask(self, path: str, **parameters: str | float) -> Any:
        """Return `data` of an answer of the API; ValueError with what it objects to."""
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["error"]) from error

    def series(self, expression: str, start: float, end: float) -> int:
        """Return how many series an expression has with a number in a span of epoch seconds."""
        found = self.ask("query_range", query=expression, start=start, end=end, step=SCRAPE_SECONDS)["result"]
        return sum(any(math.isfinite(float(value)) for _, value in series["values"]) for series in found)
