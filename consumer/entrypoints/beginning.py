"""How an application begins, at its first start and after every reset: from which instant, and from which shards."""

from __future__ import annotations

from consumer.pipeline.definitions import definitions_hash, definitions_text
from consumer.pipeline.model import Pipeline
from consumer.sources import kinesis
from consumer.sources.kinesis import KinesisClient, StreamInfo
from consumer.state.base import Application


def begin(
    pipeline: Pipeline, client: KinesisClient, stream: StreamInfo, *, generation: int, now_ms: int
) -> Application:
    """Return the application item of a beginning at this instant. Its roots are asked of the stream.

    SetupError if no shard was open at the pipeline's start.
    """
    # Whole seconds, as the daemon takes them: both must mean the same instant.
    started_at_ms = now_ms // 1000 * 1000
    roots = kinesis.roots(client, pipeline.source.stream, start_seconds(pipeline, started_at_ms))
    return Application(
        generation=generation,
        started_at_ms=started_at_ms,
        roots=tuple(shard.id for shard in roots),
        definitions=definitions_hash(pipeline),
        stream_created_ms=stream.created_ms,
        meaning=definitions_text(pipeline),
    )


def start_seconds(pipeline: Pipeline, started_at_ms: int) -> int | None:
    """Return the start in epoch seconds as the daemon takes it; None is the oldest record. Never LATEST."""
    start = pipeline.source.start
    if start == "trim_horizon":
        return None
    return (started_at_ms if start == "latest" else int(start)) // 1000
