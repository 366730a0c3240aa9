"""What every number of the status page means: the page `/help`, and the tables of docs/status-page.md."""

from __future__ import annotations

from collections.abc import Iterator

from consumer.telemetry.attention import BEHIND_SECONDS, FULL_SHARE, HELD_BACK_SECONDS, LATE_SHARE, UNMOVED_SECONDS
from consumer.telemetry.facts import COMMITS_MAX, RECENT_MINUTES
from consumer.telemetry.markup import element
from consumer.telemetry.page_parts import page

Part = tuple[str, tuple[tuple[str, str], ...]]

_TEXT = f"""\
## At the top
starting, ready, stopping, stuck
    Ready: the daemon has initialised, so /readyz says 200. Stuck: a shard has made no progress for five
    minutes, so /healthz says 503, and the worker should be started again.
Shards
    How many this worker has now. 0 is no fault: others have them.
Records a second
    Records received, taken over the last minute, of all shards of this worker.
Furthest behind
    The shard that is furthest behind the tip of its stream: the age of the newest record read, or what Kinesis
    said if that is more. Some seconds are usual.
Open windows
    Windows held in memory: one for each start and group, or session.
To deliver
    Rows that are committed, and that not every sink has taken. They are stored: a crash loses none of them.
Late, {RECENT_MINUTES} min
    Events whose window was closed already, counted for each such window. They go where `late` of the pipeline
    file says.
Dead letters, {RECENT_MINUTES} min
    Records that could not be used. They go where `dead_letter` of the pipeline file says.
## Shards
Shard
    Below its name: the epoch, which is how often its state was claimed; what this worker began with (empty:
    nothing, inherited: from the shards it was split from or merged of, resumed: its stored state), and when.
Doing
    What the shard's thread is inside of, and for how long if that is ten seconds or more. Waiting for daemon is what
    it does between two batches.
Behind
    How far reading is behind the tip at most: as it was at the last batch, and if that is more than five seconds
    ago the time since. {BEHIND_SECONDS:.0f} s or more is marked.
Records
    A second over the last minute, and in all since the shard was taken over.
Watermark
    How long ago it is, and the time itself: no event before it is expected any more, and windows that end
    before it are closed. It follows the events, not the clock.
Open windows
    Of the shard, and how many it may have (limits.groups). From {100 * FULL_SHARE:.0f} % on it is marked.
Last batch
    When the daemon last gave records, or said that there are none, which it does about once a second. Longer
    than some seconds: the daemon, Kinesis or the network stands still, or the shard waits for a sink.
Last commit
    When the state last advanced, with how many rows to deliver, and how long it took; or that it goes wrong.
To deliver
    Rows of the last commit that not every sink has taken.
## Windows, since the start of this process
Open
    Of all shards of this worker together.
Results
    Results that became ready; with allowed lateness a window gives several. Those of a global window are told by
    the worker that combines it.
Late
    Events that came after the window had closed.
## Global windows
Complete up to
    All shards, those of other workers too, have passed this time: global windows that end before it, with their
    allowed lateness, are complete, and their rows come. Read about once a commit interval. A shard tells how far it
    is when a window goes by, so its watermark above may be ahead.
Windows that wait
    Windows that are over in the shard that is ahead, and not in all.
Contributions
    Parts of global windows: those that shards of this worker have stored, and those that it has read to put them
    together. The shard that combines a bucket reads the parts of all.
Behind the one that is ahead
    In event time. A shard without events follows the one that is ahead after `idle_after`. {HELD_BACK_SECONDS:.0f} s
    or more is marked.
## Sinks, since the start of this process
Takes rows
    No: since so long no row was taken, and the shards that have rows for it wait. Nothing is lost. It says yes again
    when nobody has tried for five minutes: the rows are another worker's now.
Tried again
    Attempts after which rows were left to be sent again.
Last failure
    When, and a word for why.
Rejected (lost)
    Rows that the sink will never take, such as one that is too large. The log tells each.
## Commits, since the start of this process
made, tried again, given up, fenced
    Tried again: a call to the state store failed, and is made again. Given up: the worker ends, and goes on
    from the last commit when it is started again. Fenced: another worker has the shard.
The last
    The newest {COMMITS_MAX} of all shards, and as many of those that went wrong.
Written
    What the commit wrote to DynamoDB and S3.
## Attention: errors
stuck
    A shard has made no progress for five minutes in one step. The liveness probe starts the worker again.
refused
    The stored state does not fit the pipeline or the stream. Nothing of the shard is processed.
daemon
    The Java daemon has ended by itself. The worker ends too, and is started again.
rows_rejected
    A sink has rejected rows for good: they are lost.
commit_failed
    A commit was given up. The worker ends; what is stored is whole.
global_incomplete
    Global windows have got no rows: a shard has held them back for so long that parts of others may be forgotten.
## Attention: warnings
fenced
    Another worker has claimed the shard; this one does nothing more with it.
sink_failing
    A sink takes no rows. They are kept and sent again; the shard waits meanwhile.
commit_retry
    A call to the state store failed, and is made again.
behind
    A shard is {BEHIND_SECONDS:.0f} s or more behind.
no_batch
    A shard has had no batch for {BEHIND_SECONDS:.0f} s. What it does meanwhile says why: it waits for a sink,
    for the state store, or for the daemon, which calls about once a second when all is well.
watermark_stalled
    Records arrive, but for {UNMOVED_SECONDS / 60:.0f} minutes none was later than those before, so no window
    closes.
global_held_back
    A shard is {HELD_BACK_SECONDS:.0f} s of event time behind the one that is ahead, or has had no event while others
    had some for {UNMOVED_SECONDS / 60:.0f} minutes: all global windows wait for it.
global_without_cover
    For {UNMOVED_SECONDS / 60:.0f} minutes the shards that have told of their progress have not been the whole stream:
    no global window is complete.
windows_limit
    A shard has {100 * FULL_SHARE:.0f} % of the open windows that it may have, or more.
dead_letters
    Records could not be used in the last {RECENT_MINUTES} minutes.
late
    {100 * LATE_SHARE:.0f} % of the records of the last {RECENT_MINUTES} minutes or more were late for a window.
"""


def _parts(text: str) -> Iterator[Part]:
    """Read the text above: a title behind ##, a term at the beginning of a line, what it means indented below."""
    for part in text.split("## ")[1:]:
        title, *lines = part.splitlines()
        terms: dict[str, list[str]] = {}
        for line in lines:
            if line.startswith(" "):
                terms[list(terms)[-1]].append(line.strip())
            else:
                terms[line] = []
        yield title, tuple((term, " ".join(words)) for term, words in terms.items())


HELP = tuple(_parts(_TEXT))
"""Titles, with terms and what they mean."""


def help_page() -> str:
    """Return the page `/help`."""
    sections = [
        element(
            "section",
            element("h2", title),
            element(
                "dl",
                *(each for term, text in terms for each in (element("dt", term), element("dd", text))),
                class_="help",
            ),
        )
        for title, terms in HELP
    ]
    back = element("p", element("a", "to the status of the worker", href="/"), class_="who")
    header = element("header", element("h1", "What the numbers mean"), back)
    return page("What the numbers mean - Streamgauge", header, element("main", *sections, class_="apart"))
