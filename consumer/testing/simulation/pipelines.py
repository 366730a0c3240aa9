"""The pipelines of the simulation: windows of every kind, their rules set against each other. Compiled once."""

from __future__ import annotations

from functools import cache

from consumer.core.compile import Program, compile_pipeline
from consumer.pipeline.load import load_text

_FILE = """\
pipeline: simulated
source: {{stream: simulated, partition_key: user}}
events:
  fields: {{user: string, at: timestamp, page: "string?", n: "int?"}}
  time: at
  out_of_orderness: {bound}
  idle_after: {idle}
  max_future: 1h
windows:
{windows}
sinks: [{{stdout: {{}}}}]
late: {{stdout: {{}}}}
dead_letter: {{stdout: {{}}}}
state: {{table: table, bucket: bucket, commit_interval: {commit}, emit_delay: {emit}}}
limits: {limits}
"""

_TUMBLING = """\
  tumbling:
    tumbling: 10s
    by: [user]
    select: {events: count(), total: sum(n), first: first(page), last: last(n)}
    allowed_lateness: 8s
"""
_FINAL = """\
  final: {tumbling: 7s, by: [user], select: {events: count()}, allowed_lateness: 5s, emit: final}
"""
_SESSION = """\
  session: {session: 6s, by: [user], select: {events: count(), pages: "collect(page, 5)"}, allowed_lateness: 5s}
"""
_LONG_SESSION = """\
  long: {session: {gap: 9s, max_length: 25s}, by: [user], select: {events: count(), dearest: "max_by(page, n)"}}
"""
_SLIDING = """\
  sliding: {sliding: {size: 12s, every: 5s}, by: [user], select: {events: count(), mean: avg(n)}}
"""
_STAGGER = """\
  stagger: {stagger: 11s, by: [user], select: {events: count(), least: min(n)}, allowed_lateness: 4s}
"""
_PARTIAL = """\
  partial: {tumbling: 8s, by: [page], combine: false, select: {events: count(), top: "top(user, 2)"}}
"""
_PARTIAL_LATE = """\
  partial: {tumbling: 15s, by: [page], combine: false, select: {events: count()}, allowed_lateness: 20s}
"""
_GLOBAL = """\
  global: {sliding: {size: 10s, every: 5s}, combine: false, select: {events: count(), total: sum(n)}}
"""
_PARTIAL_SESSION = """\
  partial-session: {session: 3s, by: [page], combine: false, select: {events: count(), last: last(user)}}
"""

_MANY = "{groups: 100000}"

FILES = {
    "mixed": _FILE.format(
        bound="3s", idle="12s", windows=_TUMBLING + _SESSION + _SLIDING + _PARTIAL, commit="5s", emit="1s", limits=_MANY
    ),
    "lateness": _FILE.format(
        bound="1s",
        idle="8s",
        windows=_TUMBLING + _FINAL + _STAGGER + _PARTIAL_LATE,
        commit="3s",
        emit="500ms",
        limits=_MANY,
    ),
    "sessions": _FILE.format(
        bound="4s",
        idle="20s",
        windows=_SESSION + _LONG_SESSION + _PARTIAL_SESSION,
        commit="5s",
        emit="0s",
        limits=_MANY,
    ),
    "early": _FILE.format(
        bound="5s",
        idle="15s",
        windows=_TUMBLING + _SLIDING + _GLOBAL,
        commit="4s",
        emit="2s",
        limits="{groups: 20, policy: emit_early}",
    ),
    "reject": _FILE.format(
        bound="5s",
        idle="never",
        windows=_TUMBLING + _LONG_SESSION + _PARTIAL,
        commit="5s",
        emit="1s",
        limits="{groups: 40, policy: reject}",
    ),
    "partial": _FILE.format(
        bound="2s", idle="10s", windows=_PARTIAL + _GLOBAL + _PARTIAL_SESSION, commit="2s", emit="1s", limits=_MANY
    ),
    "slow": _FILE.format(
        bound="10s", idle="never", windows=_TUMBLING + _STAGGER + _GLOBAL, commit="9s", emit="3s", limits=_MANY
    ),
}

_VIEWS = """\
  views:
    tumbling: 10s
    by: [page]
    combine: true
    buckets: 3
    select: {events: count(), total: sum(n), last: last(user), dearest: "max_by(user, n)", mean: avg(n)}
"""
_ALL = """\
  all: {sliding: {size: 9s, every: 4s}, combine: true, select: {events: count(), pages: count_distinct(page)}}
"""
_ALL_LATE = """\
  late: {tumbling: 12s, by: [page], combine: true, select: {events: count(), top: "top(user, 3)"}, allowed_lateness: 7s}
"""

GLOBAL_FILES = {
    "global": _FILE.format(bound="3s", idle="8s", windows=_VIEWS + _ALL, commit="3s", emit="1s", limits=_MANY),
    "global-late": _FILE.format(
        bound="2s", idle="12s", windows=_TUMBLING + _ALL_LATE + _VIEWS, commit="5s", emit="500ms", limits=_MANY
    ),
    "global-mixed": _FILE.format(
        bound="4s", idle="10s", windows=_SESSION + _ALL + _PARTIAL, commit="4s", emit="2s", limits=_MANY
    ),
}
"""With windows that are combined over all shards."""
FILES |= GLOBAL_FILES


@cache
def program(name: str) -> Program:
    """Return one of FILES, compiled."""
    return compile_pipeline(load_text(FILES[name], f"{name}.yaml", {}))
