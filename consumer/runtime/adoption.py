"""A pipeline whose definitions have changed meets old state: which changes are adopted, and who decides.

1. Windows may be added and removed. What becomes of what is open of a removed one must be told, by name, in the file
   (`state.removed_windows`): flush or drop; of a global one only drop, as what its shards have open could not be
   combined any more. Everything else that differs is refused, whatever is told.
2. A worker adopts at its start, by one conditional update of the application item, before it takes any shard. The item
   then says all that anybody needs to carry an old state over: the definitions before, their windows' incarnations, and
   what was told of the removed ones. What is told later, or in another worker's file, does not count.
3. A window that is added gets the number of its adoption as its incarnation, which is part of its ids: one that was
   removed and comes again never gives an old id a new content.
4. Workers of the old definitions go on with the shards they have, and are refused others. The state of a shard is
   carried over by its next owner (carrying.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from consumer.core.compile import Program, compile_pipeline
from consumer.errors import RefusedError
from consumer.pipeline.definitions import definitions_hash, definitions_text
from consumer.pipeline.differences import differences, global_window_names, window_changes, window_names
from consumer.pipeline.model import Pipeline
from consumer.pipeline.recall import recalled
from consumer.state.base import Application, Definitions, RemovedWindow

EARLIER_MAX = 50
EARLIER_CHARACTERS_MAX = 100_000
"""How many earlier definitions are kept, and how long their texts are together: the item has room for 400 KB."""
REMOVED_MAX = 500

_OTHER_WAYS = (
    "go back to the file as it was; or count everything anew, with `streamgauge state reset --yes FILE`; or give the "
    "pipeline a new name (and worker.application) to run it beside the old one"
)

Store = Callable[[Application, Application], Application]
"""`adopt` of a state store."""


def adopt(stored: Application, pipeline: Pipeline, store: Store) -> Application:
    """Return the application item of these definitions: the stored one, or one that is stored now in its place.

    RefusedError if they differ from the stored ones by more than rule 1 allows.
    """
    while (wanted := adopted(stored, pipeline)) != stored:
        stored = store(stored, wanted)
    return stored


def adopted(stored: Application, pipeline: Pipeline) -> Application:
    """Return the application item as it has to be for the definitions of a pipeline; RefusedError as above."""
    if definitions_hash(pipeline, dict(stored.incarnations)) == stored.definitions:
        return stored
    meaning = definitions_text(pipeline)
    changes = window_changes(stored.meaning, meaning) if stored.meaning else None
    if changes is None:
        raise RefusedError(
            f"the definitions of pipeline {pipeline.name} have changed since its state was made"
            f"{changes_since(stored.meaning, meaning)}. Windows may be added and removed, nothing else may change: "
            f"{_OTHER_WAYS}"
        )
    removed = _removed(stored, pipeline, changes.removed)
    number, before = stored.adoptions + 1, dict(stored.incarnations)
    incarnations = {window.name: before.get(window.name, 0) for window in pipeline.windows}
    incarnations |= dict.fromkeys(changes.added, number)
    kept = tuple(sorted((name, each) for name, each in incarnations.items() if each))
    definitions = definitions_hash(pipeline, dict(kept))
    earlier = [each for each in present_and_earlier(stored) if each.hash != definitions]
    return msgspec.structs.replace(
        stored,
        definitions=definitions,
        meaning=meaning,
        adoptions=number,
        incarnations=kept,
        earlier=tuple(_bounded(earlier)),
        removed=(*stored.removed, *removed)[-REMOVED_MAX:],
    )


def _removed(stored: Application, pipeline: Pipeline, names: Sequence[str]) -> list[RemovedWindow]:
    """Return what is told of the windows that are removed; RefusedError if it is not told of each."""
    told, incarnations = dict(pipeline.state.removed_windows), dict(stored.incarnations)
    combined = global_window_names(stored.meaning)
    untold = [name for name in names if name not in told]
    if untold:
        possible = {name: "drop" if name in combined else "flush" for name in untold}
        raise RefusedError(
            f"{_windows(untold)}: no longer in the file of pipeline {pipeline.name}, and its state may hold what is "
            f"open of {'them' if len(untold) > 1 else 'it'}. Say in the file what becomes of that: "
            f"{_to_tell(possible)}. Or {_OTHER_WAYS}"
        )
    flushed = [name for name in names if name in combined and told[name] == "flush"]
    if flushed:
        raise RefusedError(
            f"{_windows(flushed)}: global, and no longer in the file of pipeline {pipeline.name}: what its shards have "
            "open could not be combined any more, and a part of it is no result. Have it thrown away: "
            f"{_to_tell(dict.fromkeys(flushed, 'drop'))}. Or {_OTHER_WAYS}"
        )
    return [RemovedWindow(name, incarnations.get(name, 0), told[name]) for name in names]


def _windows(names: Sequence[str]) -> str:
    return ", ".join(f"windows.{name}" for name in names)


def _to_tell(removals: Mapping[str, str]) -> str:
    """Return what to write of removed windows, and what it does."""
    lines = ", ".join(f"{name}: {removal}" for name, removal in removals.items())
    written = f"`state: {{removed_windows: {{{lines}}}}}`"
    if "flush" not in removals.values():
        return f"{written} throws it away"
    return f"{written} emits it as it is, at once; `drop` in the place of `flush` throws it away"


def _bounded(earlier: Sequence[Definitions]) -> list[Definitions]:
    """Return as many as there is room for, the newest of them, in their order."""
    kept: list[Definitions] = []
    for each in reversed(earlier[-EARLIER_MAX:]):
        if sum(len(other.text) for other in kept) + len(each.text) > EARLIER_CHARACTERS_MAX:
            break
        kept.append(each)
    return kept[::-1]


def changes_since(before: str, after: str) -> str:
    """Return what differs between two texts of definitions, to be put behind words; empty if one is not known."""
    return ": " + "; ".join(differences(before, after)) if before and after else ""


def present_and_earlier(application: Application) -> Iterator[Definitions]:
    """Yield all definitions that states of an application may be of, those of today last."""
    yield from application.earlier
    yield Definitions(application.definitions, application.meaning, application.incarnations)


def former_windows(application: Application) -> frozenset[str]:
    """Return the names of windows that earlier definitions have: rows of theirs may still have to be sent."""
    return frozenset(name for earlier in application.earlier for name in window_names(earlier.text))


class Programs:
    """The programs of an application's definitions, each compiled when a state is found that is of it. Thread-safe."""

    def __init__(self) -> None:
        self._compiled: dict[str, Program] = {}
        self._lock = threading.Lock()

    def of(self, definitions: str, application: Application, today: Program) -> Program:
        """Return the program of the definitions of a hash; `today` is the one that is there already.

        RefusedError if the application does not know them.
        """
        if definitions == today.definitions:
            return today
        with self._lock:
            program = self._compiled.get(definitions)
            if program is None:
                program = self._compiled[definitions] = _compiled(definitions, application, today.pipeline)
            return program


def _compiled(definitions: str, application: Application, today: Pipeline) -> Program:
    for known in present_and_earlier(application):
        if known.hash == definitions and known.text:
            return compile_pipeline(recalled(known.text, today), incarnations=dict(known.incarnations))
    raise RefusedError(
        f"the state is of definitions that pipeline {today.name} does not know (hash {definitions[:12]}…): "
        f"it was left behind by more than {EARLIER_MAX} changes, or is another pipeline's"
    )
