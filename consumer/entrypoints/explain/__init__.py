"""`streamgauge explain`: which records made a number. It only reads: items of the state, and the stream.

1. The ledger of each shard says where it stood when (`state/marks.py`).
2. From the last mark before the first event that the window can have, the records are read again and go through the
   code that the worker runs: the rows that come out are the rows that were sent, ids and bytes.
3. On the way each record of the group is noted, with what became of it.
4. Of a global window each shard's part is told, as the row that it would be if the window were partial; and the row
   of all parts, or what it waits for (`combined.py`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from consumer.core.compile import Program, compile_pipeline
from consumer.core.times import format_time
from consumer.entrypoints.explain.answer import Wanted, is_nothing, part_facts
from consumer.entrypoints.explain.combined import combined_facts
from consumer.entrypoints.explain.finding import newest_event_ms, parts_of, replay_at
from consumer.entrypoints.explain.lineage import read_shards
from consumer.entrypoints.explain.question import Question, ask
from consumer.entrypoints.explain.replay import Reading
from consumer.entrypoints.explain.wording import lines
from consumer.entrypoints.state.listing import changed_definitions
from consumer.entrypoints.state.progress import completion_of
from consumer.entrypoints.state.site import Site
from consumer.errors import EXIT_OK, RefusedError
from consumer.pipeline.definitions import definitions_hash
from consumer.pipeline.model import Window
from consumer.state.base import Application

__all__ = ["Wanted", "ask", "explain"]


def explain(site: Site, question: Question, wanted: Wanted, *, as_json: bool) -> int:
    """Tell what made the group's windows; return EXIT_OK. RefusedError if the state is of another file or stream."""
    facts = _facts(site, question, wanted)
    if as_json:
        site.tell(msgspec.json.encode(facts).decode())
    else:
        site.out.writelines(f"{line}\n" for line in lines(facts))
    return EXIT_OK


def _facts(site: Site, question: Question, wanted: Wanted) -> dict[str, Any]:
    application = site.application()
    changes = changed_definitions(site, application)
    if changes:
        raise RefusedError(f"the file is not the one that the state was made with: {'; '.join(changes)}. Give that one")
    reached = completion_of(site, application) if question.window.combined else None
    program = _program_of_parts(site, application)
    question = replace(question, window=_part(question.window))
    reading = Reading(site, program, application, question)
    parts = parts_of(reading, read_shards(site, application))
    at_ms = newest_event_ms(reading, parts) if question.at_ms is None else question.at_ms
    told = [
        part_facts(reading, replay, part.origin, at_ms, wanted)
        for part in parts
        if (replay := replay_at(reading, part, at_ms)) is not None
    ]
    over_all = (
        combined_facts(site, application, reached, _program(site, application), question, told)
        if reached is not None and question.shard is None
        else []
    )
    shown = [part for part in told if not is_nothing(part)] or told[:1]
    return {
        "pipeline": site.pipeline.name,
        "generation": application.generation,
        "window": question.window.name,
        "global": reached is not None,
        "key": dict(question.key),
        "at": format_time(at_ms),
        "exact": all(part["exact"] for part in (*told, *over_all)),
        "combined": over_all,
        "parts": shown,
        "parts_without_the_group": [part["shard"] for part in told if part not in shown],
    }


def _program(site: Site, application: Application) -> Program:
    return compile_pipeline(site.pipeline, incarnations=dict(application.incarnations))


def _program_of_parts(site: Site, application: Application) -> Program:
    """Return the file's program, whose global windows give their parts as rows: of the same definitions otherwise."""
    incarnations = dict(application.incarnations)
    parts = replace(site.pipeline, windows=tuple(map(_part, site.pipeline.windows)))
    return replace(
        compile_pipeline(parts, incarnations=incarnations), definitions=definitions_hash(site.pipeline, incarnations)
    )


def _part(window: Window) -> Window:
    return replace(window, buckets=None)
