"""A mutant takes the place of functions that others hold already."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.mutation.implant import Implants
from tests.mutation.mutants import Mutant, mutants_of

PATH = "core/loop_code.py"
SOURCE = """
from functools import cache

TABLE = {"a": "1 < x"}


class Thing:
    @property
    def half(self):
        return 10 // 2

    @staticmethod
    def steps():
        def inner():
            yield from [one < 2 for one in (1, 2)]
        return list(inner())


@cache
def remembered():
    return 3


first, second = (lambda: 1, lambda: 2)
"""


@pytest.fixture
def module(tmp_path: Path) -> Iterator[ModuleType]:
    path = tmp_path / PATH
    path.parent.mkdir()
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("mutated_for_a_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def _mutant(after: str) -> Mutant:
    (found,) = (each for each in mutants_of(SOURCE, PATH) if each.changed.endswith(f"=>  {after}"))
    return found


@pytest.mark.parametrize(
    ("after", "expression", "before", "expected"),
    [
        ("return 10 * 2", "module.Thing().half", 5, 20),
        ("yield from [one <= 2 for one in (1, 2)]", "module.Thing.steps()", [True, False], [True, True]),
        ("return 4", "module.remembered()", 3, 4),
        ('TABLE = {"a": "1 <= x"}', "module.TABLE['a']", "1 < x", "1 <= x"),
        ("first, second = (lambda: 1, lambda: 3)", "(module.first(), module.second())", (1, 2), (1, 3)),
    ],
)
def test_a_mutant_acts_at_once(
    after: str, expression: str, before: object, expected: object, module: ModuleType, tmp_path: Path
) -> None:
    implants = Implants(tmp_path, [PATH])
    evaluate = compile(expression, "test", "eval")
    assert eval(evaluate, {"module": module}) == before  # noqa: S307 - our own text
    assert implants.put(_mutant(after)) == 1
    assert eval(evaluate, {"module": module}) == expected  # noqa: S307 - our own text


def test_what_is_no_program_is_told(module: ModuleType, tmp_path: Path) -> None:
    mutant = Mutant(PATH, "f", "test", 1, (1, 1), 0, 0, "def def", "")
    with pytest.raises(SyntaxError):
        Implants(tmp_path, [PATH]).put(mutant)
