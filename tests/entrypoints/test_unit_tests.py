"""`streamgauge test`: what passes, what fails, and how it is told."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from consumer.core.compile import Program, compile_pipeline
from consumer.core.processor import Processor
from consumer.entrypoints import unit_tests
from consumer.entrypoints.offline import with_rows
from consumer.entrypoints.unit_tests.definitions import UnitTest
from consumer.entrypoints.unit_tests.load import load_tests
from consumer.entrypoints.unit_tests.play import Manner, play
from consumer.records import Record, Row

CONFIG = Path(__file__).parents[2] / "config"
EXAMPLE = CONFIG / "clickstream.test.yaml"

PIPELINE = """
pipeline: shop
source: {stream: clicks, partition_key: user}
events:
  compression: none
  fields: {user: string, ts: timestamp, page: "string?", amount: "float?"}
  time: ts
  out_of_orderness: 10s
  idle_after: 1m
windows:
  views: {tumbling: 1m, by: [page], combine: false, select: {views: count(), seen: max(ts)}}
  visits: {session: {gap: 5m}, by: [user], select: {events: count(), amount: sum(amount)}}
sinks: [{stdout: {}}]
state: {table: "${TABLE:-state}", bucket: snapshots}
"""
HEAD = "pipeline: pipeline.yaml\nstart: 2026-01-31T12:00:00Z\ntests:\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(path: Path, environ: dict[str, str] | None = None, out: io.StringIO | None = None) -> tuple[int, str, str]:
    out, err = out or io.StringIO(), io.StringIO()
    status = unit_tests.run_tests([path], environ or {}, out=out, err=err)
    return status, out.getvalue(), err.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    return tmp_path


def one_test(folder: Path, steps: Sequence[str], expect: str, more: str = "") -> Path:
    """Write a file with one test, whose steps are lines, and whose windows are the visits."""
    path = folder / "shop.test.yaml"
    lines = "".join(f"      - {step}\n" for step in steps)
    text = f"{HEAD}  - name: one\n    windows: [visits]\n{more}    steps:\n{lines}    expect: {expect}\n"
    path.write_text(text)
    return path


def visit(time: str, user: str = "ann", **fields: str) -> str:
    pairs = "".join(f", {name}: {value}" for name, value in fields.items())
    return f"{{at: {time}, event: {{user: {user}{pairs}}}}}"


# -- the example


def test_the_example_passes() -> None:
    status, out, err = run(EXAMPLE)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == str(EXAMPLE)
    assert all(line.startswith("ok    ") for line in lines[1:-1])
    assert lines[-1] == f"{len(lines) - 2} tests, all passed"


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("window_end: 12:40:00", "window_end: 12:40:05", "a visit ends"),
        ("at: 12:40:10", "at: 12:40:09", "a visit ends"),
        ("at: 12:15:00", "at: 12:09:59", "a visit ends"),
        ("page: /, views: 2}\n", "page: /, views: 1}\n", "an event that is a little out of order"),
        ("lateness_ms: 15000", "lateness_ms: 15001", "an event that is late"),
        ("        - {window: revenue, sequence_number: 3}\n", "", "an event that is late"),
        ("{sequence_number: 4, reason: future_timestamp}", "{sequence_number: 4, reason: misrouted}", "what cannot"),
        ("arrival: 12:00:07, ", "", "what cannot"),
        ("key: somebody, ", "", "what cannot"),
        ("events: 3, first_page", "events: 4, first_page", "a crash"),
    ],
)
def test_every_part_of_the_example_matters(tmp_path: Path, old: str, new: str, name: str) -> None:
    text = EXAMPLE.read_text()
    assert text.count(old) == 1
    path = tmp_path / "changed.test.yaml"
    text = text.replace(old, new).replace("pipeline: clickstream.yaml", f"pipeline: {CONFIG / 'clickstream.yaml'}")
    path.write_text(text)
    status, out, err = run(path)
    assert (status, err) == (1, "")
    assert len(re.findall(f"^FAIL  {name}", out, re.MULTILINE)) == 1
    assert out.splitlines()[-1] == "5 tests, 1 failed"


def test_the_example_in_the_documentation_passes(tmp_path: Path) -> None:
    page = (CONFIG.parent / "docs" / "testing-pipelines.md").read_text()
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "documented.test.yaml"
    path.write_text(text.replace("clickstream.yaml", str(CONFIG / "clickstream.yaml")))
    assert run(path)[0] == 0
    names = re.findall(r"^ok    (.+)$", page, re.MULTILINE)
    assert names == [test.name for test in load_tests(EXAMPLE, {}).tests]
    assert TOLD.replace("PATH", "shop.test.yaml") in page


# -- steps


def test_idle_time_closes_windows_once_there_is_enough_of_it(folder: Path) -> None:
    steps = [visit("12:00:00"), "{idle: 59s}"]
    assert run(one_test(folder, steps, "{}"))[0] == 0
    # By the clock it is then 12:05:10, and the watermark 12:05:00 is behind the last millisecond of the visit.
    enough = [*steps, "{idle: 4m11s}"]
    assert run(one_test(folder, enough, "{results: [{window_end: 12:05, events: 1}]}"))[0] == 0
    assert run(one_test(folder, [*steps, "{idle: 4m10s}"], "{}"))[0] == 0
    late = [*enough, visit("12:00")]
    expect = "{results: [{events: 1}], late: [{watermark: 12:05, event_time: 12:00}]}"
    assert run(one_test(folder, late, expect))[0] == 0


def test_idle_time_begins_again_with_each_event(folder: Path) -> None:
    steps = [visit("12:00:00", "eve"), "{idle: 59s}", visit("12:20:00"), "{idle: 59s}"]
    assert run(one_test(folder, steps, "{results: [{user: eve}]}"))[0] == 0


def test_the_clock_of_an_idle_shard_goes_by_start_and_arrivals_too(folder: Path) -> None:
    on_arrival = "{at: 12:00, arrival: 12:04:11, event: {user: ann}}"
    expect = "{results: [{events: 1}]}"
    assert run(one_test(folder, [on_arrival, "{idle: 1m}"], expect))[0] == 0
    assert run(one_test(folder, [visit("12:00:00"), "{idle: 1m}"], "{}"))[0] == 0
    by_start = [visit("12:00:00"), "{idle: 1m}"]
    path = one_test(folder, by_start, expect)
    path.write_text(path.read_text().replace("12:00:00Z", "12:04:11Z"))
    assert run(path)[0] == 0


def test_an_idle_decision_is_taken_again_after_a_crash(folder: Path) -> None:
    steps = [visit("12:00:00"), "commit", "{idle: 10m}", "crash", visit("12:00:01"), "crash"]
    assert run(one_test(folder, steps, "{results: [{events: 1}], late: [{sequence_number: 2}]}"))[0] == 0


def test_a_crash_after_the_close_changes_nothing(folder: Path) -> None:
    steps = [visit("12:00:00"), "shard closes", "crash", "commit", "crash"]
    assert run(one_test(folder, steps, "{results: [{events: 1}]}"))[0] == 0


def test_records_may_be_given_as_bytes(folder: Path) -> None:
    steps = [
        'raw: \'{"user": "ann", "ts": "2026-01-31T12:00:00Z"}\'',
        "base64: eyJ1c2VyIjogImFubiIsICJ0cyI6IDE3Njk4NjA4MDAwMDB9",
        "base64: /w==",
        "shard closes",
    ]
    expect = "{results: [{user: ann, events: 2}], dead_letters: [{reason: invalid_utf8, partition_key: null}]}"
    assert run(one_test(folder, steps, expect))[0] == 0


def test_the_partition_key_is_the_event_s_unless_another_is_given(folder: Path) -> None:
    steps = [visit("12:00:00"), "{at: 12:00, key: 42, event: {user: ann}}", "shard closes"]
    expect = '{results: [{events: 1}], dead_letters: [{reason: misrouted, partition_key: "42"}]}'
    assert run(one_test(folder, steps, expect))[0] == 0


def test_the_shard_has_a_name(folder: Path) -> None:
    path = one_test(folder, [visit("12:00:00", page="/"), "shard closes"], "{results: [{shard: a}]}", "    shard: a\n")
    path.write_text(path.read_text().replace("[visits]", "[views]"))
    assert run(path)[0] == 0
    path.write_text(path.read_text().replace("    shard: a\n", ""))
    assert run(path)[0] == 1


def test_the_pipeline_s_variables_may_be_set(folder: Path) -> None:
    path = one_test(folder, ["shard closes"], "{}")
    (folder / "pipeline.yaml").write_text(PIPELINE.replace("${TABLE:-state}", "${TABLE}"))
    assert "the environment variable TABLE is not set" in run(path)[2]
    assert run(path, {"TABLE": "x y"})[0] == 2
    path.write_text("environment: {TABLE: states}\n" + path.read_text())
    assert run(path, {"TABLE": "x y"})[0] == 0


# -- expectations


def test_sums_may_be_rounded_and_an_int_is_a_float(folder: Path) -> None:
    steps = [visit("12:00:00", amount="0.1"), visit("12:00:00", amount="0.2"), "shard closes"]
    assert run(one_test(folder, steps, "{results: [{amount: 0.3}]}"))[0] == 0
    assert run(one_test(folder, steps, "{results: [{amount: 0.3001}]}"))[0] == 1
    whole = [visit("12:00:00", amount="2"), "shard closes"]
    assert run(one_test(folder, whole, "{results: [{amount: 2}]}"))[0] == 0


def test_null_is_expected_of_what_is_null_or_not_there(folder: Path) -> None:
    steps = [visit("12:00:00"), "shard closes"]
    assert run(one_test(folder, steps, "{results: [{amount: null, replaces: null}]}"))[0] == 0
    assert run(one_test(folder, steps, "{results: [{events: null}]}"))[0] == 1
    assert run(one_test(folder, steps, "{results: [{amount: 0}]}"))[0] == 1


def test_nothing_else_may_come(folder: Path) -> None:
    steps = [visit("12:00:00"), "raw: x", visit("12:20"), visit("12:00:01"), "shard closes"]
    results, late, dead = "results: [{events: 1}, {events: 1}]", "late: [{}]", "dead_letters: [{}]"
    assert run(one_test(folder, steps, f"{{{results}, {late}, {dead}}}"))[0] == 0
    for left in ((results, late), (results, dead), (late, dead)):
        assert run(one_test(folder, steps, f"{{{', '.join(left)}}}"))[0] == 1


def test_rows_come_in_their_order(folder: Path) -> None:
    steps = [visit("12:00:00", "bob"), visit("12:00:00", "ann"), "shard closes"]
    assert run(one_test(folder, steps, "{results: [{user: ann}, {user: bob}]}"))[0] == 0
    assert run(one_test(folder, steps, "{results: [{user: bob}, {user: ann}]}"))[0] == 1


# -- what is told


FAILING = """\
  - name: three of a kind
    steps:
      - {at: 12:00:05, event: {user: ann, page: /}}
      - {at: 12:00:06, event: {user: bob, page: "42"}}
      - {at: 12:01:20, event: {user: ann, page: /, amount: 0.5}}
      - {at: 12:00:07, event: {user: eve, page: /}}
      - raw: "{}"
    expect:
      results:
        - {window: views, page: /, views: 3, seen: 12:00:06}
        - {window: views, page: "42", views: 1}
        - {window: visits, user: ann}
      late:
        - {watermark: 12:01:10}
"""

TOLD = """\
FAIL  three of a kind  (PATH:4)
      results:
      ~ {window: views, page: /, views: 3, seen: 12:00:06}  line 13
          views: expected 3, came 1
          seen: expected 12:00:06, came 12:00:05
        {window: views, page: "42", views: 1}
      - {window: visits, user: ann}  is expected in line 15, and did not come
      dead_letters:
      + {reason: missing_field, detail: "user is missing or null", partition_key: null, sequence_number: "5", \
arrival_time: null}  came, and is not expected
      At the end the watermark is 12:01:10; still open: 1 of views, 3 of visits
1 test, 1 failed
"""


def test_what_came_stands_beside_what_was_expected(folder: Path) -> None:
    path = folder / "shop.test.yaml"
    path.write_text(HEAD + FAILING)
    status, out, err = run(path)
    assert (status, err) == (1, "")
    assert out == f"{path}\n{TOLD.replace('PATH', str(path))}"


def test_a_terminal_gets_colours_unless_it_asks_for_none(folder: Path) -> None:
    path = folder / "shop.test.yaml"
    path.write_text(HEAD + FAILING)
    _, plain, _ = run(path)
    _, coloured, _ = run(path, out=Terminal())
    assert "\033[31mFAIL" in coloured
    assert re.sub(r"\033\[\d+m", "", coloured) == plain
    assert run(path, {"NO_COLOR": "1"}, Terminal())[1] == plain


def test_a_row_that_came_is_shown_as_it_could_be_expected(folder: Path) -> None:
    """Paste what was not expected into the file, and the test passes."""
    path = one_test(
        folder,
        [
            visit("12:00:00", "'a: b'", amount="0.5"),
            visit("2026-02-01", "no"),
            "raw: x",
            visit("12:00"),
            "shard closes",
        ],
        "{}",
    )
    shown: dict[str, list[str]] = {}
    kind = ""
    for line in run(path)[1].splitlines():
        if re.fullmatch("      [a-z_]+:", line):
            kind = line.strip()
        elif line.startswith("      + "):
            shown.setdefault(kind, []).append(line[8:].removesuffix("  came, and is not expected"))
    assert {name: len(rows) for name, rows in shown.items()} == {"results:": 2, "late:": 1, "dead_letters:": 1}
    expect = ", ".join(f"{name} [{', '.join(rows)}]" for name, rows in shown.items())
    path.write_text(path.read_text().replace("expect: {}", f"expect: {{{expect}}}"))
    assert run(path) == (0, f"{path}\nok    one\n1 test, all passed\n", "")


def test_a_file_that_is_not_sound_keeps_all_tests_from_running(folder: Path) -> None:
    good = one_test(folder, ["shard closes"], "{}")
    bad = folder / "bad.test.yaml"
    bad.write_text("pipeline: pipeline.yaml\ntest: []\ntests: []\n")
    out, err = io.StringIO(), io.StringIO()
    assert unit_tests.run_tests([good, bad, folder / "none"], {}, out=out, err=err) == 2
    assert out.getvalue() == ""
    assert err.getvalue() == (
        f"{bad}:2:1: test: is not a known key; did you mean `tests`? "
        "Allowed here: pipeline, start, environment, tests\n"
        f"{bad}:3:8: tests: must not be empty\n2 mistakes in {bad}\n"
        f"{folder}/none:1:1: cannot be read: No such file or directory\n1 mistake in {folder}/none\n"
    )


def test_it_is_a_command(folder: Path) -> None:
    path = one_test(folder, ["shard closes"], "{}")
    command = [sys.executable, "-m", "consumer", "test", str(path), str(EXAMPLE)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, check=False, cwd=root, text=True, env={**os.environ})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "6 tests, all passed"


# -- independence


@pytest.fixture
def long_test(folder: Path) -> UnitTest:
    """Return a test in which batches and restores have every chance to matter."""
    steps: list[str] = []
    for number in range(40):
        steps.append(visit(f"+{number * 37}s", "ab"[number % 2], page="/", amount="0.1"))
        steps += {10: ["commit"], 15: ["crash"], 20: ["raw: x", "{idle: 10m}"], 30: ["crash", "commit"]}.get(number, [])
    (test,) = load_tests(one_test(folder, steps, "{}"), {}).tests
    return test


def program_of(folder: Path) -> Program:
    pipeline = load_tests(folder / "shop.test.yaml", {}).pipeline
    return compile_pipeline(with_rows(pipeline, late=True, dead_letter=True))


def test_every_manner_gives_the_same(folder: Path, long_test: UnitTest) -> None:
    program = program_of(folder)
    written, *others = [play(program, long_test, manner) for manner in Manner]
    assert len(written.rows) > 10
    assert {row.output for row in written.rows} == {"views", "visits", ":late", ":dead_letter"}
    for other in others:
        assert other == written


def test_the_manners_differ_in_their_batches_and_restores(
    folder: Path, long_test: UnitTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    restores: list[int] = []
    apply, restore = Processor.apply, Processor.restore

    def applied(self: Processor, records: Sequence[Record]) -> Any:
        sizes.append(len(records))
        return apply(self, records)

    def restored(program: Program, shard: str, generation: int, entries: Sequence[bytes]) -> Any:
        restores.append(len(entries))
        return restore(program, shard, generation, entries)

    monkeypatch.setattr(Processor, "apply", applied)
    monkeypatch.setattr(Processor, "restore", restored)
    program = program_of(folder)
    seen = {}
    for manner in Manner:
        sizes.clear()
        restores.clear()
        play(program, long_test, manner)
        seen[manner] = (max(sizes), len(restores), max(restores))
    assert seen[Manner.AS_WRITTEN][:2] == (11, 2)
    assert seen[Manner.RESTORED][1] > 40
    assert seen[Manner.RESTORED][2] == 8


@pytest.mark.parametrize(
    ("broken", "manner"), [("batches", "with one record a batch"), ("restores", "and a restore from the stored state")]
)
def test_results_that_depend_on_batches_or_restores_are_told_as_our_bug(
    folder: Path, monkeypatch: pytest.MonkeyPatch, broken: str, manner: str
) -> None:
    if broken == "batches":
        apply = Processor.apply

        def applied(self: Processor, records: Sequence[Any]) -> Any:
            outcome = apply(self, records)
            outcome.rows.extend([Row("visits", b'{"window":"visits"}')] * (len(records) > 1))
            return outcome

        monkeypatch.setattr(Processor, "apply", applied)
    else:
        monkeypatch.setattr(Processor, "restore", lambda program, shard, *_: (Processor(program, shard, 0), []))
    path = one_test(folder, [visit("12:00:00"), visit("12:00:01"), "shard closes"], "{results: [{events: 2}]}")
    status, out, _ = run(path)
    assert status == 1
    assert "The results are not the same with one record a batch" in out
    assert manner in out
    assert "That is a bug of streamgauge, not of the pipeline" in out
    assert re.search(r'^      [-+] \{.*"window":"visits"', out, re.MULTILINE)


def test_a_global_window_is_complete_when_it_is_due_in_the_test_s_shard(folder: Path) -> None:
    """Its rows stand among the others where it closes, and in the order of their groups, whatever its buckets."""
    text = PIPELINE.replace("combine: false,", "combine: true, buckets: 7,")
    (folder / "pipeline.yaml").write_text(text)
    path = one_test(
        folder,
        [
            visit("12:00:05", page="/b"),
            visit("12:00:06", "bob", page="/a"),
            visit("12:00:07", page="/a"),
            "crash",
            visit("12:01:10", page="/c"),
            "commit",
            visit("12:07:30", page="/c"),
            "shard closes",
        ],
        "{results: [{window: views, page: /a, views: 2, final: true, revision: 0}, {window: views, page: /b, views: "
        "1}, {window: views, page: /c, views: 1}, {window: visits, user: bob, events: 1}, "
        "{window: visits, user: ann, events: 3}, {window: views, page: /c, views: 1}, "
        "{window: visits, user: ann, events: 1}]}",
    )
    path.write_text(path.read_text().replace("    windows: [visits]\n", ""))
    status, out, err = run(path)
    assert (status, err) == (0, ""), out
