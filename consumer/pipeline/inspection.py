"""A file under check: its raw values by path, and how a problem is put at its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from consumer.pipeline import tree
from consumer.pipeline.problems import Path, ProblemList

_Part = TypeVar("_Part", bound=BaseModel)


class Inspection:
    """Raw values of one file, also of one with mistakes; `explained` paths need no further word."""

    def __init__(self, root: tree.Node, data: Any, problems: ProblemList, explained: frozenset[Path]) -> None:
        self.root = root
        self.problems = problems
        self.explained = explained
        self._data = data

    def at(self, *path: str | int) -> Any:
        """Return the raw value at a path; None where there is none, or nothing to rely on."""
        data: Any = self._data
        for step in path:
            known = step in data if isinstance(data, dict) else isinstance(data, list) and isinstance(step, int)
            if not known:
                return None
            data = data[step]
        return data

    def has(self, path: Path) -> bool:
        """Tell whether something stands at a path, right or wrong."""
        return tree.find(self.root, path) is not None

    def part(self, schema: type[_Part], path: Path) -> _Part | None:
        """Return the checked value at a path; None if there is none, or it is wrong."""
        if not self.has(path) or tree.is_broken_below(self.root, path):
            return None
        try:
            return schema.model_validate(self.at(*path))
        except ValidationError:
            return None

    def keys(self, path: Path) -> Iterator[tuple[str, Path]]:
        """Yield the keys of the mapping at a path, each with its own path, also those whose value is broken."""
        node = tree.find(self.root, path)
        if isinstance(node, tree.Mapping) and not node.broken:
            yield from ((name, (*path, name)) for name in node.entries)

    def one_kind(self, path: Path, kinds: tuple[str, ...], what: str) -> None:
        """Hold a mapping to exactly one of some keys."""
        node = tree.find(self.root, path)
        if not isinstance(node, tree.Mapping) or node.broken:
            return
        found = [kind for kind in kinds if kind in node.entries]
        if len(found) > 1:
            self.refuse((*path, found[1]), f"takes {what}, and {found[0]} is named too", at_key=True)
        elif not found and not any((*path, key) in self.explained for key in node.entries):
            self.refuse(path, f"must name {what}: {', '.join(kinds)}")

    def refuse(self, path: Path, message: str | None, *, at_key: bool = False) -> None:
        """Add a problem at the value of a path, or at its key; None is no problem."""
        if message is None:
            return
        node = None if at_key else tree.find(self.root, path)
        self.problems.add(tree.key_index(self.root, path) if node is None else node.start, path, message)
