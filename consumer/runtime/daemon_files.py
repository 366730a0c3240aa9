"""The files that the daemon is started with: its properties, its log configuration, and the command of the relay.

They lie in a private directory: the properties can name classes to load, so they are code. They hold no secret: the
daemon logs every property. Endpoints are not in them either; the daemon, like boto3, takes those from
AWS_ENDPOINT_URL and its variants in the environment.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from consumer.errors import SetupError
from consumer.pipeline.kcl import check_property
from consumer.runtime import daemon_log
from consumer.runtime.listener import SOCKET_NAME
from consumer.runtime.private_directory import PrivateDirectory, make_private_directory, remove_stale_directories

RELAY = Path(__file__).with_name("relay.py")

DEFAULTS: Mapping[str, str] = {
    # The class name of the AWS SDK's usual chain: environment, profile, web identity, container, instance.
    "AwsCredentialsProvider": "DefaultCredentialsProvider",
    # Unset would mean enhanced fan-out, which is paid for.
    "retrievalMode": "POLLING",
    # A read returns 1,000 records by default: a third more CPU time a record, and five reads a second at most.
    "maxRecords": "10000",
    "idleTimeBetweenReadsInMillis": "1000",
    "failoverTimeMillis": "10000",
    # How often the leader looks for leases that nobody has or renews; twice as often each worker looks for new ones.
    # Child shards, and those of a worker that is gone, wait for both. Each look of the leader reads the lease table.
    "leaseAssignmentIntervalMillis": "2000",
    # The leader balances the load at each so many looks, by default every third: every half a minute. It is a pause for
    # the shards that move.
    "varianceBalancingFrequency": "15",
    # How often a worker reports that it is alive. Twice that after its last report it counts as dead. By default every
    # 30 s: leases that a dead worker has not renewed are given to it again, for it counts as alive, and idle. It must
    # count as dead before its leases expire, which is less than the fail-over time after its end.
    "workerMetricsReporterFreqInMillis": "2000",
    # How often the worker looks after its shards: each step of a shard, three before its first record and one behind
    # its last, waits for that. By default every second. Each look of the leader reads the row of its lock. Only the
    # daemon of paced_daemon.py knows this property.
    "shardConsumerDispatchPollIntervalMillis": "250",
    # How long the daemon stands still after it has made leases for a stream's shards, lest it lists them too often: by
    # default a minute, for which a new application would do nothing. Later lists are made every two minutes at most.
    "shardSyncIntervalMillis": "1000",
    # How often a child shard looks whether its parents have ended; by default every ten seconds.
    "parentShardPollIntervalMillis": "500",
    "reBalanceThresholdPercentage": "30",
    "disableWorkerMetrics": "true",
    "metricsLevel": "NONE",
    "logWarningForTaskAfterMillis": "30000",
    # The default is 0: SIGTERM would then stop without a word to the shards.
    "shutdownGraceMillis": "45000",
    # The daemon kills itself if an answer takes longer. A sink that is down is an answer that takes long: the shard
    # holds its batch, for hours if need be, while its lease is renewed, and a restart would bring nothing. A shard
    # that hangs is noticed by the health check, which watches progress. A day is the last resort: it is the shortest
    # retention of a stream, after which what was not read begins to be lost.
    "timeoutInSeconds": "86400",
}
"""What `worker.kcl` of the pipeline file may override, except the credentials."""


def setting_ms(extra: Iterable[tuple[str, str]], name: str) -> int:
    """Return a number of DEFAULTS, or what `worker.kcl` puts in its place."""
    return int(dict(extra).get(name, DEFAULTS[name]))


_SOCKET_PATH_BYTES_MAX = 100
"""The kernel's limit is 108 on Linux and 104 elsewhere, with the final zero."""


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """What the daemon reads, as whom, and from where.

    `stream` is a name or an ARN. `start_seconds` is the instant, in whole epoch seconds as the daemon takes it, at
    which shards without a checkpoint start; None is the oldest record. `extra` overrides DEFAULTS.
    """

    stream: str
    application: str
    identifier: str
    region: str
    start_seconds: int | None
    extra: tuple[tuple[str, str], ...] = ()

    def properties(self, executable: str) -> dict[str, str]:
        """Return the daemon's properties."""
        assert not any(check_property(name) for name, _ in self.extra), "the loader lets no such property through"
        arn = {"streamArn": self.stream} if self.stream.startswith("arn:") else {}
        return {
            **DEFAULTS,
            **dict(self.extra),
            "executableName": executable,
            "streamName": self.stream.rpartition("/")[2],
            **arn,
            "applicationName": self.application,
            "workerIdentifier": self.identifier,
            "regionName": self.region,
            **self._start(),
            "callProcessRecordsEvenForEmptyRecordList": "true",
        }

    def _start(self) -> dict[str, str]:
        # Never LATEST: the daemon would evaluate it anew at each start until the first checkpoint, leaving gaps.
        # Exactly one of the two: both set the same field, and the daemon reads its properties in no order.
        if self.start_seconds is None:
            return {"initialPositionInStream": "TRIM_HORIZON"}
        return {"initialPositionInStreamExtended": str(self.start_seconds)}


@dataclass(frozen=True, slots=True)
class DaemonFiles:
    """Where things are, and the grace time (milliseconds) that the properties give a stop."""

    private: PrivateDirectory
    properties: Path
    log_configuration: Path
    shutdown_grace_ms: int

    @property
    def directory(self) -> Path:
        """The private directory that they are in."""
        return self.private.path

    @property
    def class_list(self) -> Path:
        """Where Java may list the classes that it has loaded."""
        return self.directory / "classes"

    def remove(self) -> None:
        """Delete the directory with everything in it."""
        self.private.remove()


def write_files(config: DaemonConfig, log_level: str, temporary: Iterable[str] | None = None) -> DaemonFiles:
    """Write the files into a new private directory (mode 0700) and return where they are.

    `temporary` are the directories to make it in, the first that can be used; the default is the system's. What
    workers that were killed have left in them is removed.
    """
    parents = tuple(temporary or default_temporary_directories())
    for parent in parents:
        remove_stale_directories(parent)
    directory = _private_directory(parents)
    try:
        return _write_into(directory, config, log_level)
    except BaseException:
        directory.remove()
        raise


def default_temporary_directories() -> tuple[str, ...]:
    """Return the user's temporary directory, then the one that is short and without blanks on every system."""
    return (tempfile.gettempdir(), "/tmp")  # noqa: S108 -- a directory of mode 0700 and random name is made in it


def render_properties(properties: Mapping[str, str]) -> str:
    """Return the text of a Java properties file, in ASCII."""
    return "".join(f"{_escape(name)}={_escape(value)}\n" for name, value in properties.items())


def render_log_configuration(level: str) -> str:
    """Return the logback configuration: JSON lines on standard error, from `level` on (one of daemon_log.LEVELS)."""
    assert level in daemon_log.LEVELS
    raised = "" if daemon_log.at_least("INFO", level) else _logger_at_info(daemon_log.SCHEDULER)
    return f"""<configuration>
  <statusListener class="ch.qos.logback.core.status.NopStatusListener"/>
  <appender name="stderr" class="ch.qos.logback.core.ConsoleAppender">
    <target>System.err</target>
    <encoder class="ch.qos.logback.classic.encoder.JsonEncoder"/>
  </appender>
{raised}  <root level="{level}"><appender-ref ref="stderr"/></root>
</configuration>
"""


def _logger_at_info(name: str) -> str:
    return f'  <logger name="{name}" level="INFO"/>\n'


def _private_directory(parents: Iterable[str]) -> PrivateDirectory:
    refused = []
    for parent in parents:
        try:
            directory = make_private_directory(parent)
        except OSError as error:
            refused.append(str(error))
            continue
        reason = _unfit(directory.path)
        if reason is None:
            return directory
        directory.remove()
        refused.append(f"{parent} ({reason})")
    raise SetupError(f"no temporary directory can hold the worker's socket: {', '.join(refused)}. Set TMPDIR.")


def _unfit(directory: Path) -> str | None:
    """Say why the relay cannot be started from this directory: the daemon splits its command at blanks."""
    if " " in str(directory):
        return "its path has a blank"
    if len(os.fsencode(directory / SOCKET_NAME)) > _SOCKET_PATH_BYTES_MAX:
        return f"its path is longer than a socket's path may be, {_SOCKET_PATH_BYTES_MAX} bytes"
    return None


def _write_into(private: PrivateDirectory, config: DaemonConfig, log_level: str) -> DaemonFiles:
    directory = private.path
    # A link and a copy: the paths of the interpreter and of this package may have blanks in them.
    python, relay = directory / "python", directory / "relay.py"
    python.symlink_to(sys.executable)
    _write(relay, RELAY.read_text(encoding="utf-8"))
    properties = config.properties(f"{python} -ISs {relay} {directory / SOCKET_NAME}")
    files = DaemonFiles(
        private,
        directory / "daemon.properties",
        # Not logback.xml: the class path has a file of that name, which would be found first.
        directory / "daemon-log.xml",
        _milliseconds(properties, "shutdownGraceMillis"),
    )
    _write(files.properties, render_properties(properties))
    _write(files.log_configuration, render_log_configuration(log_level))
    return files


def _milliseconds(properties: Mapping[str, str], name: str) -> int:
    try:
        return int(properties[name])
    except ValueError as error:
        raise SetupError(f"worker.kcl: {name} must be a whole number of milliseconds") from error


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


_ESCAPES = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}


def _escape(text: str) -> str:
    return "".join(map(_escape_character, text))


def _escape_character(character: str) -> str:
    """Escape what means something anywhere in a line, and everything that is not ASCII, as UTF-16 code units."""
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character in " \\=:#!":
        return "\\" + character
    if " " < character <= "~":
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
