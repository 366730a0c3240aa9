"""What the core's open groups cost: bytes, pauses, the closing of very many at once, and the limits that hold them.

Run as `python -m bench.memory`; see bench/README.md. Each measurement runs in a process of its own. Prints one line a
figure, `name value unit`; what it is doing goes to standard error.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from bench.core_report import facts, tell, write_json, write_section
from bench.memory_stream import SELECT
from bench.report import Figure
from consumer.errors import EXIT_FAILURE, EXIT_OK
from consumer.runtime import clock

Found = Mapping[str, float]

SESSION_BYTES_MAX = 450
PAUSE_MAX = 3.0
"""p99.9 of a batch, in medians."""
CLOSING_MAX = 3.0
"""The longest step while everything closes, in medians of these steps."""
LEFT_MAX = 0.01
"""Pieces of memory that are left behind when sessions have ended, a session."""

KINDS = {"session": "session: {gap: 2h}", "tumbling": "tumbling: 2h"}
GROUPS: Mapping[str, tuple[str, str, str]] = {
    "session, 1 aggregate": ("session: {gap: 2h}", "user", "events: count()"),
    "session, 3 aggregates": ("session: {gap: 2h}", "user", SELECT),
    "session by 2 columns, 3 aggregates": ("session: {gap: 2h}", "user, page", SELECT),
    "session with lateness, 3 aggregates": ("session: {gap: 2h}, allowed_lateness: 1m", "user", SELECT),
    "tumbling, 3 aggregates": ("tumbling: 2h", "user", SELECT),
    "stagger, 3 aggregates": ("stagger: 2h", "user", SELECT),
    "sliding, 4 windows, 3 aggregates": ("sliding: {size: 2h, every: 30m}", "user", SELECT),
    "session, first and last text": ("session: {gap: 2h}", "user", "events: count(), a: first(page), b: last(kind)"),
    "session, count_distinct": ("session: {gap: 2h}", "user", "events: count(), a: count_distinct(page)"),
    "session, quantile": ("session: {gap: 2h}", "user", "events: count(), a: 'quantile(amount, 0.5)'"),
    "session, top": ("session: {gap: 2h}", "user", "events: count(), a: 'top(page, 3)'"),
}
"""Windows whose groups are measured: kind, by, select. Each group has one event."""

POLICIES = ("reject", "emit_early")


class Scale(msgspec.Struct, frozen=True):
    """How much is measured: open groups, batches, groups of each kind, distinct keys of the limits.

    The limits have so much memory, of which `check` may tell so much for `limits.groups`, by policy. Groups that may be
    emitted early take more, and leave their names behind.
    """

    groups: int
    batches: int
    groups_of_kind: int
    keys: int
    memory_mib: int
    state_mib: Mapping[str, int]


FULL = Scale(1_000_000, 2_000, 50_000, 10_000_000, 512, {"reject": 256, "emit_early": 96})
QUICK = Scale(100_000, 500, 20_000, 200_000, 128, {"reject": 16, "emit_early": 8})


def main() -> int:
    """Measure, print, write; EXIT_OK whatever the figures are, EXIT_FAILURE if a measurement failed."""
    options = _parser().parse_args()
    scale = QUICK if options.quick else FULL
    try:
        found = measure(scale)
    except subprocess.CalledProcessError as error:
        tell(f"{error.cmd} failed:\n{error.stderr}")
        return EXIT_FAILURE
    for figure in figures(found, scale):
        print(figure)
    if options.quick:
        tell("nothing was written: these were few groups")
    else:
        write(found, scale)
    return EXIT_OK


def measure(scale: Scale) -> dict[str, Found]:
    """Take all measurements, those of times alone, the others as many at once as there are cores."""
    timed: dict[str, list[str | int]] = {}
    for name, kind in KINDS.items():
        timed[f"busy {name}"] = ["busy", kind, scale.groups, scale.batches]
    sized: dict[str, list[str | int]] = {}
    for policy in POLICIES:
        sized[f"limited {policy}"] = ["limited", policy, scale.keys, scale.memory_mib, scale.state_mib[policy]]
    sized["sessions"] = ["sessions", scale.groups]
    sized |= {f"group {name}": ["group_bytes", *group, scale.groups_of_kind] for name, group in GROUPS.items()}
    found = {name: run(arguments) for name, arguments in timed.items()}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found |= dict(zip(sized, pool.map(run, sized.values()), strict=True))
    return found


def run(arguments: Sequence[str | int]) -> Found:
    """Take one measurement in a process of its own; CalledProcessError if it fails."""
    tell(" ".join(map(str, arguments)))
    command = [sys.executable, "-m", "bench.memory_run", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return msgspec.json.decode(done.stdout, type=dict[str, float])


def figures(found: Mapping[str, Found], scale: Scale) -> Iterator[Figure]:
    """Yield all figures."""
    sessions = found["sessions"]
    yield from _session_figures(sessions, scale.groups)
    for kind in KINDS:
        yield from _busy_figures(f"memory_{kind}", found[f"busy {kind}"])
    for policy in POLICIES:
        limited = found[f"limited {policy}"]
        yield Figure(f"memory_limit_{policy}_groups", limited["groups"], "groups")
        yield Figure(f"memory_limit_{policy}_keys", scale.keys, "keys")
        yield Figure(f"memory_limit_{policy}_peak", limited["peak"] / (1 << 20), "MiB")
        yield Figure(f"memory_limit_{policy}_early", limited["early"], "rows")
        yield Figure(f"memory_limit_{policy}_dead_letters", limited["dead_letters"], "records")
        verdict = "met" if adds_up(limited) else "not_met"
        yield Figure(f"memory_limit_{policy}_adds_up", verdict, "events_and_dead_letters_are_the_records")
    for name in GROUPS:
        group, title = found[f"group {name}"], name.replace(", ", "_").replace(" ", "_")
        yield Figure(f"memory_group_{title}", group["measured"], "bytes")
        yield Figure(f"memory_group_{title}_estimate", group["estimate"] / group["measured"], "of_measured")


def _session_figures(sessions: Found, groups: int) -> Iterator[Figure]:
    largest = max(sessions["open_first"], sessions["committed_first"]) / groups
    yield Figure("memory_session_open", sessions["open_first"] / groups, "bytes")
    yield Figure("memory_session_committed", sessions["committed_first"] / groups, "bytes")
    yield Figure("memory_session_goal", _verdict(met=largest <= SESSION_BYTES_MAX), f"at_most_{SESSION_BYTES_MAX}")
    for turn in ("first", "second"):
        yield Figure(f"memory_session_left_{turn}", sessions[f"left_{turn}"] / (1 << 20), "MiB")
        yield Figure(f"memory_session_left_blocks_{turn}", sessions[f"left_blocks_{turn}"], "blocks")
    left = max(sessions["left_blocks_first"], sessions["left_blocks_second"]) / groups
    yield Figure("memory_session_left", left, "blocks_per_session")
    yield Figure("memory_session_left_goal", _verdict(met=left <= LEFT_MAX), f"at_most_{LEFT_MAX}")


def _busy_figures(name: str, busy: Found) -> Iterator[Figure]:
    for part in ("p50", "p99", "p999"):
        yield Figure(f"{name}_batch_{part}", busy[f"batch_{part}"] * 1000, "cpu_ms")
        yield Figure(f"{name}_batch_wall_{part}", busy[f"batch_wall_{part}"] * 1000, "ms")
    pause = busy["batch_p999"] / busy["batch_p50"]
    yield Figure(f"{name}_pause", pause, "medians")
    yield Figure(f"{name}_pause_goal", _verdict(met=pause <= PAUSE_MAX), f"at_most_{PAUSE_MAX:g}")
    yield Figure(f"{name}_commit", busy["commit"], "cpu_s")
    yield Figure(f"{name}_closing", busy["closing_total"], "cpu_s")
    yield Figure(f"{name}_closing_longest", busy["closing_longest"], "cpu_s")
    longest = busy["closing_longest"] / busy["closing_median"]
    yield Figure(f"{name}_closing_longest_to_median", longest, "medians")
    yield Figure(f"{name}_closing_goal", _verdict(met=longest <= CLOSING_MAX), f"at_most_{CLOSING_MAX:g}")
    yield Figure(f"{name}_closing_more_memory", busy["closing_more_bytes"] / (1 << 20), "MiB")


def _verdict(*, met: bool) -> str:
    return "met" if met else "not_met"


def adds_up(limited: Found) -> bool:
    """Tell whether every record is in one row or a dead letter."""
    return limited["events"] + limited["dead_letters"] == limited["received"]


def write(found: Mapping[str, Found], scale: Scale) -> None:
    """Write the memory's part of bench/core.json and of docs/performance.md."""
    measured_at = dt.datetime.fromtimestamp(clock.now_ms() / 1000, dt.UTC).isoformat(timespec="seconds")
    machine = facts("msgspec")
    made = list(figures(found, scale))
    content = {"measured_at": measured_at, "machine": machine, "scale": scale, "figures": made, "found": found}
    write_json("memory", content)
    write_section("memory", markdown(found, scale, measured_at, machine))
    tell("wrote core.json and performance.md")


def markdown(found: Mapping[str, Found], scale: Scale, measured_at: str, machine: Mapping[str, str | int]) -> str:
    """Return the tables."""
    values = {figure.name: figure.value for figure in figures(found, scale)}
    lines = [f"Measured on {measured_at[:10]}: {', '.join(f'{name} {value}' for name, value in machine.items())}.", ""]
    lines += [*_session_lines(values, scale), "", *_busy_table(found, scale), "", *_goals(values), ""]
    lines += [*_limit_table(found, scale), "", *_group_table(found)]
    return "\n".join(lines)


def _session_lines(values: Mapping[str, float | str], scale: Scale) -> Iterator[str]:
    yield (
        f"{scale.groups:,} open sessions with three aggregates and keys of 13 characters: "
        f"**{values['memory_session_open']:.0f} bytes** each, {values['memory_session_committed']:.0f} after a commit; "
        f"wanted: at most {SESSION_BYTES_MAX}, {_words(values['memory_session_goal'])}. When they have ended, "
        f"{values['memory_session_left_first']:.0f} MiB are still the process's, free for what comes next, and after a "
        f"second such round {values['memory_session_left_second']:.0f} MiB; of Python's objects "
        f"{float(values['memory_session_left']):.3f} a session are left, wanted: at most {LEFT_MAX}, "
        f"{_words(values['memory_session_left_goal'])}."
    )


def _busy_table(found: Mapping[str, Found], scale: Scale) -> Iterator[str]:
    groups = f"{scale.groups:,} open groups"
    yield f"Batches of 1,000 records with {groups}, in CPU milliseconds; then all of them are closed at once:"
    yield ""
    yield "| | p50 | p99 | p99.9 | closing all | its longest step | its median step | more memory |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for kind in KINDS:
        busy = found[f"busy {kind}"]
        batch = " | ".join(f"{busy[f'batch_{part}'] * 1000:.1f}" for part in ("p50", "p99", "p999"))
        steps = " | ".join(f"{busy[f'closing_{part}'] * 1000:,.0f} ms" for part in ("longest", "median"))
        more = f"{busy['closing_more_bytes'] / (1 << 20):.0f} MiB"
        yield f"| {kind} | {batch} | {busy['closing_total']:.1f} s | {steps} | {more} |"


def _goals(values: Mapping[str, float | str]) -> Iterator[str]:
    for kind in KINDS:
        pause, longest = values[f"memory_{kind}_pause"], values[f"memory_{kind}_closing_longest_to_median"]
        verdicts = [_words(values[f"memory_{kind}_{goal}_goal"]) for goal in ("pause", "closing")]
        yield (
            f"- {kind}: the p99.9 of a batch is {pause:.1f} medians; wanted: {PAUSE_MAX:g}, {verdicts[0]}. The longest "
            f"step of the closing is {longest:.1f} medians; wanted: {CLOSING_MAX:g}, {verdicts[1]}."
        )


def _limit_table(found: Mapping[str, Found], scale: Scale) -> Iterator[str]:
    yield f"{scale.keys:,} distinct keys in a process that may have {scale.memory_mib} MiB (RLIMIT_DATA):"
    yield ""
    yield "| policy | `limits.groups` | as `check` tells | largest size | rows | early | dead letters | adds up |"
    yield "|---|---:|---:|---:|---:|---:|---:|---|"
    for policy in POLICIES:
        limited = found[f"limited {policy}"]
        numbers = " | ".join(f"{limited[name]:,.0f}" for name in ("rows", "early", "dead_letters"))
        peak = f"{limited['peak'] / (1 << 20):.0f} MiB"
        verdict = "yes" if adds_up(limited) else "**no**"
        state = f"{limited['groups']:,.0f} | {scale.state_mib[policy]} MiB"
        yield f"| {policy} | {state} | {peak} | {numbers} | {verdict} |"


def _group_table(found: Mapping[str, Found]) -> Iterator[str]:
    yield "Bytes of an open group of one event, and what `streamgauge check` tells:"
    yield ""
    yield "| window | measured | `check` |"
    yield "|---|---:|---:|"
    for name in GROUPS:
        group = found[f"group {name}"]
        yield f"| {name} | {group['measured']:.0f} | {group['estimate']:.0f} |"


def _words(verdict: float | str) -> str:
    return "met" if verdict == "met" else "**not met**"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measures what open groups cost.")
    parser.add_argument("--quick", action="store_true", help="few groups: a minute, less exact, nothing is written")
    return parser


if __name__ == "__main__":
    sys.exit(main())
