"""The status page, for people: the status in HTML, made on the server, without a script and without other files."""

from __future__ import annotations

from collections.abc import Iterator

from consumer.telemetry.attention import BEHIND_SECONDS, FULL_SHARE, HELD_BACK_SECONDS
from consumer.telemetry.facts import RECENT_MINUTES
from consumer.telemetry.markup import Markup, element, join
from consumer.telemetry.page_parts import (
    Column,
    ago,
    between,
    flagged,
    link,
    page,
    reason_below,
    section,
    sub,
    table,
    time_of_day,
)
from consumer.telemetry.page_words import NOTHING, duration, many, number, rate, size
from consumer.telemetry.start_events import STEPS
from consumer.telemetry.status import (
    Attention,
    Commit,
    DeadLetter,
    GlobalShard,
    GlobalWindows,
    Shard,
    Sink,
    Status,
    Step,
    Window,
)

REFRESH_SECONDS = 5
LINKS = (
    ("/status", "this as JSON"),
    ("/metrics", "metrics"),
    ("/healthz", "health"),
    ("/readyz", "readiness"),
    ("/help", "what the numbers mean"),
)
_STEP_SECONDS = 1.0
"""Of a start that is over the shorter steps are left out."""
_LONG_SECONDS = 10.0
"""From here on it is said for how long a shard has been inside of a step."""


def status_page(status: Status, *, refreshing: bool) -> str:
    """Return the page of a status; `refreshing` is whether the browser was told to load it again by itself."""
    main = element(
        "main",
        _tiles(status),
        _attention(status),
        *_start_first(status),
        *_shards(status),
        _windows(status),
        *_global_windows(status),
        _sinks(status),
        _dead_letters(status),
        _commits(status),
        *_start_last(status),
    )
    return page(_title(status), _header(status, refreshing=refreshing), main, _footer())


def _title(status: Status) -> str:
    things = f"{len(status.attention)} to look at: " if status.attention else ""
    return f"{things}{status.worker.pipeline or 'starting'} - Streamgauge"


def _header(status: Status, *, refreshing: bool) -> Markup:
    worker = status.worker
    who = [
        ("stream", worker.stream),
        ("worker", worker.identifier),
        ("application", worker.application),
        ("version", worker.version),
        ("definitions", worker.definitions and worker.definitions[:12]),
        ("Java", worker.java_version),
    ]
    facts = [join(f"{name} ", element("code", value)) for name, value in who if value]
    toggle = ("/?refresh=off", "stop refreshing") if refreshing else ("/", "refresh by itself")
    now = join("as of ", time_of_day(status.at), f" UTC, up {duration(worker.uptime_seconds)} · ", link(*toggle))
    return element(
        "header",
        element("h1", worker.pipeline or "Streamgauge"),
        _state(status),
        element("p", *between(facts, " · "), class_="who"),
        element("p", now, class_="who"),
    )


def _state(status: Status) -> Markup:
    worker = status.worker
    if not worker.alive:
        return element("span", "stuck", class_="pill error")
    if worker.state == "ready":
        return element("span", "ready", class_="pill ok")
    why = f": {worker.stopping_because}" if worker.stopping_because else ""
    return element("span", f"{worker.state}{why}", class_="pill warning")


def _tiles(status: Status) -> Markup:
    totals = status.totals
    dead = sum(each.last_10_minutes for each in status.dead_letters)
    late = sum(each.late_last_10_minutes for each in status.windows)
    tiles = (
        ("Shards", number(totals.shards)),
        ("Records a second", rate(totals.records_per_second)),
        ("Furthest behind", duration(totals.behind_seconds)),
        ("Open windows", number(totals.open_windows)),
        ("To deliver", many(totals.undelivered_rows, "row")),
        (f"Late, {RECENT_MINUTES} min", number(late)),
        (f"Dead letters, {RECENT_MINUTES} min", number(dead)),
    )
    made = (element("div", element("dt", name), element("dd", value), class_="tile") for name, value in tiles)
    return element("dl", *made, class_="tiles")


def _attention(status: Status) -> Markup:
    if not status.attention:
        note = element("li", element("b", "Nothing to look at."), _all_well(status), class_="note ok")
        return section("attention", "Attention", element("ul", note, class_="notes"))
    return section("attention", "Attention", element("ul", *map(_note, status.attention), class_="notes"))


def _all_well(status: Status) -> str:
    if status.worker.state != "ready":
        return f"The worker is {status.worker.state}."
    return "Every shard gets on, and every sink takes rows." if status.shards else "The worker has no shard."


def _note(found: Attention) -> Markup:
    word = "Error" if found.level == "error" else "Warning"
    shard = [join(element("span", found.shard, class_="id"), " ")] if found.shard else []
    return element("li", element("b", word), *shard, found.text, class_=f"note {found.level}")


# The start


def _start_first(status: Status) -> Iterator[Markup]:
    if status.worker.state == "starting":
        yield _start(status, "What the start is at")


def _start_last(status: Status) -> Iterator[Markup]:
    if status.worker.state != "starting" and status.start:
        yield _start(status, "The start")


def _start(status: Status, title: str) -> Markup:
    columns = (
        Column("Step"),
        Column("Began"),
        Column("Took", "n"),
        Column("Tried again", "n"),
        Column("Last error", "wide"),
    )
    starting = status.worker.state == "starting"
    rows = [_step(step) for step in status.start if starting or step.retries or step.seconds >= _STEP_SECONDS]
    says = status.worker.daemon_says
    said = [element("p", "The daemon says: ", element("code", says))] if says else []
    total = duration(sum(step.seconds for step in status.start))
    return section(
        "start",
        title,
        element("p", f"So far {total}." if not _done(status) else f"It took {total}."),
        *said,
        table("start", columns, rows),
    )


def _done(status: Status) -> bool:
    return all(step.done for step in status.start)


def _step(step: Step) -> list[Markup]:
    took = duration(step.seconds)
    return [
        join(STEPS.get(step.step, step.step), sub(step.step)),
        time_of_day(step.began_at),
        join(took) if step.done else element("span", f"{took} so far", class_="warning"),
        join(number(step.retries)),
        join(step.error or NOTHING),
    ]


# Shards

_SHARD_COLUMNS = (
    Column("Shard"),
    Column("Doing"),
    Column("Behind", "n"),
    Column("Records", "n"),
    Column("Watermark", "n"),
    Column("Open windows", "n"),
    Column("Last batch", "n"),
    Column("Last commit", "n"),
    Column("To deliver", "n"),
)


def _shards(status: Status) -> Iterator[Markup]:
    if status.shards:
        yield section("shards", "Shards", table("shards", _SHARD_COLUMNS, [_shard(each) for each in status.shards]))
    else:
        yield section("shards", "Shards", *_no_shard(status))


def _no_shard(status: Status) -> Iterator[Markup]:
    worker = status.worker
    if worker.state == "starting":
        yield element("p", "No shard yet: they come when the daemon has initialised.")
    elif worker.state == "stopping":
        yield element("p", "No shard any more: the worker has given them back.")
    else:
        yield element(
            "p",
            element("b", "No shard leased: other workers have them, this is normal. "),
            "A worker without a shard is ready, and takes over when another one ends. There are no more working "
            "workers than shards.",
        )
        look = (
            join("Who has them: ", element("code", "streamgauge state list FILE"), "."),
            join(
                "How many nobody has: the metric ",
                element("code", "streamgauge_leases_unheld"),
                ", at ",
                link("/metrics"),
                ".",
            ),
            join(
                "A worker that has just started waits for the leader of the workers, some seconds; for the shards of "
                "a worker that was killed, until their leases expire (",
                element("code", "failoverTimeMillis"),
                ").",
            ),
        )
        yield element("ul", *(element("li", each) for each in look))


def _shard(shard: Shard) -> list[Markup]:
    return [
        join(element("span", shard.shard, class_="id"), *_owner(shard)),
        _doing(shard),
        flagged(duration(shard.behind_seconds), (shard.behind_seconds or 0) >= BEHIND_SECONDS),
        join(f"{rate(shard.records_per_second)}/s", sub(f"{number(shard.records)} in all")),
        _watermark(shard),
        _open_windows(shard),
        _last_batch(shard),
        _last_commit(shard.last_commit),
        join(number(shard.undelivered_rows)),
    ]


def _owner(shard: Shard) -> Iterator[Markup]:
    if shard.taken_over_at is not None:
        yield sub(f"epoch {shard.epoch}, {shard.started} ", time_of_day(shard.taken_over_at))


def _doing(shard: Shard) -> Markup:
    seconds = shard.seconds_without_progress
    lasting = f" for {duration(seconds)}" if seconds >= _LONG_SECONDS else ""
    return flagged(f"{shard.doing}{lasting}", shard.problem is not None, "error")


def _watermark(shard: Shard) -> Markup:
    if shard.watermark is None:
        return join(NOTHING)
    return join(f"{duration(shard.watermark_age_seconds)} ago", sub(time_of_day(shard.watermark)))


def _open_windows(shard: Shard) -> Markup:
    held = sum(shard.open_windows.values())
    if not shard.open_windows_limit:
        return join(number(held))
    share = held / shard.open_windows_limit
    limit = f"of {number(shard.open_windows_limit)}"
    return join(flagged(number(held), share >= FULL_SHARE), sub(limit))


def _last_batch(shard: Shard) -> Markup:
    if shard.last_batch_at is None:
        return join(NOTHING)
    ago = shard.last_batch_ago_seconds
    told = flagged(f"{duration(ago)} ago", (ago or 0) >= BEHIND_SECONDS)
    return join(told, sub(many(shard.last_batch_records or 0, "record")))


def _last_commit(commit: Commit | None) -> Markup:
    if commit is None:
        return join(NOTHING)
    took = f"{many(commit.rows or 0, 'row')} in {duration(commit.seconds)}" if commit.result == "ok" else commit.result
    return join(f"{duration(commit.ago_seconds)} ago", sub(flagged(took, commit.result != "ok")))


# The rest


def _windows(status: Status) -> Markup:
    columns = (
        Column("Window"),
        Column("Open", "n"),
        Column("Results", "n"),
        Column("Late", "n"),
        Column(f"Late, {RECENT_MINUTES} min", "n"),
        Column("Last late event", "n"),
    )
    return section("windows", "Windows", table("windows", columns, [_window(each, status) for each in status.windows]))


def _window(window: Window, status: Status) -> list[Markup]:
    return [
        join(element("span", window.window, class_="id"), sub(window.definition)),
        join(number(window.open)),
        join(number(window.results)),
        join(number(window.late)),
        join(number(window.late_last_10_minutes)),
        ago(window.last_late_at, status.at),
    ]


_GLOBAL_COLUMNS = (
    Column("Shard, furthest behind first"),
    Column("Has passed", "n"),
    Column("Behind the one that is ahead", "n"),
)


def _global_windows(status: Status) -> Iterator[Markup]:
    found = status.global_windows
    if found is None:
        return
    waiting = ", ".join(f"{window} {number(count)}" for window, count in found.waiting.items())
    parts = [
        element("p", *_reached(found, status), sub(f"Read {duration(found.read_ago_seconds)} ago.")),
        element(
            "p",
            f"Windows that wait: {waiting}. Contributions since the start: {number(found.contributions_written)} "
            f"stored, {number(found.contributions_read)} read to be combined.",
        ),
    ]
    if found.slowest:
        parts.append(table("global", _GLOBAL_COLUMNS, [_global_shard(each, status) for each in found.slowest]))
    yield section("global", "Global windows", *parts)


def _reached(found: GlobalWindows, status: Status) -> Iterator[str]:
    if not found.covered:
        yield "Nothing is complete: not all shards have told of their progress."
    elif found.watermark is None:
        yield "Nothing is complete: not all shards have had an event, or an idle decision."
    else:
        yield join("Complete up to ", time_of_day(found.watermark), ", ", ago(found.watermark, status.at), ".")


def _global_shard(shard: GlobalShard, status: Status) -> list[Markup]:
    passed = NOTHING if shard.watermark is None else time_of_day(shard.watermark)
    behind = shard.behind_ahead_seconds
    return [
        element("span", shard.shard, class_="id"),
        join(passed, *([sub(ago(shard.watermark, status.at))] if shard.watermark else [])),
        flagged(duration(behind), (behind or 0) >= HELD_BACK_SECONDS),
    ]


def _sinks(status: Status) -> Markup:
    if not status.sinks:
        return section("sinks", "Sinks", element("p", "No row was sent yet."))
    columns = (
        Column("Sink"),
        Column("Takes rows"),
        Column("Rows sent", "n"),
        Column("Last sent", "n"),
        Column("Tried again", "n"),
        Column("Last failure", "n"),
        Column("Rejected (lost)", "n"),
    )
    return section("sinks", "Sinks", table("sinks", columns, [_sink(each, status) for each in status.sinks]))


def _sink(sink: Sink, status: Status) -> list[Markup]:
    failing = f"no, for {duration(sink.failing_for_seconds)}"
    return [
        element("span", sink.sink, class_="id"),
        join("yes") if sink.taking_rows else element("span", failing, class_="warning"),
        join(number(sink.rows_sent), sub(size(sink.bytes_sent))),
        ago(sink.last_sent_at, status.at),
        join(number(sink.retries)),
        join(ago(sink.last_failure_at, status.at), *reason_below(sink.last_failure_reason)),
        join(
            flagged(number(sink.rows_rejected), sink.rows_rejected > 0, "error"),
            *reason_below(sink.last_rejected_reason),
        ),
    ]


def _dead_letters(status: Status) -> Markup:
    if not status.dead_letters:
        return section("dead-letters", "Dead letters", element("p", "None since the start."))
    columns = (
        Column("Reason"),
        Column(f"In {RECENT_MINUTES} min", "n"),
        Column("Since the start", "n"),
        Column("Last one", "n"),
        Column("In shard", "wide"),
    )
    rows = [_dead_letter(each, status) for each in status.dead_letters]
    return section("dead-letters", "Dead letters", table("dead-letters", columns, rows))


def _dead_letter(found: DeadLetter, status: Status) -> list[Markup]:
    return [
        element("span", found.reason, class_="id"),
        flagged(number(found.last_10_minutes), found.last_10_minutes > 0),
        join(number(found.records)),
        ago(found.last_at, status.at),
        element("span", found.last_shard or NOTHING, class_="id"),
    ]


_RESULT_WORDS = {"ok": "made", "retry": "tried again", "failed": "given up", "fenced": "fenced"}

_COMMIT_COLUMNS = (
    Column("When"),
    Column("Shard", "wide"),
    Column("Number", "n"),
    Column("Took", "n"),
    Column("Written", "n"),
    Column("Rows", "n"),
)
_GONE_WRONG_COLUMNS = (
    Column("When"),
    Column("Shard", "wide"),
    Column("Result"),
    Column("Step"),
    Column("Error", "wide"),
)


def _commits(status: Status) -> Markup:
    commits = status.commits
    numbers = ", ".join(f"{number(commits.numbers[result])} {word}" for result, word in _RESULT_WORDS.items())
    parts = [element("p", f"Since the start: {numbers}.")]
    if commits.last:
        rows = [_commit(each) for each in commits.last]
        parts += [element("h3", "The last"), table("commits", _COMMIT_COLUMNS, rows)]
    if commits.last_gone_wrong:
        rows = [_commit_gone_wrong(each) for each in commits.last_gone_wrong]
        parts += [element("h3", "The last that went wrong"), table("commits", _GONE_WRONG_COLUMNS, rows)]
    return section("commits", "Commits", *parts)


def _commit(commit: Commit) -> list[Markup]:
    return [
        join(time_of_day(commit.at), sub(f"{duration(commit.ago_seconds)} ago")),
        element("span", commit.shard, class_="id"),
        join(number(commit.commit_no)),
        join(duration(commit.seconds)),
        join(size(commit.bytes)),
        join(number(commit.rows)),
    ]


def _commit_gone_wrong(commit: Commit) -> list[Markup]:
    return [
        join(time_of_day(commit.at), sub(f"{duration(commit.ago_seconds)} ago")),
        element("span", commit.shard, class_="id"),
        flagged(_RESULT_WORDS[commit.result], marked=True),
        join(commit.step or NOTHING),
        join(commit.error or NOTHING),
    ]


def _footer() -> Markup:
    return element("footer", element("p", *between([link(path, text) for path, text in LINKS], " ")))
