"""Reads the nodes of a file, and notes what is wrong with them, each with its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from consumer.entrypoints.unit_tests.times import Times, TimeTextError
from consumer.pipeline import tree
from consumer.pipeline.durations import DurationError, parse_duration
from consumer.pipeline.problems import Path as Place
from consumer.pipeline.problems import ProblemList
from consumer.pipeline.rules import found
from consumer.pipeline.wording import closest

_N = TypeVar("_N", tree.Scalar, tree.Sequence, tree.Mapping)


class Form:
    """What reads a value returns None where there is none, or has noted what is wrong with it."""

    def __init__(self, root: tree.Node, problems: ProblemList) -> None:
        self._root = root
        self._problems = problems

    def problem(self, place: Place, message: str, *, at_key: bool = False) -> None:
        """Note a mistake at a value or at its key; where there is neither, at what stands above."""
        node = None if at_key else tree.find(self._root, place)
        self._problems.add(tree.key_index(self._root, place) if node is None else node.start, place, message)

    def line(self, place: Place) -> int:
        """Return the line, from 1, of a key or an item of a list."""
        return self._problems.place(tree.key_index(self._root, place))[0]

    def find(self, place: Place) -> tree.Node | None:
        """Return the node at a place."""
        return tree.find(self._root, place)

    def has(self, place: Place) -> bool:
        """Tell whether anything stands at a place."""
        return self.find(place) is not None

    def plain(self, place: Place) -> Any:
        """Return what stands at a place: None, bool, int, float, str, list or dict."""
        node = self.find(place)
        assert node is not None
        return tree.to_plain(node)

    def mapping(
        self, place: Place, allowed: Sequence[str] | None = None, *, required: Sequence[str] = ()
    ) -> list[str] | None:
        """Return the keys of a mapping; one that is not allowed or is missing is noted, and not returned."""
        node = self._node(place, tree.Mapping, "a mapping (`key: value` lines)")
        if node is None:
            return None
        for key in required:
            if key not in node.entries:
                self._problems.add(node.start, (*place, key), "is required")
        if allowed is None:
            return list(node.entries)
        for key in self.unknown(place, allowed):
            self._unknown_key((*place, key), allowed)
        return [key for key in node.entries if key in allowed]

    def unknown(self, place: Place, allowed: Sequence[str]) -> list[str]:
        """Return the keys of a mapping that are not allowed."""
        node = self.find(place)
        return [key for key in node.entries if key not in allowed] if isinstance(node, tree.Mapping) else []

    def _unknown_key(self, place: Place, allowed: Sequence[str]) -> None:
        meant = closest(str(place[-1]), allowed)
        ask = f"; did you mean `{meant}`?" if meant else "."
        self.problem(place, f"is not a known key{ask} Allowed here: {', '.join(allowed)}", at_key=True)

    def items(self, place: Place, *, at_least_one: bool = False) -> list[Place]:
        """Return the places of a list's items."""
        node = self._node(place, tree.Sequence, "a list (`- item` lines, or [a, b])")
        if node is None:
            return []
        if at_least_one and not node.items:
            self.problem(place, "must not be empty")
        return [(*place, number) for number in range(len(node.items))]

    def text(self, place: Place) -> str | None:
        """Return a text that is not empty: in quotes, or one that YAML takes for nothing else."""
        node = self._node(place, tree.Scalar, "a text")
        value = None if node is None else tree.to_plain(node)
        if node is not None and (not isinstance(value, str) or not value):
            self.problem(place, f"must be a text, and is {'empty' if value == '' else found(value)}")
            return None
        return value

    def word(self, place: Place) -> str | None:
        """Return a single value as the text that stands in the file: `42` is a text here."""
        node = self._node(place, tree.Scalar, "a single value")
        return None if node is None else node.text

    def duration(self, place: Place) -> int | None:
        """Return the milliseconds of a duration."""
        text = self.word(place)
        try:
            return None if text is None else parse_duration(text)
        except DurationError as error:
            self.problem(place, str(error))
            return None

    def time(self, place: Place, times: Times) -> int | None:
        """Return the epoch milliseconds of a time."""
        text = self.word(place)
        try:
            return None if text is None else times.read(text)
        except TimeTextError as error:
            self.problem(place, str(error))
            return None

    def _node(self, place: Place, wanted: type[_N], name: str) -> _N | None:
        node = self.find(place)
        if node is None or node.broken:
            return None
        if not isinstance(node, wanted):
            value = tree.to_plain(node)
            self.problem(place, f"must be {name}, and is {found(value)}", at_key=value is None)
            return None
        return node
