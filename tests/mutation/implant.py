"""Puts a mutant into a process that has imported the module already: its functions get other code, in place.

So one process imports everything and collects the tests once; a child of it becomes the mutant in some milliseconds.
"""

from __future__ import annotations

import ast
import functools
import gc
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from tests.mutation.mutants import Mutant

_Place = tuple[str, int]
"""Qualified name and first line of a function."""


class Implants:
    """The functions of some modules, found once, and the caches that may hold what they have made."""

    def __init__(self, root: Path, paths: list[str]) -> None:
        self._sources = {path: (root / path).read_text(encoding="utf-8") for path in paths}
        files = {str(root / path): path for path in paths}
        self._functions: dict[str, list[FunctionType]] = defaultdict(list)
        self._caches: list[Any] = []
        for each in gc.get_objects():
            if isinstance(each, FunctionType) and each.__code__.co_filename in files:
                self._functions[files[each.__code__.co_filename]].append(each)
            elif isinstance(each, functools._lru_cache_wrapper):
                self._caches.append(each)
        loaded = {_file(module): module for module in list(sys.modules.values())}
        self._modules = {path: loaded[file] for file, path in files.items() if file in loaded}

    def modules(self) -> list[str]:
        """Return the modules that this process has imported."""
        return sorted(self._modules)

    def forget(self) -> None:
        """Empty the caches, so that whatever the functions make is made anew."""
        for cache in self._caches:
            cache.cache_clear()

    def put(self, mutant: Mutant) -> int:
        """Become the mutant; return how many places have changed. SyntaxError if it is no program."""
        path = mutant.path
        source = mutant.of(self._sources[path])
        functions = self._functions[path]
        filename = functions[0].__code__.co_filename if functions else path
        mutated = compile(source, filename, "exec", dont_inherit=True)
        codes = _by_place(mutated)
        changed = 0
        for function in functions:
            code = _matching(codes.get(_place(function.__code__), []), function.__code__)
            if code is not None and code != function.__code__:
                function.__code__ = code
                changed += 1
        changed += self._tables(mutant, source)
        self.forget()
        return changed

    def _tables(self, mutant: Mutant, source: str) -> int:
        """Fill a module's changed table anew, in place: others may have imported it."""
        changed = 0
        namespace = vars(self._modules[mutant.path])
        for node in ast.parse(source).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and _holds(node, mutant):
                assert isinstance(node.targets[0], ast.Name)
                table = namespace[node.targets[0].id]
                text = ast.get_source_segment(source, node.value)
                table.update(eval(text or "", namespace))  # noqa: S307 - the module's own text, with the change
                changed += 1
        return changed


def _file(module: ModuleType) -> str | None:
    return getattr(module, "__file__", None)


def _holds(node: ast.Assign, mutant: Mutant) -> bool:
    return node.lineno <= mutant.line <= (node.end_lineno or node.lineno)


def _place(code: CodeType) -> _Place:
    return code.co_qualname, code.co_firstlineno


def _by_place(code: CodeType) -> dict[_Place, list[CodeType]]:
    found: dict[_Place, list[CodeType]] = defaultdict(list)
    for each in _inner(code):
        found[_place(each)].append(each)
    return found


def _inner(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _inner(constant)


def _matching(codes: list[CodeType], old: CodeType) -> CodeType | None:
    """Return the code that took an old one's place; of several on one line, only the one that starts where it did."""
    if len(codes) < 2:
        return codes[0] if codes else None
    column = _column(old)
    return min(codes, key=lambda code: abs(_column(code) - column))


def _column(code: CodeType) -> int:
    return next((start for _, _, start, _ in code.co_positions() if start), 0)
