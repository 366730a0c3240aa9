"""Who may import and use what: the house of docs/design.md, held by reading the syntax tree of every module.

Imports inside functions count like any other. Each rule below is one function from a module to its violations.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "consumer"

FLOORS = (
    {"errors", "aws_errors", "records"},
    {"pipeline"},
    {"core"},
    {"sources", "sinks", "state", "telemetry"},
    {"runtime"},
    {"entrypoints"},
    {"cli"},
    {"__main__"},
)
"""Imports go down, never up and never sideways. The lowest floor is the exception: it is one."""

BESIDE = {
    "environment": {"entrypoints", "cli"},
    "emulator": {"entrypoints.emulator", "entrypoints.demo", "cli", "testing"},
    "testing": {"entrypoints.emulator", "entrypoints.demo", "cli"},
}
"""Parts beside the house, and who may import them."""
FROM_BESIDE = {
    "environment": set[str](),
    "emulator": {"errors", "records"},
    "testing": {
        "errors",
        "records",
        "pipeline",
        "core",
        "sources",
        "sinks",
        "state",
        "telemetry",
        "runtime",
        "emulator",
    },
}
"""What these may import."""

LIBRARIES = {
    "boto3": {"sources", "sinks", "state", "emulator", "testing", "entrypoints"},
    "botocore": {"sources", "sinks", "state", "emulator", "testing", "entrypoints"},
    "prometheus_client": {"telemetry"},
    "structlog": {"telemetry"},
    "moto": {"emulator"},
    "flask": {"emulator"},
    "pickle": set[str](),
    "cPickle": set[str](),
    "_pickle": set[str](),
    "dill": set[str](),
    "cloudpickle": set[str](),
    "marshal": set[str](),
    "shelve": set[str](),
}
"""Who may import these libraries; a part or a module."""

ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv", "os.unsetenv", "os.path.expandvars"}
ENVIRONMENT_IN = {"environment"}

CLOCKS_AND_CHANCE = {
    *(
        f"time.{name}{suffix}"
        for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time", "clock_gettime")
        for suffix in ("", "_ns")
    ),
    "time.sleep",
    "time.localtime",
    "time.gmtime",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
    "uuid.uuid1",
    "uuid.uuid4",
    "os.urandom",
    "random.*",
    "secrets.*",
}
INJECTED = {"random.Random"}
"""A source of chance with a seed of the caller's (test: `random.Random()` without one is refused)."""
CLOCKS_AND_CHANCE_IN = {"runtime.clock", "emulator", "testing", "entrypoints.demo"}
"""The worker's one place; and what plays the world outside it. Log lines get their time from a clock passed in."""

EVALUATION = {"eval", "exec", "compile", "__import__"}
EVALUATION_IN = {"core.compile"}

IMPURE = {
    "asyncio",
    "http",
    "logging",
    "multiprocessing",
    "os",
    "random",
    "secrets",
    "select",
    "selectors",
    "signal",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "urllib",
    "uuid",
}
"""The core has no clock, environment, log, metric, network, thread or file."""
PURE = {"core"}


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the package. `name` lacks `consumer.`; a package's own module carries the package's name."""

    name: str
    tree: ast.Module

    @property
    def part(self) -> str:
        return self.name.partition(".")[0]

    def within(self, places: set[str]) -> bool:
        """Return whether it is one of these modules or lies in one of these packages."""
        return any(self.name == place or self.name.startswith(f"{place}.") for place in places)


def module_of(path: Path, source: str) -> Module:
    """Make a module of its path below the package and its text."""
    parts = path.with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
    return Module(name, ast.parse(source))


@pytest.fixture(scope="module")
def modules() -> list[Module]:
    package = ROOT / PACKAGE
    return [
        module_of(path.relative_to(package), path.read_text(encoding="utf-8")) for path in sorted(package.rglob("*.py"))
    ]


def imported(module: Module) -> Iterator[tuple[int, str]]:
    """Yield line and full name of everything imported; `from a import b` is `a.b`."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.name}:{node.lineno}: a relative import"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def used(module: Module) -> Iterator[tuple[int, str]]:
    """Yield line and full name of every name and attribute read, as far as imports tell what it is."""
    origin: dict[str, str] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.name if alias.asname else alias.name.partition(".")[0]
                origin[alias.asname or name] = name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                origin[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name | ast.Attribute):
            head, dot, rest = (dotted(node) or "").partition(".")
            yield node.lineno, origin.get(head, head) + dot + rest


def dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if not isinstance(node, ast.Attribute):
        return None
    value = dotted(node.value)
    return value and f"{value}.{node.attr}"


def floor_of(part: str) -> int | None:
    return next((number for number, parts in enumerate(FLOORS) if part in parts), None)


def may_import(importer: Module, target: str) -> bool:
    """Return whether a module may import `target`, a name below the package."""
    part = target.partition(".")[0]
    if part == importer.part or not target or part.startswith("__"):
        return True
    if importer.part in FROM_BESIDE:
        return part in FROM_BESIDE[importer.part]
    if part in BESIDE:
        return importer.within(BESIDE[part])
    above, below = floor_of(importer.part), floor_of(part)
    assert above is not None, f"consumer/{importer.part} has no floor: give it one"
    assert below is not None, f"consumer/{part} has no floor: give it one"
    return below < above or below == above == 0


def direction(module: Module) -> Iterator[str]:
    for line, name in imported(module):
        head, _, target = name.partition(".")
        if head == PACKAGE and not may_import(module, target):
            yield f"{line}: imports {name}"
        if head in {"tests", "bench"}:
            yield f"{line}: imports {name}"


def libraries(module: Module) -> Iterator[str]:
    for line, name in imported(module):
        allowed = LIBRARIES.get(name.partition(".")[0])
        if allowed is not None and not module.within(allowed):
            yield f"{line}: imports {name}"


def environment(module: Module) -> Iterator[str]:
    if not module.within(ENVIRONMENT_IN):
        yield from forbidden_uses(module, ENVIRONMENT)


def clocks_and_chance(module: Module) -> Iterator[str]:
    if not module.within(CLOCKS_AND_CHANCE_IN):
        yield from forbidden_uses(module, CLOCKS_AND_CHANCE)
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and not node.args and dotted(node.func) in INJECTED:
                yield f"{node.lineno}: random.Random without a seed"


def forbidden_uses(module: Module, names: set[str]) -> Iterator[str]:
    for line, name in [*used(module), *imported(module)]:
        head, _, rest = name.partition(".")
        by_star = rest and f"{head}.*" in names and not any(name.startswith(seeded) for seeded in INJECTED)
        if name in names or by_star:
            yield f"{line}: uses {name}"


def evaluation(module: Module) -> Iterator[str]:
    if module.within(EVALUATION_IN):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and node.id in EVALUATION:
            yield f"{node.lineno}: uses {node.id}"


def purity(module: Module) -> Iterator[str]:
    if not module.within(PURE):
        return
    for line, name in imported(module):
        if name.partition(".")[0] in IMPURE:
            yield f"{line}: imports {name}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in {"open", "print", "input"}:
            yield f"{node.lineno}: uses {node.id}"


Rule = Callable[[Module], Iterator[str]]
RULES: tuple[Rule, ...] = (direction, libraries, environment, clocks_and_chance, evaluation, purity)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module_keeps_the_rule(rule: Rule, modules: list[Module]) -> None:
    violations = [f"consumer/{module.name}:{violation}" for module in modules for violation in rule(module)]
    assert not violations, "\n".join(violations)


def test_all_modules_are_seen(modules: list[Module]) -> None:
    names = {module.name for module in modules}
    assert {"cli", "records", "runtime.clock", "core", "telemetry.events", "__init__"} <= names


BAD = [
    (direction, "core/windows.py", "from consumer.telemetry.events import Telemetry"),
    (direction, "core/windows.py", "import consumer.runtime.clock"),
    (direction, "entrypoints/worker.py", "from consumer.cli import main"),
    (direction, "core/windows.py", "def f():\n    from consumer import state"),
    (direction, "sinks/base.py", "from consumer.state.base import StateStore"),
    (direction, "telemetry/events.py", "from consumer.sinks import base"),
    (direction, "pipeline/model.py", "from consumer.core import compile"),
    (direction, "errors.py", "from consumer.pipeline.model import Type"),
    (direction, "runtime/commit.py", "from consumer.entrypoints import worker"),
    (direction, "runtime/commit.py", "from consumer.environment import environment"),
    (direction, "runtime/commit.py", "from consumer.testing.fakes import FakeStore"),
    (direction, "entrypoints/worker.py", "from consumer.emulator import server"),
    (direction, "emulator/server.py", "from consumer.sources import kinesis"),
    (direction, "testing/fakes.py", "from tests.strategies import pipelines"),
    (libraries, "runtime/commit.py", "import boto3"),
    (libraries, "core/decode.py", "from botocore.exceptions import ClientError"),
    (libraries, "runtime/supervisor.py", "import structlog"),
    (libraries, "sinks/firehose.py", "from prometheus_client import Counter"),
    (libraries, "state/memory.py", "import pickle"),
    (environment, "telemetry/logging.py", "import os\nlevel = os.environ['LEVEL']"),
    (environment, "telemetry/logging.py", "from os import getenv as look\nlook('LEVEL')"),
    (environment, "runtime/supervisor.py", "import os as system\nsystem.environ.copy()"),
    (clocks_and_chance, "telemetry/events.py", "import time\nnow = time.monotonic"),
    (clocks_and_chance, "sinks/base.py", "from time import sleep\nsleep(1)"),
    (clocks_and_chance, "core/times.py", "from datetime import datetime\ndatetime.now()"),
    (clocks_and_chance, "core/times.py", "import datetime as d\nd.datetime.now(d.UTC)"),
    (clocks_and_chance, "sinks/base.py", "import random\nrandom.uniform(0, 1)"),
    (clocks_and_chance, "sinks/base.py", "from random import choice"),
    (clocks_and_chance, "sinks/base.py", "import random\nrandom.Random()"),
    (clocks_and_chance, "state/s3.py", "import uuid\nuuid.uuid4()"),
    (evaluation, "pipeline/expressions.py", "eval('1 + 1')"),
    (evaluation, "runtime/shard.py", "run = exec"),
    (purity, "core/processor.py", "import logging"),
    (purity, "core/processor.py", "from threading import Lock"),
    (purity, "core/processor.py", "open('state')"),
]


@pytest.mark.parametrize(("rule", "path", "source"), BAD)
def test_a_rule_sees_a_violation(rule: Rule, path: str, source: str) -> None:
    assert list(rule(module_of(Path(path), source)))


GOOD = [
    (direction, "entrypoints/demo.py", "from consumer.emulator import server\nfrom consumer.testing import fakes"),
    (direction, "cli.py", "from consumer import __version__\nfrom consumer.environment import environment"),
    (direction, "records.py", "from consumer.errors import StreamgaugeError"),
    (direction, "telemetry/events.py", "from consumer.core.counts import Counts"),
    (libraries, "entrypoints/worker.py", "import boto3"),
    (libraries, "telemetry/http.py", "import http.server\nfrom prometheus_client import Counter"),
    (environment, "environment.py", "import os\nos.environ"),
    (environment, "sinks/file.py", "import os\nos.fsync(1)\nenviron = {}"),
    (clocks_and_chance, "runtime/clock.py", "import time\ntime.time()"),
    (clocks_and_chance, "core/times.py", "from datetime import datetime\ndatetime.fromtimestamp(0)"),
    (clocks_and_chance, "sinks/base.py", "import random\nrandom.Random(7).random()"),
    (clocks_and_chance, "sinks/base.py", "def f(random):\n    random()"),
    (evaluation, "core/compile.py", "exec('pass')"),
    (evaluation, "core/functions.py", "import re2\nre2.compile('a')"),
    (purity, "runtime/shard.py", "import threading"),
]


@pytest.mark.parametrize(("rule", "path", "source"), GOOD)
def test_a_rule_leaves_the_rest_alone(rule: Rule, path: str, source: str) -> None:
    assert not list(rule(module_of(Path(path), source)))
