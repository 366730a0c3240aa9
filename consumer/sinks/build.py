"""From the targets of a pipeline file to sinks. To add a sink, write its file and one `case` here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from consumer.pipeline.model import FileSink, FirehoseSink, Pipeline, S3Sink, SinkRoute, SinkTarget, SqsSink, StdoutSink
from consumer.records import DEAD_LETTER, LATE
from consumer.sinks import file, firehose, s3, sqs
from consumer.sinks.base import Router, Sink

if TYPE_CHECKING:
    import boto3


@dataclass(frozen=True, slots=True)
class Clients:
    """Makes the clients of the services. Each is called once at most, and only if a sink needs it."""

    firehose: Callable[[], firehose.FirehoseClient]
    sqs: Callable[[], sqs.SqsClient]
    s3: Callable[[], s3.S3Client]

    @classmethod
    def of(cls, session: boto3.Session) -> Clients:
        """Return what makes boto3's clients."""
        return cls(
            firehose=lambda: firehose.make_client(session),
            sqs=lambda: sqs.make_client(session),
            s3=lambda: s3.make_client(session),
        )


def build_router(
    pipeline: Pipeline, clients: Clients, stdout: BinaryIO, *, former: frozenset[str] = frozenset()
) -> Router:
    """Make the pipeline's sinks; targets that are equal share one, in S3 one an output.

    `former` names windows that are not in the file any more, but of which rows may have to be sent: where no sink takes
    them, all do. SinkError if one cannot be opened.
    """
    make = _Maker(clients, stdout)
    routes = {
        window.name: [make.sink(route.target, window.name) for route in _routes(pipeline, window.name)]
        for window in pipeline.windows
    }
    for name in sorted(former - routes.keys()):
        routes[name] = [make.sink(route.target, name) for route in _routes(pipeline, name) or pipeline.sinks]
    for output, target in ((LATE, pipeline.late), (DEAD_LETTER, pipeline.dead_letter)):
        routes[output] = [] if target is None else [make.sink(target, output)]
    return Router(routes)


def _routes(pipeline: Pipeline, window: str) -> Sequence[SinkRoute]:
    return [route for route in pipeline.sinks if route.windows is None or window in route.windows]


class _Maker:
    """Makes every client and every sink once."""

    def __init__(self, clients: Clients, stdout: BinaryIO) -> None:
        self._firehose, self._sqs, self._s3 = cache(clients.firehose), cache(clients.sqs), cache(clients.s3)
        self._stdout = stdout
        self._made: dict[tuple[SinkTarget, str | None], Sink] = {}

    def sink(self, target: SinkTarget, output: str) -> Sink:
        # An object of S3 is named by its content, which must not depend on what other outputs share the target.
        key = (target, output if isinstance(target, S3Sink) else None)
        if key not in self._made:
            self._made[key] = self._make(target, output)
        return self._made[key]

    def _make(self, target: SinkTarget, output: str) -> Sink:
        match target:
            case FirehoseSink(stream):
                return firehose.FirehoseSink(self._firehose(), stream)
            case SqsSink(queue_url):
                return sqs.SqsSink(self._sqs(), queue_url)
            case S3Sink(bucket, prefix):
                return s3.S3Sink(self._s3(), bucket, s3.folder_of(prefix, output))
            case FileSink(path):
                return file.FileSink(Path(path))
            case StdoutSink():
                return file.StdoutSink(self._stdout)
