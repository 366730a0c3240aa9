"""The types of events: one attribute for each declared field, wherever in the record its value stands."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import msgspec

from consumer.pipeline.model import Field, Type

_INDEX_MAX = 63
"""An array that is looked at beyond this index has no struct of its own."""

_Node = dict[str | int, Any]
"""What stands below a place in the document: for each member or index looked at, a field or another node."""


def attribute(field: str) -> str:
    """Return the event's attribute for a field: a name that is never a Python keyword."""
    return f"f_{field}"


def flat_event(fields: tuple[Field, ...]) -> type[msgspec.Struct]:
    """Return a struct that takes the fields' values in their order."""
    return msgspec.defstruct("Event", [(attribute(field.name), Any) for field in fields], gc=False)


def typed_event(fields: tuple[Field, ...], wire_types: dict[Type, Any]) -> type[msgspec.Struct] | None:
    """Return a struct that msgspec can decode a document into, None if no struct can say what the paths say.

    Nested values have structs of their own, arrays among them; nothing but what leads to a field is validated.
    """
    root = _tree(fields)
    if root is None or not _expressible(root) or not _is_object(root):
        return None
    getters: dict[str, Any] = {}
    _collect_getters(root, (), getters)
    return _Structs(wire_types).make(root, getters)


def _tree(fields: tuple[Field, ...]) -> _Node | None:
    """Return the root, None if a path leads through another one's end."""
    root: _Node = {}
    for field in fields:
        node = root
        for step in field.path[:-1]:
            node = node.setdefault(step, {})
            if isinstance(node, Field):
                return None
        if field.path[-1] in node:
            return None
        node[field.path[-1]] = field
    return root


def _is_object(node: _Node) -> bool:
    return all(isinstance(step, str) for step in node)


def _expressible(node: _Node) -> bool:
    """Tell whether structs can be made: each node an object or a short array, names as msgspec takes them."""
    below = all(_expressible(each) for each in node.values() if not isinstance(each, Field))
    if _is_object(node):
        return below and all(_can_name(str(step)) for step in node)
    return below and all(isinstance(step, int) and step <= _INDEX_MAX for step in node)


def _can_name(member: str) -> bool:
    return all(character >= " " and character not in '"\\' for character in member)


def _optional(node: _Node | Field) -> bool:
    """Tell whether null may stand here: whether all fields below may be null."""
    return node.nullable if isinstance(node, Field) else all(map(_optional, node.values()))


def _member(step: str | int, node: _Node | Field) -> str:
    if isinstance(node, Field):
        return attribute(node.name)
    return f"i_{step}" if isinstance(step, int) else f"m_{step.encode().hex()}"


def _collect_getters(node: _Node, above: tuple[tuple[str, bool], ...], getters: dict[str, Any]) -> None:
    """Add to `getters` a property for each field that stands deeper than the top level."""
    for step, below in node.items():
        place = (*above, (_member(step, below), _optional(below)))
        if not isinstance(below, Field):
            _collect_getters(below, place, getters)
        elif above:
            getters[attribute(below.name)] = property(_getter(place))


def _getter(place: tuple[tuple[str, bool], ...]) -> Callable[[Any], Any]:
    names = [name for name, _ in place]
    if not any(optional for _, optional in place[:-1]):
        return attrgetter(".".join(names))

    def get(value: Any) -> Any:
        for name in names:
            if value is None:
                return None
            value = getattr(value, name)
        return value

    return get


class _Structs:
    """Makes the structs of a tree."""

    def __init__(self, wire_types: dict[Type, Any]) -> None:
        self._wire_types = wire_types

    def make(self, node: _Node, namespace: dict[str, Any] | None = None) -> type[msgspec.Struct]:
        if _is_object(node):
            return self._object(node, namespace)
        return self._array(node)

    def _object(self, node: _Node, namespace: dict[str, Any] | None) -> type[msgspec.Struct]:
        members = [self._member(step, below, default=_optional(below)) for step, below in node.items()]
        names = {_member(step, below): str(step) for step, below in node.items()}
        return msgspec.defstruct("Event", members, rename=names, namespace=namespace, gc=False, kw_only=True)

    def _array(self, node: _Node) -> type[msgspec.Struct]:
        """Make a struct of the elements up to the last that is looked at; it may end after the last needed one."""
        indexes = [step for step in node if isinstance(step, int)]
        needed = max((index for index in indexes if not _optional(node[index])), default=-1)
        members: list[Any] = []
        for index in range(max(indexes) + 1):
            if index in node:
                members.append(self._member(index, node[index], default=index > needed))
            else:
                members.append((f"i_{index}", msgspec.Raw, *([None] if index > needed else [])))
        return msgspec.defstruct("Array", members, array_like=True, gc=False)

    def _member(self, step: str | int, below: _Node | Field, *, default: bool) -> tuple[Any, ...]:
        wire_type = self._wire_types[below.type] if isinstance(below, Field) else self.make(below)
        if _optional(below):
            wire_type |= None
        return (_member(step, below), wire_type, *([None] if default else []))
