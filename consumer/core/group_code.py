"""The generated functions of one window: its group class, and how groups are merged, shown and stored."""

from __future__ import annotations

from consumer.core.accumulators import Accumulators, text_of
from consumer.core.expressions import Emitter
from consumer.pipeline.model import Pipeline, Session, Sliding, Stagger, Type, Window


class GroupCode:
    """Writes the functions of window number `number` of a pipeline. `hash_` is the window's, for the ids."""

    def __init__(self, pipeline: Pipeline, number: int, accumulators: Accumulators, hash_: str) -> None:
        self._pipeline = pipeline
        self._number = number
        self._window = pipeline.windows[number]
        self._accumulators = accumulators
        self._hash = hash_
        self._keys = [f"k{place}" for place in range(len(self._window.by))]
        self._kept = kept_attributes(self._window, evicts=pipeline.limits.policy == "emit_early")
        self._in_panes = not isinstance(self._window.kind, Session | Stagger)
        self._is_partial = not (self._window.aligned or self._window.combined)

    def emit(self, emit: Emitter) -> None:
        """Write everything."""
        self._class(emit)
        self._merge(emit)
        if self._window.combined:
            self._combine(emit)
        self._row_id(emit)
        self._row(emit)
        self._pack(emit)
        self._pack_rows(emit)
        self._unpack(emit)
        self._unpack_rows(emit)

    def _class(self, emit: Emitter) -> None:
        kept = self._kept
        attributes = [*self._unstored(), *kept, *self._accumulators.attributes()]
        with emit.block(f"class Group{self._number}:"):
            emit.line(f'"""A group of {self._window.name}."""')
            emit.line(f"__slots__ = {tuple(attributes)!r}")
            with emit.block("def __init__(self):"):
                for name in self._accumulators.attributes():
                    emit.line(f"self.{name} = {self._accumulators.initial(name)}")
                for name in kept:
                    if name in _INITIAL:
                        emit.line(f"self.{name} = {_INITIAL[name]}")
                for name in self._unstored():
                    emit.line(f"self.{name} = None")
                if not self._accumulators.attributes():
                    emit.line("pass")
        emit.line("")

    def _unstored(self) -> list[str]:
        """Return the attributes that no entry tells: `turn` (see keyed.py)."""
        return [] if self._in_panes else ["turn"]

    def _merge(self, emit: Emitter) -> None:
        with emit.block(f"def merge{self._number}(group, later):"):
            emit.line(f'"""Add a later group of {self._window.name}."""')
            self._accumulators.emit_merge(emit)
        emit.line("")

    def _combine(self, emit: Emitter) -> None:
        with emit.block(f"def combine{self._number}(group, later):"):
            emit.line(f'"""Add a group of {self._window.name} of another shard."""')
            self._accumulators.emit_combine(emit)
        emit.line("")

    def _unpacking(self) -> str:
        """Return the target that a key is unpacked into."""
        return self._keys[0] if len(self._keys) == 1 else f"({''.join(f'{name}, ' for name in self._keys)})"

    def _row_id(self, emit: Emitter) -> None:
        key = f"({''.join(f'{name}, ' for name in self._keys)})"
        origin = "origin" if self._is_partial else "None"
        with emit.block(f"def row_id{self._number}(generation, key, start_ms, revision, part, late_at_ms, origin):"):
            if self._keys:
                emit.line(f"{self._unpacking()} = key")
            arguments = f"{self._pipeline.name!r}, generation, {self._hash!r}, {key}, start_ms, revision, part"
            emit.line(f"return result_id({arguments}, {origin}, late_at_ms)")
        emit.line("")

    def _row(self, emit: Emitter) -> None:
        window = self._window
        arguments = "origin, row_id, key, group, start_ms, end_ms, revision, final, extra"
        with emit.block(f"def row{self._number}({arguments}):"):
            if self._keys:
                emit.line(f"{self._unpacking()} = key")
            with emit.block(f"return Row({window.name!r}, encode({{"):
                emit.line("'id': row_id,")
                emit.line(f"'pipeline': {self._pipeline.name!r},")
                emit.line(f"'window': {window.name!r},")
                emit.line("'window_start': format_time(start_ms),")
                emit.line("'window_end': format_time(end_ms),")
                for name, column in zip(self._keys, window.by, strict=True):
                    emit.line(f"{column.name!r}: {text_of(name, column.type, nullable=column.nullable)},")
                for aggregate in window.select:
                    emit.line(f"{aggregate.name!r}: {self._accumulators.result(aggregate)},")
                emit.line("'revision': revision,")
                emit.line("'final': final,")
                emit.line("**extra,")
                if self._is_partial:
                    emit.line("'shard': origin,")
                    emit.line("'partial': True,")
            emit.line("}))")
        emit.line("")

    def _packed(self) -> str:
        kept = [f"group.{name}" for name in self._kept]
        packed = [self._accumulators.packed(name) for name in self._accumulators.attributes()]
        return ", ".join([*self._keys, *kept, *packed])

    def _pack(self, emit: Emitter) -> None:
        with emit.block(f"def pack{self._number}(key, group):"):
            if self._keys:
                emit.line(f"{self._unpacking()} = key")
            emit.line(f"return [{self._packed()}]")
        emit.line("")

    def _pack_rows(self, emit: Emitter) -> None:
        """Write the same for many at once: what a call costs is a good part of what a row costs."""
        with emit.block(f"def pack_rows{self._number}(pane_ms, pairs):"):
            target = self._unpacking() if self._keys else "_"
            front = "pane_ms, " if self._in_panes else ""
            emit.line(f"return [[{front}{self._packed()}] for {target}, group in pairs]")
        emit.line("")

    def _unpack_values(self, emit: Emitter, *, front: str = "") -> None:
        """Write how a group is made of its values; none of its attributes is left out."""
        kept = [f"group.{name}" for name in self._kept]
        unpacked = {
            f"group.{name}": self._accumulators.unpacked(name, f"group.{name}")
            for name in self._accumulators.attributes()
        }
        emit.line(f"group = new(Group{self._number})")
        emit.line(f"[{front}{', '.join([*self._keys, *kept, *unpacked])}] = values")
        for place, value in unpacked.items():
            if value != place:
                emit.line(f"{place} = {value}")
        for name in self._unstored():
            emit.line(f"group.{name} = None")

    def _unpack(self, emit: Emitter) -> None:
        with emit.block(f"def unpack{self._number}(values):"):
            emit.line("new = object.__new__")
            self._unpack_values(emit)
            emit.line(f"return {self._unpacking()}, group")
        emit.line("")

    def _unpack_rows(self, emit: Emitter) -> None:
        with emit.block(f"def unpack_rows{self._number}(rows):"):
            emit.line("new, pane_ms = object.__new__, None")
            with emit.block("for values in rows:"):
                self._unpack_values(emit, front="pane_ms, " if self._in_panes else "")
                emit.line(f"yield pane_ms, {self._unpacking()}, group")
        emit.line("")


_INITIAL = {
    "late_at_ms": "None",
    "part": "None",
    "revision": "0",
    "pending": "False",
    "last_id": "None",
    "replaced": "None",
}


def kept_attributes(window: Window, *, evicts: bool) -> list[str]:
    """Return what groups keep besides their accumulators. `evicts`: groups may be emitted early.

    first_ms, last_ms: the times of the first and the last event.
    late_at_ms: None, or the watermark at which the first event came if it would have been late alone.
    part: which part the group is; None if no group of its name was emitted early.
    revision: that of the next row.
    pending: whether the group has changed since its last row.
    last_id, replaced: of the last row, and of earlier ones that the next row replaces.
    """
    session = isinstance(window.kind, Session)
    keyed = session or isinstance(window.kind, Stagger)
    names = ["first_ms"] if keyed else []
    names += ["last_ms", "late_at_ms"] if session else []
    names += ["part"] if keyed and evicts else []
    if gives_updates(window) and not isinstance(window.kind, Sliding):
        names += ["revision", "pending"] if keyed else ["revision"]
        names += ["last_id", "replaced"] if session else []
    return names


def gives_updates(window: Window) -> bool:
    """Tell whether late events give rows of their own."""
    return window.allowed_lateness_ms > 0 and window.emit == "updates"


def keeper_of(pipeline: Pipeline) -> int | None:
    """Return a window whose keys are the partition keys: those that it has a group of belong to the shard.

    It is looked up once for an event: no other window can take its group away, unless groups are emitted early.
    """
    if pipeline.limits.policy == "emit_early":
        return None
    for number, window in enumerate(pipeline.windows):
        by = [(name.name, name.type) for name in window.by]
        keyed = isinstance(window.kind, Session | Stagger) and window.aligned
        if keyed and by == [(pipeline.source.partition_key, Type.STRING)]:
            return number
    return None
