"""What the daemon is started with: properties, log configuration, and the private directory."""

from __future__ import annotations

import shlex
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import SetupError
from consumer.runtime import daemon_log
from consumer.runtime.daemon_files import (
    DaemonConfig,
    render_log_configuration,
    render_properties,
    setting_ms,
    write_files,
)
from consumer.runtime.private_directory import OWNER


def config(
    stream: str = "clicks", start_seconds: int | None = None, extra: tuple[tuple[str, str], ...] = ()
) -> DaemonConfig:
    return DaemonConfig(stream, "clicks-app", "pod-0", "eu-west-1", start_seconds, extra)


@pytest.fixture
def parent() -> Iterator[Path]:
    """Give a directory to make the private one in; pytest's own paths may be too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="sg-") as directory:
        yield Path(directory)


def read_properties(text: str) -> dict[str, str]:
    """Read a properties file by the rules of java.util.Properties, written from its documentation."""
    assert text.isascii()
    properties: dict[str, str] = {}
    for line in text.split("\n"):
        line = line.lstrip(" \t\f")  # noqa: PLW2901 -- as the rules are told
        if not line or line[0] in "#!":
            continue
        name, rest = take(line, " \t\f=:")
        rest = rest.lstrip(" \t\f")
        if rest[:1] in {"=", ":"}:
            rest = rest[1:].lstrip(" \t\f")
        value, nothing = take(rest, "")
        assert not nothing
        properties[join_surrogates(name)] = join_surrogates(value)
    return properties


def take(text: str, ends: str) -> tuple[str, str]:
    """Return what precedes the first unescaped end, unescaped, and the rest."""
    taken, i = "", 0
    while i < len(text) and text[i] not in ends:
        if text[i] != "\\":
            taken, i = taken + text[i], i + 1
        elif text[i + 1] == "u":
            taken, i = taken + chr(int(text[i + 2 : i + 6], 16)), i + 6
        else:
            taken, i = taken + {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}.get(text[i + 1], text[i + 1]), i + 2
    return taken, text[i:]


def join_surrogates(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_whatever_is_written_reads_back(properties: dict[str, str]) -> None:
    assert read_properties(render_properties(properties)) == properties


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "a=plain\n"),
        ("two\nstreamName=other", "a=two\\nstreamName\\=other\n"),
        (" leading", "a=\\ leading\n"),
        ("#no comment\\", "a=\\#no\\ comment\\\\\n"),
        ("é€😀", "a=\\u00e9\\u20ac\\ud83d\\ude00\n"),
    ],
)
def test_escapes(value: str, written: str) -> None:
    assert render_properties({"a": value}) == written


def test_the_daemon_never_runs_on_latest_and_gets_one_start() -> None:
    assert config().properties("x")["initialPositionInStream"] == "TRIM_HORIZON"
    assert "initialPositionInStreamExtended" not in config().properties("x")
    at = config(start_seconds=1_700_000_000).properties("x")
    assert at["initialPositionInStreamExtended"] == "1700000000"
    assert "initialPositionInStream" not in at
    assert "LATEST" not in {*config().properties("x").values(), *at.values()}


def test_the_settings_that_correctness_rests_on() -> None:
    properties = config().properties("relay command")
    assert properties["executableName"] == "relay command"
    assert properties["callProcessRecordsEvenForEmptyRecordList"] == "true"
    assert properties["retrievalMode"] == "POLLING"
    assert int(properties["shutdownGraceMillis"]) > 0
    assert int(properties["timeoutInSeconds"]) >= 24 * 3600, "a sink that is down for hours kills nothing"
    assert (properties["applicationName"], properties["workerIdentifier"]) == ("clicks-app", "pod-0")
    assert properties["regionName"] == "eu-west-1"


def test_a_stream_may_be_an_arn() -> None:
    arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/clicks"
    properties = config(stream=arn).properties("x")
    assert (properties["streamArn"], properties["streamName"]) == (arn, "clicks")
    assert "streamArn" not in config().properties("x")


def test_the_pipeline_file_may_override_defaults_and_add_properties() -> None:
    properties = config(extra=(("maxRecords", "1000"), ("shardSyncIntervalMillis", "1000"))).properties("x")
    assert (properties["maxRecords"], properties["shardSyncIntervalMillis"]) == ("1000", "1000")


@pytest.mark.parametrize(
    "name",
    [
        "executableName",
        "WORKERIDENTIFIER",
        "workerId",
        "tableName",
        "streamName",
        "initialPositionInStream",
        "callProcessRecordsEvenForEmptyRecordList",
        "kinesisEndpoint",
        "dynamoDbClient.endpointOverride",
    ],
)
def test_what_streamgauge_sets_itself_is_never_overridden(name: str) -> None:
    with pytest.raises(AssertionError, match="the loader"):
        config(extra=((name, "x"),)).properties("x")


def test_the_directory_and_its_files_are_private(parent: Path) -> None:
    files = write_files(config(extra=(("shutdownGraceMillis", "1500"),)), "WARN", [str(parent)])
    assert stat.S_IMODE(files.directory.stat().st_mode) == 0o700
    plain = [path for path in files.directory.iterdir() if not path.is_symlink()]
    assert {path.name for path in plain} == {"daemon.properties", "daemon-log.xml", "relay.py", OWNER}
    assert {stat.S_IMODE(path.stat().st_mode) for path in plain} == {0o600}
    assert files.shutdown_grace_ms == 1500
    files.remove()
    assert not files.directory.exists()


def test_the_command_of_the_relay_survives_being_split_at_blanks(parent: Path) -> None:
    files = write_files(config(), "WARN", [str(parent)])
    command = read_properties(files.properties.read_text())["executableName"].split(" ")
    assert command == shlex.split(" ".join(command))
    assert [Path(command[0]), *command[1:2]] == [files.directory / "python", "-ISs"]
    assert subprocess.run(command, check=False, timeout=30, capture_output=True).returncode == 1, "nobody listens"
    version = subprocess.run([command[0], "-ISsc", "import sys; print(sys.version)"], capture_output=True, check=True)
    assert version.stdout.decode().strip() == sys.version


def test_a_directory_whose_path_is_unfit_is_passed_over(parent: Path) -> None:
    blank, long, fit = parent / "a b", parent / ("x" * 90), parent / "fit"
    for directory in (blank, long, fit):
        directory.mkdir()
    files = write_files(config(), "WARN", map(str, (blank, long, parent / "missing", fit)))
    assert files.directory.parent == fit
    assert not [*blank.iterdir(), *long.iterdir()]
    with pytest.raises(SetupError, match=r"has a blank.*longer than a socket's path.*missing.*Set TMPDIR"):
        write_files(config(), "WARN", map(str, (blank, long, parent / "missing")))


def test_a_refused_property_leaves_no_directory(parent: Path) -> None:
    with pytest.raises(SetupError, match=r"worker\.kcl: shutdownGraceMillis must be a whole number"):
        write_files(config(extra=(("shutdownGraceMillis", "soon"),)), "WARN", [str(parent)])
    assert not [*parent.iterdir()]


@pytest.mark.parametrize("level", daemon_log.LEVELS)
def test_the_log_is_json_on_standard_error_and_always_tells_of_initialisation(level: str) -> None:
    root = ET.fromstring(render_log_configuration(level))  # noqa: S314 -- our own text
    appender = root.find("appender")
    assert appender is not None
    assert appender.findtext("target") == "System.err"
    encoder = appender.find("encoder")
    assert encoder is not None
    assert encoder.get("class") == "ch.qos.logback.classic.encoder.JsonEncoder"
    general = root.find("root")
    assert general is not None
    assert general.get("level") == level
    levels = {logger.get("name"): logger.get("level") for logger in root.findall("logger")}
    assert daemon_log.at_least("INFO", levels.get(daemon_log.INITIALISED[0]) or level)


def test_settings_are_those_of_the_file_or_ours() -> None:
    assert setting_ms((), "failoverTimeMillis") == 10_000
    assert setting_ms((("maxRecords", "5"), ("failoverTimeMillis", "3000")), "failoverTimeMillis") == 3_000


def test_a_dead_worker_counts_as_dead_before_its_leases_expire() -> None:
    """Else the leader gives them to it again. Reports go by whole seconds; three renewals fit into the time."""
    failover_ms = setting_ms((), "failoverTimeMillis")
    assert 2 * setting_ms((), "workerMetricsReporterFreqInMillis") + 1_000 < failover_ms - failover_ms / 3


def test_the_load_is_balanced_every_half_a_minute() -> None:
    """Each balancing is a pause for the shards that move."""
    interval_ms = setting_ms((), "leaseAssignmentIntervalMillis")
    assert interval_ms * setting_ms((), "varianceBalancingFrequency") == 30_000
