"""Mistakes people make, one by one: the place, the path and the words of the message."""

from __future__ import annotations

import pytest

from consumer.pipeline.load import PipelineError, Problem, load_text

GOOD = """\
pipeline: clickstream
source:
  stream: clicks
  partition_key: user
events:
  compression: none
  idle_after: never
  fields:
    user: string
    at: timestamp
    page: string?
    amount: float?
    vip: bool?
  time: at
let:
  double: amount * 2
where: amount > 0
windows:
  views:
    tumbling: 1m
    by: [page]
    combine: false
    select:
      views: count()
      revenue: sum(double)
  visits:
    session: {gap: 30m}
    by: [user]
    select: {events: count(), first: first(page)}
sinks:
  - firehose: {stream: aggregates}
late: {firehose: {stream: late}}
state:
  table: sg-state
  bucket: sg-bucket
"""


def problems_of(text: str, **environ: str) -> list[Problem]:
    try:
        load_text(text, "p.yaml", environ)
    except PipelineError as error:
        return list(error.problems)
    return []


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, f"{old!r} must stand once"
    return GOOD.replace(old, new)


def test_an_error_prints_one_line_a_problem() -> None:
    with pytest.raises(PipelineError) as caught:
        load_text("a: 1", "p.yaml", {})
    problems = caught.value.problems
    assert len(problems) > 5
    assert str(caught.value).splitlines() == [str(problem) for problem in problems]


def test_the_good_file_is_good() -> None:
    assert problems_of(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # keys
        (
            "{stream: aggregates}",
            "{streem: aggregates}",
            [
                "31:16: sinks[0].firehose.streem: is not a known key; did you mean `stream`? Allowed here: stream",
            ],
        ),
        (
            "where: amount",
            "were: amount",
            [
                (
                    "17:1: were: is not a known key; did you mean `where`? Allowed here: pipeline, source, "
                    "events, let, "
                    "where, windows, sinks, late, dead_letter, state, limits, worker"
                ),
            ],
        ),
        (
            "  table: sg-state",
            "  tables: sg-state",
            [
                (
                    "34:3: state.tables: is not a known key; did you mean `table`? Allowed here: table, bucket, "
                    "commit_interval, emit_delay, on_gap, removed_windows"
                ),
            ],
        ),
        (
            "  stream: clicks",
            "  xyz: clicks",
            [
                "2:1: source.stream: is required: `stream: clicks`",
                "3:3: source.xyz: is not a known key. Allowed here: stream, partition_key, start",
            ],
        ),
        (
            "    tumbling: 1m",
            "    tumblng: 1m",
            [
                (
                    "20:5: windows.views.tumblng: is not a known key; did you mean `tumbling`? Allowed here: tumbling, "
                    "sliding, session, stagger, by, where, combine, buckets, select, allowed_lateness, emit"
                ),
            ],
        ),
        (
            "    at: timestamp",
            "    at: timestamp\n    user: int",
            ["11:5: events.fields.user: this key stands twice, first in line 9"],
        ),
        (
            "  table: sg-state\n",
            "",
            ["33:1: state.table: is required: `table: streamgauge-state`"],
        ),
        ("pipeline: clickstream\n", "", ["1:1: pipeline: is required: `pipeline: clickstream`"]),
        ("where: amount > 0", "${X}: 1", ['17:1: "${X}": ${…} takes effect in values only, not in a key']),
        # nothing and types
        ("where: amount > 0", "where:", ["17:1: where: nothing stands here: give a value, or leave the key out"]),
        (
            "late: {firehose: {stream: late}}",
            "late: {stdout: }",
            ["32:8: late.stdout: nothing stands here: write `stdout: {}`"],
        ),
        (
            "pipeline: clickstream",
            "pipeline: 123",
            ['1:11: pipeline: must be a text, and is the number 123: put it in quotes, "123"'],
        ),
        (
            "pipeline: clickstream",
            "pipeline: Clicks",
            ['1:11: pipeline: must be 1 to 48 of a-z, 0-9 and -, and is "Clicks"'],
        ),
        (
            "by: [user]",
            "by: user",
            ['28:9: windows.visits.by: must be a list (`- item` lines, or [a, b]), and is "user": write [user]'],
        ),
        (
            "  - firehose: {stream: aggregates}",
            "  firehose: {stream: aggregates}",
            ["31:3: sinks: must be a list (`- item` lines, or [a, b]), and is a mapping: put `- ` before each sink"],
        ),
        (
            "state:\n  table: sg-state\n  bucket: sg-bucket",
            "state: sg",
            ['33:8: state: must be a mapping (`key: value` lines), and is "sg"'],
        ),
        ("combine: false", "combine: 'false'", ['22:14: windows.views.combine: must be true or false, and is "false"']),
        # durations
        (
            "tumbling: 1m",
            "tumbling: 60",
            ["20:15: windows.views.tumbling: lacks a unit: write 60s for seconds or 60ms for milliseconds"],
        ),
        (
            "tumbling: 1m",
            "tumbling: {size: 1m, offset: 60s}",
            ["20:34: windows.views.tumbling.offset: must be less than `size`: windows repeat every `size`"],
        ),
        ("tumbling: 1m", "tumbling: 0s", ["20:15: windows.views.tumbling: must be from 1ms to 3650d, and is 0s"]),
        (
            "tumbling: 1m",
            "tumbling: [1m]",
            ["20:15: windows.views.tumbling: must be a duration such as 10s or 1h30m, and is a list"],
        ),
        ("{gap: 30m}", "{}", ["27:5: windows.visits.session.gap: is required: `gap: 30m`"]),
        (
            "bucket: sg-bucket",
            "bucket: sg-bucket\n  commit_interval: 1h",
            ["36:20: state.commit_interval: must be from 100ms to 5m, and is 1h"],
        ),
        # flow style
        (
            "{events: count(), first: first(page)}",
            "{events: count(if(vip, 1, null))}",
            [
                (
                    "29:22: windows.visits.select: in {…} and […] a comma ends the value `count(if(vip`: put the whole "
                    'expression in quotes, as in "if(a, b, c)"'
                ),
            ],
        ),
        (
            "  fields:\n    user: string\n    at: timestamp\n    page: string?\n    amount: float?\n    vip: bool?",
            "  fields: {user: string, at: timestamp, page: string?, amount: 'float?', vip: bool? }",
            [
                '8:47: events.fields.page: in {…} and […] a type with ? needs quotes: write "string?"',
                '8:79: events.fields.vip: in {…} and […] a type with ? needs quotes: write "bool?"',
            ],
        ),
        (
            "{stream: aggregates}",
            "{stream: ${NAME}}",
            [
                (
                    "31:25: this is not YAML: expected ',' or '}', but got '{', while parsing a flow mapping "
                    "(in {…} and "
                    '[…] an environment variable needs quotes: "${NAME}")'
                ),
            ],
        ),
        # names
        (
            "    at: timestamp",
            "    at: timestamp\n    is: int",
            ["11:5: events.fields.is: `is` is a word of expressions: choose another name"],
        ),
        (
            "    at: timestamp",
            "    at: timestamp\n    a-b: int",
            ["11:5: events.fields.a-b: must be a name of letters, digits, _, no digit first"],
        ),
        ("  double:", "  page: amount\n  double:", ["16:3: let.page: `page` is a field already: choose another name"]),
        (
            "      views: count()",
            "      shard: count()",
            ["24:7: windows.views.select.shard: `shard` is a key that every row has: choose another name"],
        ),
        (
            "      views: count()",
            "      page: count()",
            ["24:7: windows.views.select.page: `page` is a column already, by `by`: choose another name"],
        ),
        ("by: [page]", "by: [page, page]", ["21:16: windows.views.by[1]: `page` stands twice"]),
        (
            "by: [page]",
            "by: [pages]",
            ["21:10: windows.views.by[0]: there is no field or let `pages` (did you mean `page`?)"],
        ),
        (
            "  views:\n",
            "  9lives:\n",
            [
                (
                    "19:3: windows.9lives: must be a name of letters, digits, _ and -, no digit first, and not "
                    "longer than 64"
                )
            ],
        ),
        # fields with a role
        (
            "  time: at",
            "  time: att",
            ["14:9: events.time: there is no field `att` in events.fields (did you mean `at`?)"],
        ),
        (
            "  time: at",
            "  time: user",
            ["14:9: events.time: the time of an event must be a field of type timestamp, and `user` is a string"],
        ),
        (
            "    at: timestamp",
            "    at: timestamp?",
            ["14:9: events.time: the time of an event must always be there: declare `at: timestamp`, without ?"],
        ),
        (
            "    user: string",
            "    user: string?",
            ["4:18: source.partition_key: the partition key must always be there: declare `user: string`, without ?"],
        ),
        (
            "    user: string",
            "    user: float",
            [
                (
                    "4:18: source.partition_key: the partition key must be a field of type string or int, and "
                    "`user` is a float"
                )
            ],
        ),
        # expressions
        (
            "where: amount > 0",
            "where: amount > 0 and pge == 'a'",
            ["17:23: where: there is no field or let `pge` (did you mean `page`?)"],
        ),
        ("where: amount > 0", "where: amount", ["17:8: where: must be true or false for an event, and is a float"]),
        (
            "where: amount > 0",
            "where: 'page == \"it''s\" and amount'",
            ["17:29: where: `and` takes a bool, and this is a float; compare it with something"],
        ),
        (
            "where: amount > 0",
            'where: "vip\\t and \\u0061mount"',
            ["17:19: where: `and` takes a bool, and this is a float; compare it with something"],
        ),
        (
            "where: amount > 0",
            "where: >\n  vip\n\n    and amount",
            ["20:9: where: `and` takes a bool, and this is a float; compare it with something"],
        ),
        (
            "where: amount > 0",
            "where: |-\n  vip and\n  amount",
            ["19:3: where: `and` takes a bool, and this is a float; compare it with something"],
        ),
        ("where: amount > 0", "where: ''", ["17:8: where: a value is expected where the expression ends"]),
        ("where: amount > 0", "where: amount >", ["17:16: where: a value is expected where the expression ends"]),
        (
            "where: amount > 0",
            "where: [amount]",
            ["17:8: where: must be an expression such as amount * 2, and is a list"],
        ),
        (
            "      views: count()",
            "      views: count",
            ["24:14: windows.views.select.views: write count() or count(x)"],
        ),
        (
            "      views: count()",
            "      views: 5",
            [
                (
                    "24:14: windows.views.select.views: an aggregate is expected here: count(), count(x), sum(x), "
                    "min(x), max(x), avg(x), variance(x), stddev(x), first(x), last(x), min_by(x, y), max_by(x, y), "
                    "count_distinct(x), approx_distinct(x), quantile(x, q), top(x, k), collect(x, n), rate('1m')"
                )
            ],
        ),
        (
            "      revenue: sum(double)",
            "      revenue: sum(page)",
            ["25:20: windows.views.select.revenue: sum takes an int or a float, and this is a string"],
        ),
        # windows
        (
            "    tumbling: 1m\n",
            "",
            ["20:5: windows.views: must name one kind of window: tumbling, sliding, session, stagger"],
        ),
        (
            "    tumbling: 1m\n",
            "    tumbling: 1m\n    session: 5m\n",
            ["21:5: windows.views.session: takes one kind of window, and tumbling is named too"],
        ),
        (
            "    combine: false\n",
            "",
            [
                (
                    "19:3: windows.views: `by` lacks the partition key `user`, so events of one group lie in several "
                    "shards and no shard sees all of them: write `combine: true` for one row over all shards, "
                    "`combine: false` for one row a shard, marked partial; or add user to `by`, so that one shard "
                    "holds the whole group"
                ),
            ],
        ),
        (
            "  partition_key: user\n",
            "",
            [
                (
                    "25:3: windows.visits: source.partition_key is not given, so events of one group lie in several "
                    "shards and no shard sees all of them: write `combine: false` for one row a shard, marked "
                    "partial; or name the field that producers partition by as source.partition_key, and add it to "
                    "`by`, so that one shard holds the whole group"
                ),
            ],
        ),
        (
            "by: [user]",
            "by: [user]\n    combine: false",
            [
                (
                    "29:14: windows.visits.combine: `by` holds the partition key `user`, so one shard sees all "
                    "events of a group and there is nothing to combine: leave `combine` out"
                )
            ],
        ),
        # sinks
        (
            "{stream: aggregates}",
            "{stream: aggregates}\n    windows: [view]",
            ["32:15: sinks[0].windows[0]: there is no window `view` (did you mean `views`?)"],
        ),
        (
            "{stream: aggregates}",
            "{stream: aggregates}\n    windows: [views]",
            ["26:3: windows.visits: no sink takes this window: name it in `windows` of a sink, or give one without"],
        ),
        (
            "{stream: aggregates}",
            "{stream: aggregates}\n    windows: []",
            ["32:14: sinks[0].windows: must not be empty"],
        ),
        (
            "  - firehose: {stream: aggregates}",
            "  - windows: [views, visits]",
            ["31:5: sinks[0]: must name one kind of sink: firehose, sqs, s3, file, stdout"],
        ),
        (
            "{stream: aggregates}",
            "{stream: aggregates}\n    stdout: {}",
            ["32:5: sinks[0].stdout: takes one kind of sink, and firehose is named too"],
        ),
        (
            "  - firehose: {stream: aggregates}",
            "  - stdout: {}\n  - stdout: {}",
            ["32:5: sinks[1]: is the same as sinks[0]: name it once, with all its windows"],
        ),
        ("sinks:\n  - firehose: {stream: aggregates}", "sinks: []", ["30:8: sinks: must not be empty"]),
        (
            "late: {firehose: {stream: late}}",
            "late: {firehose: {stream: late}, windows: [views]}",
            ["32:34: late.windows: is not a known key. Allowed here: firehose, sqs, s3, file, stdout"],
        ),
        # state and worker
        (
            "  table: sg-state",
            "  table: clickstream",
            [
                (
                    "34:10: state.table: `clickstream` is a table of the Kinesis Client Library for the application "
                    "`clickstream`: choose another name"
                )
            ],
        ),
        (
            "pipeline: clickstream",
            "pipeline: ab",
            ["1:11: pipeline: is too short for the name of the lease table: give one as worker.application"],
        ),
        (
            "  table: sg-state",
            "  table: ${TABLE}",
            [
                (
                    "34:10: state.table: the environment variable TABLE is not set: set it, or give a default, "
                    "${TABLE:-default}"
                )
            ],
        ),
        (
            "  table: sg-state",
            "  table: a-${TABLE",
            ["34:12: state.table: write ${NAME} or ${NAME:-default}, and $${ where a text holds `${` itself"],
        ),
        # YAML
        (
            "  table: sg-state",
            "\ttable: sg-state",
            [
                (
                    "34:1: this is not YAML: found character '\\t' that cannot start any token, while scanning for "
                    "the next token (indent with blanks, not with tabs)"
                )
            ],
        ),
        (
            "where: amount > 0",
            "where: 'a' == page",
            [
                (
                    "17:12: this is not YAML: expected <block end>, but found '<scalar>', while parsing a block "
                    "mapping (a value that begins with a quote needs another pair of quotes around all of it)"
                )
            ],
        ),
        (
            "where: amount > 0",
            "where: page == 'a: b'",
            [
                (
                    "17:18: this is not YAML: mapping values are not allowed here (a value that holds `: ` needs "
                    "quotes around all of it)"
                )
            ],
        ),
        (
            "  table: sg-state",
            "  table: &x sg-state",
            ["34:10: state.table: anchors are not supported: leave out `&x`"],
        ),
        (
            "  table: sg-state",
            "  table: !!str sg-state",
            ["34:10: state.table: tags are not supported: a value in quotes is a text"],
        ),
    ],
)
def test_a_mistake(old: str, new: str, expected: list[str]) -> None:
    assert [str(problem) for problem in problems_of(changed(old, new))] == [f"p.yaml:{line}" for line in expected]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # kinds of windows
        (
            "tumbling: 1m",
            "tumbling: {size: 1h, offset: -15m}",
            (
                '20:34: windows.views.tumbling.offset: must not be negative, and is "-15m": windows repeat every '
                "`size`, so add `size` to it (of 1h, 45m is the same as -15m)"
            ),
        ),
        (
            "tumbling: 1m",
            "tumbling: {size: 59m, timezone: Europe/Berlin}",
            (
                "20:22: windows.views.tumbling.size: must be at least 1h with a `timezone`: shorter windows are the "
                "same everywhere, so leave `timezone` out"
            ),
        ),
        (
            "tumbling: 1m",
            "tumbling: {size: 1d, timezone: berlin}",
            (
                "20:36: windows.views.tumbling.timezone: must be the IANA name of a time zone such as Europe/Berlin, "
                'and is "berlin" (did you mean `Europe/Berlin`?)'
            ),
        ),
        (
            "tumbling: 1m",
            "tumbling: {size: 1d, timezone: Europe/Berlinn}",
            (
                "20:36: windows.views.tumbling.timezone: must be the IANA name of a time zone such as Europe/Berlin, "
                'and is "Europe/Berlinn" (did you mean `Europe/Berlin`?)'
            ),
        ),
        (
            "tumbling: 1m",
            "tumbling: {size: 1d, timezone: ../../etc/passwd}",
            (
                "20:36: windows.views.tumbling.timezone: must be the IANA name of a time zone such as Europe/Berlin, "
                'and is "../../etc/passwd"'
            ),
        ),
        (
            "tumbling: 1m",
            "tumbling: {size: 1d, timezone: 2}",
            (
                "20:36: windows.views.tumbling.timezone: must be the IANA name of a time zone such as Europe/Berlin, "
                "and is the number 2"
            ),
        ),
        (
            "tumbling: 1m",
            "sliding: 1m",
            (
                '20:14: windows.views.sliding: must be a mapping (`key: value` lines), and is "1m": write '
                "{size: 10s, every: 2s}"
            ),
        ),
        ("tumbling: 1m", "sliding: {size: 1m}", "20:5: windows.views.sliding.every: is required: `every: 2s`"),
        ("tumbling: 1m", "sliding: {every: 1m}", "20:5: windows.views.sliding.size: is required: `size: 10s`"),
        (
            "tumbling: 1m",
            "sliding: {size: 10s, every: 11s}",
            (
                "20:33: windows.views.sliding.every: must not be more than `size`, 10s: events between windows would "
                "be in none"
            ),
        ),
        (
            "tumbling: 1m",
            "sliding: {size: 1d, every: 1s}",
            (
                "20:32: windows.views.sliding.every: puts every event into 86,400 windows, and at most 10,000 are "
                "possible: write at least 8s640ms"
            ),
        ),
        (
            "tumbling: 1m",
            "sliding: {size: 1s, every: 0s}",
            "20:32: windows.views.sliding.every: must be from 1ms to 3650d, and is 0s",
        ),
        (
            "tumbling: 1m",
            "sliding: {size: 1d, every: 1h, timezone: UTC}",
            "20:36: windows.views.sliding.timezone: is not a known key here: only tumbling windows know time zones",
        ),
        (
            "tumbling: 1m",
            "sliding: {size: 1d, every: 1h, step: 1h}",
            "20:36: windows.views.sliding.step: is not a known key here: write `every`: how often a window begins",
        ),
        (
            "tumbling: 1m",
            "hopping: {size: 1m, every: 10s}",
            "20:5: windows.views.hopping: is not a known key here: write `sliding: {size: 10s, every: 2s}`",
        ),
        ("tumbling: 1m", "stagger: 0s", "20:14: windows.views.stagger: must be from 1ms to 3650d, and is 0s"),
        ("tumbling: 1m", "stagger: {}", "20:5: windows.views.stagger.size: is required: `size: 10m`"),
        (
            "tumbling: 1m",
            "stagger: 10m\n    sliding: {size: 1m, every: 10s}",
            "20:5: windows.views.stagger: takes one kind of window, and sliding is named too",
        ),
        (
            "{gap: 30m}",
            "{gap: 30m, max_length: 0ms}",
            "27:37: windows.visits.session.max_length: must be from 1ms to 3650d, and is 0ms",
        ),
        (
            "{gap: 30m}",
            "{gap: 30m, max_lenght: 12h}",
            (
                "27:25: windows.visits.session.max_lenght: is not a known key; did you mean `max_length`? "
                "Allowed here: gap, max_length"
            ),
        ),
        (
            "tumbling: 1m",
            "tumbling: 1m\n    timezone: UTC",
            (
                "21:5: windows.views.timezone: is not a known key here: write it in the window's kind, "
                "`tumbling: {size: 1d, offset: 6h, timezone: Europe/Berlin}`"
            ),
        ),
        (
            "tumbling: 1m",
            "tumbling: 1m\n    limits: {groups: 5}",
            (
                "21:5: windows.views.limits: is not a known key here: all windows of a shard count together: write "
                "`limits` at the top of the file"
            ),
        ),
        # what every window may have
        (
            "tumbling: 1m",
            "tumbling: 1m\n    allowed_lateness: 30",
            "21:23: windows.views.allowed_lateness: lacks a unit: write 30s for seconds or 30ms for milliseconds",
        ),
        (
            "tumbling: 1m",
            "tumbling: 1m\n    emit: once",
            '21:11: windows.views.emit: must be one of updates, final, and is "once"',
        ),
        (
            "tumbling: 1m",
            "tumbling: 1m\n    emit: finaly",
            '21:11: windows.views.emit: must be one of updates, final, and is "finaly" (did you mean `final`?)',
        ),
        (
            "tumbling: 1m",
            "tumbling: 1m\n    where: amount",
            "21:12: windows.views.where: must be true or false for an event, and is a float",
        ),
        (
            "tumbling: 1m",
            "tumbling: 1m\n    where: vip and pge == 'a'",
            "21:20: windows.views.where: there is no field or let `pge` (did you mean `page`?)",
        ),
        (
            "tumbling: 1m",
            "tumbling: 1m\n    where: 'page in (''a'', 5)'",
            (
                "21:29: windows.views.where: cannot compare a string with an int: convert one side with to_string, "
                "to_int or to_float"
            ),
        ),
        (
            "tumbling: 1m\n    by: [page]\n    combine: false\n    select:\n      views: count()",
            (
                "sliding: {size: 1m, every: 10s}\n    by: [page]\n    combine: false\n    select:\n"
                "      views: count_distinct(user, 5, 'reject')"
            ),
            (
                "24:14: windows.views.select.views: count_distinct with 'reject' cannot be in a sliding window, whose "
                "parts are put together only when it ends: write 'approximate', or leave it out"
            ),
        ),
        (
            "sum(double)",
            "quantile(double, 99)",
            (
                "25:33: windows.views.select.revenue: q of quantile must be a number from 0 to 1 such as 0.99; of a "
                "percentile, a hundredth: 0.99"
            ),
        ),
        # limits
        (
            "late:",
            "limits: {groups: 0}\nlate:",
            "32:18: limits.groups: must be a whole number from 1 to 100000000, and is the number 0",
        ),
        (
            "late:",
            "limits: {groups: 5, policy: drop}\nlate:",
            '32:29: limits.policy: must be one of reject, emit_early, and is "drop"',
        ),
        (
            "late:",
            "limits: {groups: 1}\nlate:",
            (
                "32:18: limits.groups: an event may open 2 groups, and one that does would be a dead letter: "
                "`limits.groups` is 1"
            ),
        ),
        ("late:", "limits: 5\nlate:", "32:9: limits: must be a mapping (`key: value` lines), and is the number 5"),
        # events
        (
            "  compression: none",
            "  compression: lz4",
            '6:16: events.compression: must be one of none, gzip, zstd, auto, and is "lz4"',
        ),
        (
            "  idle_after: never",
            "  idle_after: 60",
            "7:15: events.idle_after: lacks a unit: write 60s for seconds or 60ms for milliseconds",
        ),
        (
            "  idle_after: never",
            "  allowed_lateness: 60s",
            (
                "7:3: events.allowed_lateness: is not a known key here: write it in a window; for all of them, "
                "`out_of_orderness` makes them wait"
            ),
        ),
        (
            "    at: timestamp",
            "    at: timestamp\n    in: int",
            "11:5: events.fields.in: `in` is a word of expressions: choose another name",
        ),
        # sinks
        (
            "{firehose: {stream: late}}",
            "{sqs: {}}",
            "32:8: late.sqs.queue_url: is required: `queue_url: https://sqs.eu-central-1.amazonaws.com/123456789012/late`",
        ),
        (
            "{firehose: {stream: late}}",
            "{sqs: {queue_url: late}}",
            (
                "32:25: late.sqs.queue_url: must be the URL of an SQS queue such as "
                'https://sqs.eu-central-1.amazonaws.com/123456789012/late, and is "late"'
            ),
        ),
        ("{firehose: {stream: late}}", "{s3: {prefix: x}}", "32:8: late.s3.bucket: is required: `bucket: my-bucket`"),
        (
            "{firehose: {stream: late}}",
            "{s3: {bucket: my-bucket, prefix: /x}}",
            (
                "32:40: late.s3.prefix: must be the beginning of keys: printable ASCII without blanks, no / first, "
                'and is "/x"'
            ),
        ),
    ],
)
def test_a_mistake_in_windows_limits_formats_and_sinks(old: str, new: str, expected: str) -> None:
    assert [str(problem) for problem in problems_of(changed(old, new))] == [f"p.yaml:{expected}"]


def test_more_groups_an_event_than_the_default_limit() -> None:
    window = "  w{}:\n    sliding: {{size: 10s, every: 1ms}}\n    by: [user]\n    select: {{n: count()}}\n"
    text = GOOD.replace("windows:\n", "windows:\n" + "".join(window.format(number) for number in range(100)))
    (problem,) = problems_of(text)
    assert (problem.line, problem.column, problem.path) == (18, 1, "windows")
    assert problem.message == (
        "an event may open 1,000,002 groups, and one that does would be a dead letter: `limits.groups` is 1,000,000"
    )


@pytest.mark.parametrize("groups", [7, 8])
def test_windows_with_a_filter_of_their_own_may_share_the_limit(groups: int) -> None:
    """An event need not pass several filters: what it opens without any, and with the widest one, must fit."""
    text = changed("tumbling: 1m", "sliding: {size: 1m, every: 10s}\n    where: vip")
    text = text.replace(
        "windows:\n", "windows:\n  more:\n    tumbling: 1m\n    by: [user]\n    where: vip\n    select: {n: count()}\n"
    )
    assert problems_of(f"{text}limits: {{groups: {groups}}}\n") == []
    assert len(problems_of(f"{text}limits: {{groups: 6}}\n")) == 1


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("maxRecords: many", "must be a whole number above 0"),
        ("failoverTimeMilis: 1000", "did you mean failoverTimeMillis?"),
        ("failoverTimeMillis: 10s", "must be a whole number above 0"),
        ("timeoutInSeconds: true", "must be a whole number above 0"),
        ("maxRecords: -5", "must be a whole number above 0"),
        ("shardConsumerDispatchPollIntervalMillis: 99", "must be at least 100: the daemon's loop would spin"),
        ("timeoutInSeconds: 3599", "must be at least 3600: the daemon kills itself when an answer takes longer"),
        ('timeoutInSeconds: "300"', "must be at least 3600"),
        ("idleTimeBetweenReadsInMillis: 60001", "must be at most 60000: a shard without a read for minutes counts as"),
        ("timeoutinseconds: 300", "is spelled timeoutInSeconds"),
        ("maxrecords: 5", "is spelled maxRecords"),
        ("maxRecords: 0", "the daemon takes 0 for a property that is not set"),
        ('maxRecords: "0"', "the daemon takes 0 for"),
        ("cleanupLeasesUponShardCompletion: false", "the daemon takes false for"),
        ("cleanupLeasesUponShardCompletion: 'False'", "the daemon takes False for"),
        ("maxRecords: 1.5", "must be a text, a whole number or true, and is the number 1.5"),
        ("maxRecords: [1]", "must be a text, a whole number or true, and is a list"),
        ('userAgent: "a\\nexecutableName = evil"', "must be printable and not empty"),
        ("'a b': 1", "is no name of a property"),
        ("executableName: x", "cannot be set here: it is the worker's relay"),
        ("streamName: x", "`source.stream` sets it"),
        ("streamArn: x", "`source.stream` sets it"),
        ("applicationName: x", "`worker.application` sets it"),
        ("workerIdentifier: x", "`worker.identifier` sets it"),
        ("initialPositionInStream: LATEST", "`source.start` sets it"),
        ("InitialPositionInStreamExtended: 5", "`source.start` sets it"),
        ("processingLanguage: x", "it belongs to the worker's relay"),
        ("regionName: x", "AWS_REGION"),
        ("kinesisEndpoint: x", "AWS_ENDPOINT_URL"),
        ("dynamoDBEndpoint: x", "AWS_ENDPOINT_URL"),
        ("AwsCredentialsProvider: x", "usual AWS chain"),
        ("AwsCredentialsProviderDynamoDB: x", "usual AWS chain"),
    ],
)
def test_properties_of_the_daemon_that_cannot_be_set(written: str, message: str) -> None:
    (problem,) = problems_of(GOOD + f"worker: {{kcl: {{{written}}}}}\n")
    assert problem.path.startswith("worker.kcl.")
    assert message in problem.message


@pytest.mark.parametrize(
    "written",
    [
        "timeoutInSeconds: 3600",
        'timeoutInSeconds: "172800"',
        "maxRecords: 1",
        "idleTimeBetweenReadsInMillis: 60000",
    ],
)
def test_numbers_within_their_bounds_are_taken(written: str) -> None:
    assert problems_of(GOOD + f"worker: {{kcl: {{{written}}}}}\n") == []


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x]\nb: *a\n",
        "a: &a {<<: *a}\n",
        "a: &a [&b [x, x], *b, *b]\nb: [*a, *a, *a, *a, *a]\n",
    ],
)
def test_aliases_are_refused_so_no_file_unfolds(text: str) -> None:
    messages = [problem.message for problem in problems_of(GOOD + text)]
    assert "aliases are not supported: write the value out" in messages


@pytest.mark.parametrize("text", ["[" * 5000, "{a: " * 5000, "- " * 5000 + "a", "? " * 5000])
def test_deep_nesting_is_refused(text: str) -> None:
    assert any("more than 20 levels" in problem.message for problem in problems_of(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "must be a mapping (`key: value` lines), and is a list"),
        ("hello\n", 'must be a mapping (`key: value` lines), and is "hello"'),
        ("null\n", "must be a mapping (`key: value` lines), and is nothing"),
        ("a: 1\n---\nb: 2\n", "one file holds one pipeline: `---` begins another"),
        ("%YAML 1.1\n---\na: 1\n", "leave out the %YAML line"),
        ("[a, b]: 1\n", "a key must be a simple text"),
        ("a: \x01\n", "the character '\\x01' is not allowed"),
        ('a: "\\ud800"\n', "`\\ud800` to `\\udfff` are no characters"),
    ],
)
def test_files_of_another_shape(text: str, message: str) -> None:
    assert any(message in problem.message for problem in problems_of(text))


def test_a_variable_must_be_printable() -> None:
    (problem,) = problems_of(changed("  table: sg-state", "  table: ${T}"), T="a\x1b[31m")
    assert problem.message == "the environment variable T holds a character that cannot be printed: a\\x1b[31m"


def test_a_mistake_after_a_variable_is_at_its_place() -> None:
    (problem,) = problems_of(changed("where: amount > 0", "where: amount > ${MIN} and nope"), MIN="12345678901")
    assert (problem.line, problem.column) == (17, 28)
    (problem,) = problems_of(changed("where: amount > 0", "where: amount > ${MIN}"), MIN="1 and nope")
    assert (problem.line, problem.column) == (17, 17)


def test_one_mistake_gives_one_message() -> None:
    """What depends on something wrong is not reported too."""
    for old, new in [
        ("    amount: float?", "    amount: flot?"),
        ("    amount: float?", "    amount: ${NOBODY}"),
        ("  double: amount * 2", "  double: amount * 'x'"),
        ("  double: amount * 2", "  double: ${NOBODY}"),
        ("let:\n", "lets:\n"),
        ("let:\n  double: amount * 2", "let: [double]"),
        ("  fields:\n", "  feilds:\n"),
        ("  partition_key: user", "  partiton_key: user"),
        ("  partition_key: user", "  partition_key: ${NOBODY}"),
        ("windows:\n", "windos:\n"),
        ("sinks:\n", "sink:\n"),
        ("by: [page]", "by: [${NOBODY}]".replace("[$", "['$").replace("}]", "}']")),
        ("    combine: false", "    combin: false"),
    ]:
        found = problems_of(changed(old, new))
        assert len(found) == 1, "\n".join(map(str, found))


def test_all_mistakes_are_reported_together_in_order_of_place() -> None:
    text = GOOD
    for old, new in [
        ("pipeline: clickstream", "pipeline: Clicks"),
        ("  compression: none", "  compression: atuo"),
        ("  double: amount * 2", "  double: amont * 2"),
        ("where: amount > 0", "where: amount > '0'"),
        ("tumbling: 1m", "tumbling: 60"),
        ("sum(double)", "sum(page)"),
        ("{stream: aggregates}", "{streem: aggregates}"),
        ("  table: sg-state", "  table: ${TABLE}"),
        ("  bucket: sg-bucket", "  bucket: B"),
    ]:
        text = text.replace(old, new)
    assert [(problem.line, problem.path) for problem in problems_of(text)] == [
        (1, "pipeline"),
        (6, "events.compression"),
        (16, "let.double"),
        (17, "where"),
        (20, "windows.views.tumbling"),
        (25, "windows.views.select.revenue"),
        (31, "sinks[0].firehose.streem"),
        (34, "state.table"),
        (35, "state.bucket"),
    ]
