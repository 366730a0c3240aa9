"""The status page: what it shows, and that nothing it shows can be anything but text."""

from __future__ import annotations

import io
from collections import Counter
from html.parser import HTMLParser

import pytest
from prometheus_client import CollectorRegistry

from consumer.core.completion import LAST_HASH_KEY, completion
from consumer.core.completion import Progress as ShardProgress
from consumer.core.counts import Counts
from consumer.errors import RefusedError, RetryableError
from consumer.telemetry.events import Telemetry
from consumer.telemetry.health import Activity, Health
from consumer.telemetry.logging import configure_logging
from consumer.telemetry.markup import Markup, element, escape
from consumer.telemetry.metrics import Metrics
from consumer.telemetry.page_words import NOTHING, clock_time, duration, many, number, rate, size
from consumer.telemetry.progress import Progress
from consumer.telemetry.shards import Batch
from consumer.telemetry.start_events import STEPS
from consumer.telemetry.status_help import HELP, help_page
from consumer.telemetry.status_page import status_page
from tests.docs.pages import DOCS
from tests.telemetry import scenes
from tests.telemetry.scenes import SHARDS
from tests.telemetry.told import FakeClock, Told

ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "section", "footer", "h1", "h2", "h3", "p"),
    *(
        "a",
        "b",
        "span",
        "code",
        "time",
        "ul",
        "li",
        "dl",
        "div",
        "dt",
        "dd",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    ),
}
ATTRIBUTES = {
    *("lang", "charset", "name", "content", "class", "id", "href", "datetime", "title", "scope", "role"),
    *("aria-labelledby", "data-label"),
}
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&lt;\0\x1b[31m\u202e"


class Page(HTMLParser):
    """What a browser would make of a page, as far as tests ask."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.labels: list[str] = []
        self.links: set[str] = set()
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        values = dict(attrs)
        self.attributes |= values.keys()
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.labels += [value for name, value in attrs if name == "aria-labelledby" and value]
        if values.get("href"):
            self.links.add(values["href"] or "")
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
        if tag != "meta":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.texts.append(data)
            if {"td", "th"} & set(self._open):
                self.rows[-1][-1] += data + " "

    def row(self, beginning: str) -> list[str]:
        """Return the cells of the row that begins with this text."""
        return [cell.strip() for row in self.rows if row[0].startswith(beginning) for cell in row]

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def page_of(told: Told, *, refreshing: bool = True) -> Page:
    return Page(status_page(told.status(), refreshing=refreshing))


def test_before_anything_was_told(told: Told) -> None:
    page = page_of(told)
    assert "starting" in page.text
    assert "No shard yet" in page.text
    assert "No row was sent yet." in page.text


def test_the_start_stands_first_while_it_lasts(told: Told) -> None:
    scenes.begin(told.telemetry)
    told.clock.seconds += 12
    told.telemetry.daemon_started(pid=7, java_version="25")
    told.telemetry.daemon_says("Lease table is still empty. Checking again in 3000 ms")
    page = page_of(told)
    assert page.row(STEPS["check_table"])[1:3] == ["22:13:20", "12 s so far"]
    assert "Lease table is still empty" in page.text
    assert page.text.index("What the start is at") < page.text.index("Windows")
    told.telemetry.daemon_initialised(seconds=4)
    page = page_of(told)
    assert page.text.index("The start") > page.text.index("Windows")
    assert page.row(STEPS["check_table"])[2] == "12 s"


def test_without_a_shard_it_says_that_this_is_normal_and_where_to_look(told: Told) -> None:
    scenes.ready(told)
    page = page_of(told)
    assert "No shard leased: other workers have them, this is normal." in page.text
    assert "streamgauge state list FILE" in page.text
    assert "The worker has no shard." in page.text
    told.telemetry.worker_stopping(reason="SIGTERM")
    page = page_of(told)
    assert "stopping: SIGTERM" in page.text
    assert "the worker has given them back" in page.text


def test_a_shard_has_a_row(told: Told) -> None:
    scenes.ready(told)
    scenes.take_over(told.telemetry)
    told.clock.seconds += 60
    scenes.batch(told)
    scenes.commit(told.telemetry)
    told.telemetry.activity(shard=SHARDS[0], activity=Activity.WAITING_FOR_DAEMON)
    told.clock.seconds += 2
    assert [" ".join(cell.split()) for cell in page_of(told).row(SHARDS[0])][:9] == [
        f"{SHARDS[0]} epoch 4, resumed 22:13:25",
        "waiting for daemon",
        "1.5 s",
        "10/s 600 in all",
        "6.0 s ago 22:14:21",
        "150 of 1,000",
        "2.0 s ago 600 records",
        "2.0 s ago 6 rows in 20 ms",
        "6",
    ]


def test_trouble_is_on_top_and_in_the_tables(told: Told) -> None:
    scenes.trouble(told)
    page = page_of(told)
    attention = page.text[: page.text.index("Shards Shard")]
    for text in ("is parked until a person decides", "does not take rows", "has rejected 1 rows for good", "24 (21"):
        assert text in attention
    assert page.row("firehose:aggregates")[1] == "no, for 9.0 s"
    assert page.row("invalid_json")[1:3] == ["21", "21"]
    wrong = page.text[page.text.index("The last that went wrong") :]
    assert "RetryableError: table t: throttled" in wrong


def test_who_holds_back_global_windows_is_on_the_page(told: Told) -> None:
    scenes.ready(told)
    assert "Global windows" not in page_of(told).text
    scenes.global_windows(told)
    told.clock.seconds += 2
    page = page_of(told)
    text = " ".join(page.text.split())
    assert "Complete up to 22:01:49 , 11 min 43 s ago . Read 2.0 s ago." in text
    assert "Windows that wait: views 11." in text
    assert "12 stored, 8 read to be combined" in text
    assert [" ".join(cell.split()) for cell in page.row(SHARDS[1])] == [
        SHARDS[1],
        "22:01:49 11 min 43 s ago",
        "11 min 40 s",
    ]
    assert '<span class="warning">11 min 40 s</span>' in status_page(told.status(), refreshing=True)
    assert page.row("views")[2] == "4"
    attention = " ".join(page.text[: page.text.index("No shard leased")].split())
    assert f"Warning {SHARDS[1]} holds back all global windows: it is 700 s of event time behind another" in attention
    assert "Error Global windows have got no rows, the last ones of views" in attention


def test_global_windows_that_cannot_be_complete_say_why(told: Told) -> None:
    scenes.ready(told)
    told.telemetry.global_progress(completion=completion([], 0), waiting={"views": 0})
    assert "not all shards have told of their progress" in page_of(told).text
    silent = ShardProgress(SHARDS[0], 0, (), ("0", str(LAST_HASH_KEY)), None, 1, 1)
    told.telemetry.global_progress(completion=completion([silent], 0), waiting={"views": 0})
    page = page_of(told)
    assert "not all shards have had an event" in page.text
    assert [cell.strip() for cell in page.row(SHARDS[0])[:3]] == [SHARDS[0], NOTHING, NOTHING]


def test_a_stuck_worker_says_so(told: Told) -> None:
    scenes.ready(told)
    scenes.take_over(told.telemetry)
    told.clock.seconds += 301
    page = page_of(told)
    assert "stuck" in page.texts
    assert "so /healthz says 503" in page.text


def hostile(clock: FakeClock) -> Told:
    """Return what a worker tells whose names all try to be HTML."""
    health, progress, registry, stream = (
        Health(clock.monotonic),
        Progress(clock.monotonic),
        CollectorRegistry(),
        io.StringIO(),
    )
    telemetry = Telemetry(
        metrics=Metrics(registry, stream=HOSTILE),
        logger=configure_logging(level="debug", now_ms=clock.now_ms, stream=stream),
        health=health,
        windows=[HOSTILE],
        monotonic=clock.monotonic,
        now_ms=clock.now_ms,
    )
    told = Told(telemetry, health, progress, clock, registry, stream)
    telemetry.worker_started(
        pipeline=HOSTILE, definitions=HOSTILE, version=HOSTILE, stream=HOSTILE, application=HOSTILE, identifier=HOSTILE
    )
    telemetry.start_step("check_table")
    telemetry.start_retry(step="check_table", error=RetryableError(HOSTILE), wait_seconds=1)
    telemetry.facts.window_texts = {HOSTILE: HOSTILE}
    telemetry.daemon_started(pid=7, java_version=HOSTILE)
    telemetry.daemon_says(HOSTILE)
    scenes.take_over(telemetry, HOSTILE)
    counts = Counts(received=1, late={HOSTILE: 1}, dead_letters={}, results={HOSTILE: 1})
    telemetry.batch(HOSTILE, Batch(counts, 1, 5, None, None, None, {HOSTILE: 1}, {}, 0.1))
    telemetry.facts.note_batch(
        HOSTILE,
        telemetry.facts.shards()[HOSTILE],
        Batch(Counts(dead_letters={HOSTILE: 1}), 1, 5, None, None, None, {HOSTILE: 1}, {}, 0.1),
        clock.now_ms(),
    )
    telemetry.delivery(HOSTILE).retry(HOSTILE, HOSTILE, 1, 1.0)
    telemetry.delivery(HOSTILE).rejected(HOSTILE, HOSTILE, 1)
    telemetry.commit_retry(shard=HOSTILE, step="fence", error=RetryableError(HOSTILE), wait_seconds=1)
    telemetry.shard_refused(shard=HOSTILE, error=RefusedError(HOSTILE))
    members = [ShardProgress(HOSTILE, 0, (), ("0", str(LAST_HASH_KEY)), 5, 1, 1)]
    telemetry.global_progress(completion=completion(members, 0), waiting={HOSTILE: 1})
    telemetry.global_windows_incomplete(shard=HOSTILE, window=HOSTILE, bucket=0, after_ms=None, until_ms=1)
    telemetry.worker_stopping(reason=HOSTILE)
    return told


def test_whatever_the_names_are_the_page_has_its_own_elements_alone(clock: FakeClock) -> None:
    told = hostile(clock)
    page = page_of(told)
    assert set(page.elements) <= ELEMENTS
    assert page.attributes <= ATTRIBUTES
    assert page.links == {"/?refresh=off", "/status", "/metrics", "/healthz", "/readyz", "/help"}
    assert page.text.count("<script>alert(1)</script>") > 20, "as text"
    assert not {"\0", "\x1b", "\u202e"} & set(page.text)


@pytest.mark.parametrize("scene", [scenes.nothing, scenes.ready, scenes.trouble, scenes.global_windows])
def test_the_page_is_fit_for_every_reader(told: Told, scene: object) -> None:
    assert callable(scene)
    scene(told)
    for page in (page_of(told), Page(help_page())):
        assert set(page.elements) <= ELEMENTS
        assert page.attributes <= ATTRIBUTES
        assert len(page.ids) == len(set(page.ids))
        assert set(page.labels) <= set(page.ids), "every table and section is named by a heading"
        assert page.elements["h1"] == page.elements["main"] == page.elements["title"] == 1
        assert all(len(row) > 1 for row in page.rows)


def test_text_is_escaped_once() -> None:
    assert escape("a<b&c\"'") == "a&lt;b&amp;c&quot;&#x27;"
    assert escape(Markup("<b>")) == "<b>"
    assert (
        element("a", "<", element("b", "&"), href='"', class_="x") == '<a href="&quot;" class="x">&lt;<b>&amp;</b></a>'
    )


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (number(12_345), "12,345"),
        (number(None), "\u2013"),
        (rate(0), "0"),
        (rate(0.44), "0.4"),
        (rate(12_345.6), "12,346"),
        (duration(None), "\u2013"),
        (duration(0), "0 s"),
        (duration(0.034), "34 ms"),
        (duration(1.24), "1.2 s"),
        (duration(9.96), "10 s"),
        (duration(42.4), "42 s"),
        (duration(60), "1 min"),
        (duration(185), "3 min 5 s"),
        (duration(7_620), "2 h 7 min"),
        (duration(356_400), "4 d 3 h"),
        (duration(-3_600), "\u22121 h"),
        (size(None), "\u2013"),
        (size(812), "812 B"),
        (size(9_840), "9.8 KB"),
        (size(31_000_000), "31 MB"),
        (size(5.2e12), "5,200 GB"),
        (many(1, "row"), "1 row"),
        (many(1_000, "row"), "1,000 rows"),
        (clock_time("2023-11-14T22:13:20.123Z"), "22:13:20"),
    ],
)
def test_numbers_as_people_read_them(made: str, text: str) -> None:
    assert made == text


def test_every_number_of_the_page_is_explained(told: Told) -> None:
    scenes.trouble(told)
    scenes.global_windows(told)
    explained = " ".join(term for _, terms in HELP for term, _ in terms)
    kinds = {each.kind for each in told.status().attention}
    assert all(kind in explained for kind in kinds)
    docs = (DOCS / "status-page.md").read_text(encoding="utf-8")
    for title, terms in HELP:
        assert f"### {title}\n" in docs
        for term, text in terms:
            assert f"| {term} | {text} |\n" in docs
    for step, text in STEPS.items():
        assert f"| `{step}` | {text} |\n" in docs
