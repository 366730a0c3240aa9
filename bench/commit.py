"""What a commit costs by what is held and what has changed, what a restore costs, and what merging does meanwhile.

Run as `python -m bench.commit`; see bench/README.md. Each state is measured in a process of its own. Prints one line a
figure, `name value unit`; what it is doing goes to standard error.
"""

from __future__ import annotations

import argparse
import datetime as dt
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from bench.core_report import facts, tell, write_json, write_section
from bench.report import Figure
from consumer.errors import EXIT_FAILURE, EXIT_OK
from consumer.runtime import clock

RATIO_MAX = 3.0
"""What a commit and a restore may cost at most, in bare encodings and decodings of the same bytes."""
GOAL_CHANGED = 1_000
LONGEST_MAX_MS = 50.0
"""How long a merge may keep the other threads from their turn."""


class Scale(msgspec.Struct, frozen=True):
    """The states, what changes in them where there is as much, and how often."""

    held: Sequence[int]
    changed: Sequence[int]
    repeats: int


FULL = Scale((1_000, 10_000, 100_000, 1_000_000), (100, 1_000, 10_000, 100_000), 7)
QUICK = Scale((1_100, 10_000), (100, 1_000), 3)

Measured = Mapping[str, float]
Found = Mapping[int, Mapping[str, Measured]]
"""By what is held: what was measured, by what changed, and `restore` and `merge`."""


def main() -> int:
    """Measure, print, write; EXIT_OK whatever the figures are, EXIT_FAILURE if a measurement failed."""
    options = _parser().parse_args()
    scale = QUICK if options.quick else FULL
    try:
        found = {held: run(held, scale) for held in scale.held}
    except subprocess.CalledProcessError as error:
        tell(f"{error.cmd} failed:\n{error.stderr}")
        return EXIT_FAILURE
    for figure in figures(found):
        print(figure)
    if options.quick:
        tell("nothing was written: these were small states")
    else:
        write(found, scale)
    return EXIT_OK


def run(held: int, scale: Scale) -> Mapping[str, Measured]:
    """Measure one state; CalledProcessError if that fails."""
    tell(f"{held} groups held")
    changed = [str(each) for each in scale.changed if each <= held]
    command = [sys.executable, "-m", "bench.commit_run", str(held), str(scale.repeats), *changed]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return msgspec.json.decode(done.stdout, type=dict[str, dict[str, float]])


def figures(found: Found) -> Iterator[Figure]:
    """Yield all figures."""
    for held, measured in found.items():
        for changed, commit in _commits(measured):
            name = f"commit_{held}_held_{changed}_changed"
            yield Figure(name, commit["seconds"] * 1000, "cpu_ms")
            yield Figure(f"{name}_ratio", commit["ratio"], "bare_encodings")
            yield Figure(f"{name}_written", commit["bytes"], "bytes")
        restore, merge = measured["restore"], measured["merge"]
        yield Figure(f"restore_{held}", restore["seconds"] * 1000, "cpu_ms")
        yield Figure(f"restore_{held}_ratio", restore["ratio"], "bare_decodings")
        yield Figure(f"merge_{held}", merge["seconds"] * 1000, "cpu_ms")
        yield Figure(f"merge_{held}_longest", merge["longest"] * 1000, "cpu_ms")
    for name, value, most in goals(found):
        yield Figure(f"{name}_goal", "met" if value <= most else "not_met", f"at_most_{most:g}")


def _commits(measured: Mapping[str, Measured]) -> Iterator[tuple[int, Measured]]:
    return ((int(name), commit) for name, commit in measured.items() if name.isdigit())


def goals(found: Found) -> Iterator[tuple[str, float, float]]:
    """Yield what is wanted of the largest state: the figure's name, what was reached, and the most that it may be."""
    held = max(found)
    largest = found[held]
    commit = largest[str(GOAL_CHANGED)]
    yield f"commit_{held}_held_{GOAL_CHANGED}_changed_ratio", commit["ratio"], RATIO_MAX
    yield f"restore_{held}_ratio", largest["restore"]["ratio"], RATIO_MAX
    yield f"merge_{held}_longest", largest["merge"]["longest"] * 1000, LONGEST_MAX_MS


def write(found: Found, scale: Scale) -> None:
    """Write the commits' part of bench/core.json and of docs/performance.md."""
    measured_at = dt.datetime.fromtimestamp(clock.now_ms() / 1000, dt.UTC).isoformat(timespec="seconds")
    machine = facts("msgspec")
    content = {"measured_at": measured_at, "machine": machine, "scale": scale, "figures": list(figures(found))}
    write_json("commit", content)
    write_section("commit", markdown(found, measured_at, machine))
    tell("wrote core.json and performance.md")


def markdown(found: Found, measured_at: str, machine: Mapping[str, str | int]) -> str:
    """Return the tables."""
    lines = [f"Measured on {measured_at[:10]}: {', '.join(f'{name} {value}' for name, value in machine.items())}.", ""]
    lines += [*_table(found), "", *_whole_table(found), "", *_goal_lines(found)]
    return "\n".join(lines)


def _table(found: Found) -> Iterator[str]:
    changes = sorted({changed for measured in found.values() for changed, _ in _commits(measured)})
    yield "A commit by the groups held and changed: CPU milliseconds, bare encodings of its bytes, kilobytes written:"
    yield ""
    yield f"| held | {' | '.join(f'{changed:,} changed' for changed in changes)} |"
    yield f"|---:|{'---:|' * len(changes)}"
    for held, measured in found.items():
        commits = dict(_commits(measured))
        cells = (_cell(commits[changed]) if changed in commits else "" for changed in changes)
        yield f"| {held:,} | {' | '.join(cells)} |"


def _cell(commit: Measured) -> str:
    return f"{commit['seconds'] * 1000:.1f} ms, {commit['ratio']:.1f} x, {commit['bytes'] / 1000:,.0f} kB"


def _whole_table(found: Found) -> Iterator[str]:
    yield "The whole state: restored, in milliseconds and bare decodings; and all entries merged into one, with the"
    yield "longest stretch in which no other thread gets a turn:"
    yield ""
    yield "| held | stored | restored | merged | longest stretch |"
    yield "|---:|---:|---:|---:|---:|"
    for held, measured in found.items():
        restore, merge = measured["restore"], measured["merge"]
        restored = f"{restore['seconds'] * 1000:,.0f} ms, {restore['ratio']:.1f} x"
        merged = f"{merge['seconds'] * 1000:,.0f} ms | {merge['longest'] * 1000:.0f} ms"
        yield f"| {held:,} | {restore['bytes'] / 1000:,.0f} kB | {restored} | {merged} |"


def _goal_lines(found: Found) -> Iterator[str]:
    words = (
        f"A commit of {GOAL_CHANGED:,} changed groups of {max(found):,}, in bare encodings",
        f"A restore of {max(found):,} groups, in bare decodings",
        f"The longest stretch of a merge of {max(found):,} groups, in milliseconds",
    )
    for text, (_, value, most) in zip(words, goals(found), strict=True):
        yield f"- {text}: {value:.1f}; wanted: at most {most:g}, {'met' if value <= most else '**not met**'}."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measures what commits and restores cost.")
    parser.add_argument("--quick", action="store_true", help="small states: seconds, less exact, nothing is written")
    return parser


if __name__ == "__main__":
    sys.exit(main())
