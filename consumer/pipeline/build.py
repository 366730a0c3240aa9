"""From a checked file to the model. Nothing can be wrong any more: what is asserted here was reported before."""

from __future__ import annotations

from consumer.pipeline import model
from consumer.pipeline.layout import places
from consumer.pipeline.schema import EventsPart, PipelineFile, SinkPart, TargetPart, WindowPart
from consumer.pipeline.semantics import Meaning


def build(file: PipelineFile, meaning: Meaning) -> model.Pipeline:
    """Return the pipeline that the file describes."""
    state, worker = file.state, file.worker
    return model.Pipeline(
        name=file.pipeline,
        source=model.Source(file.source.stream, file.source.partition_key, file.source.start),
        events=_events(file.events),
        lets=tuple(meaning.lets),
        where=meaning.where,
        windows=tuple(_window(name, window, file, meaning) for name, window in file.windows.items()),
        sinks=tuple(_route(sink) for sink in file.sinks),
        late=None if file.late is None else _target(file.late),
        dead_letter=None if file.dead_letter is None else _target(file.dead_letter),
        state=model.State(
            table=state.table,
            bucket=state.bucket,
            commit_interval_ms=state.commit_interval,
            emit_delay_ms=state.emit_delay,
            on_gap=state.on_gap,
            removed_windows=tuple(state.removed_windows.items()),
        ),
        limits=model.Limits(file.limits.groups, file.limits.policy),
        worker=model.Worker(
            application=worker.application or file.pipeline,
            identifier=worker.identifier or None,
            metrics_port=worker.metrics_port,
            on_stop=worker.on_stop,
            kcl=tuple(worker.kcl.items()),
        ),
    )


def _events(events: EventsPart) -> model.Events:
    return model.Events(
        format=events.format,
        compression=events.compression,
        fields=_fields(events),
        time=events.time,
        out_of_orderness_ms=events.out_of_orderness,
        idle_after_ms=events.idle_after,
        max_future_ms=events.max_future,
        max_bytes=events.max_bytes,
    )


def _fields(events: EventsPart) -> tuple[model.Field, ...]:
    paths = places(events.format, events.fields)
    return tuple(
        model.Field(
            name,
            model.Type(part.type.removesuffix("?")),
            part.type.endswith("?"),
            paths[name],
            model.TimeUnit(part.unit or model.TimeUnit.MILLISECONDS),
        )
        for name, part in events.fields.items()
    )


def _window(name: str, window: WindowPart, file: PipelineFile, meaning: Meaning) -> model.Window:
    combined = window.combine is True
    return model.Window(
        name=name,
        kind=_kind(window),
        by=tuple(_name(column, meaning) for column in window.by),
        select=tuple(meaning.columns[name]),
        aligned=file.source.partition_key is not None and file.source.partition_key in window.by,
        where=meaning.window_wheres.get(name),
        allowed_lateness_ms=window.allowed_lateness,
        emit="final" if combined else window.emit,
        buckets=window.buckets if combined else None,
    )


def _kind(window: WindowPart) -> model.Kind:
    if window.tumbling is not None:
        return model.Tumbling(window.tumbling.size, window.tumbling.offset, window.tumbling.timezone)
    if window.sliding is not None:
        return model.Sliding(window.sliding.size, window.sliding.every)
    if window.session is not None:
        return model.Session(window.session.gap, window.session.max_length)
    assert window.stagger is not None
    return model.Stagger(window.stagger.size)


def _name(column: str, meaning: Meaning) -> model.Name:
    known = meaning.types[column]
    assert known is not None
    return model.Name(column, *known)


def _route(sink: SinkPart) -> model.SinkRoute:
    return model.SinkRoute(_target(sink), None if sink.windows is None else tuple(sink.windows))


def _target(target: TargetPart) -> model.SinkTarget:
    if target.firehose is not None:
        return model.FirehoseSink(target.firehose.stream)
    if target.sqs is not None:
        return model.SqsSink(target.sqs.queue_url)
    if target.s3 is not None:
        return model.S3Sink(target.s3.bucket, target.s3.prefix)
    if target.file is not None:
        return model.FileSink(target.file.path)
    assert target.stdout is not None
    return model.StdoutSink()
