"""From the targets of a pipeline file to sinks. To add a sink, write its file and one `case` here."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import BinaryIO

from consumer.pipeline.model import FileSink, FirehoseSink, Pipeline, SinkTarget, StdoutSink
from consumer.records import DEAD_LETTER, LATE
from consumer.sinks import file, firehose
from consumer.sinks.base import Router, Sink


def build_router(
    pipeline: Pipeline, firehose_client_factory: Callable[[], firehose.FirehoseClient], stdout: BinaryIO
) -> Router:
    """Make the pipeline's sinks; targets that are equal share one. SinkError if one cannot be opened.

    The factory is called once, and only if a Firehose stream is named.
    """
    client = cache(firehose_client_factory)

    @cache
    def sink(target: SinkTarget) -> Sink:
        match target:
            case FirehoseSink(stream):
                return firehose.FirehoseSink(client(), stream)
            case FileSink(path):
                return file.FileSink(Path(path))
            case StdoutSink():
                return file.StdoutSink(stdout)

    routes = {
        window.name: [
            sink(route.target) for route in pipeline.sinks if route.windows is None or window.name in route.windows
        ]
        for window in pipeline.windows
    }
    routes[LATE] = [] if pipeline.late is None else [sink(pipeline.late)]
    routes[DEAD_LETTER] = [] if pipeline.dead_letter is None else [sink(pipeline.dead_letter)]
    return Router(routes)
