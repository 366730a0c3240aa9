"""What each key of the pipeline file means, in a sentence or two: for editors, by the JSON Schema, and the reference.

docs/pipeline.md tells more, with examples. Names are those of the parts in schema.py and of their keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEANINGS: Mapping[str, Mapping[str, str]] = {
    "PipelineFile": {
        "pipeline": "The pipeline's name: part of every result's id and of the keys of the state. Choose it once.",
        "source": "The Kinesis stream that is read.",
        "events": "How the bytes of a record become an event.",
        "let": "Values that are derived from the fields, in order; each may use the fields and the lets before it.",
        "where": "Only events for which this is true are counted; the others still move the watermark.",
        "windows": "What is computed, by name.",
        "sinks": "Where results go; every window needs a sink that takes it.",
        "late": "Where late events go; without it they are counted only.",
        "dead_letter": "Where records go that cannot be used, with the reason; without it they are counted only.",
        "state": "Where state is kept, and how often it is committed.",
        "limits": "How much a shard may hold.",
        "worker": "The process that runs the pipeline.",
    },
    "SourcePart": {
        "stream": "Name or ARN of the Kinesis stream.",
        "partition_key": "The field that producers use as the partition key; leave it out if it is none of them.",
        "start": "Where a shard begins that has no state: `trim_horizon`, the oldest record; `latest`, the instant the "
        "application first starts; or an instant such as 2026-01-31T12:00:00Z.",
    },
    "EventsPart": {
        "format": "What a record is, once inflated.",
        "compression": "How a record is compressed; `auto` looks at its first bytes.",
        "fields": "The members of an event that are read, each with its type; a `?` behind the type lets it be absent "
        "or null.",
        "time": "The field with the event's time; without it, the time of arrival in Kinesis.",
        "out_of_orderness": "How much out of order events of a shard may be. A window closes when an event is seen "
        "that is this much past its end.",
        "idle_after": "How long a shard may be silent until its windows close by the clock.",
        "max_future": "An event further ahead of the clock than this is a dead letter.",
        "max_bytes": "The most bytes that an event may have, inflated.",
    },
    "FieldPart": {
        "type": "The type of the values.",
        "path": "Where the value is: `user.id`, `items[0].price`. Without it, the member of the field's name.",
        "unit": "What an int counts since 1970, if the field is a timestamp.",
        "column": "In csv: the number of the column, from 1, or its name in the header line.",
    },
    "WindowPart": {
        "tumbling": "Windows of one length, side by side.",
        "sliding": "Windows of one length that overlap.",
        "session": "Windows that end when a group has been silent for the gap.",
        "stagger": "Windows of one length, each of which begins with an event.",
        "by": "Fields or lets; there is a row for each combination of their values.",
        "where": "Filters further, for this window only.",
        "combine": "Of a window whose groups are spread over shards: `true` puts the shards' parts together, one final "
        "row over all of them (tumbling and sliding windows); `false` gives a row for each shard, marked partial.",
        "buckets": "Into how many buckets the groups of a window with `combine: true` are spread to be put together: "
        "up to so many shards share that work.",
        "select": "The columns of a row, each one aggregate.",
        "allowed_lateness": "How long after its end a window still takes events.",
        "emit": "A row when the window ends and one for each later event, or one row when the lateness has run out.",
    },
    "TumblingPart": {
        "size": "The length of a window.",
        "offset": "How much later than whole multiples of the size windows begin.",
        "timezone": "The IANA zone whose wall clock the edges are on; without it UTC.",
    },
    "SlidingPart": {
        "size": "The length of a window.",
        "every": "How often a window begins; at most the size.",
    },
    "SessionPart": {
        "gap": "Events of a group that are at most this far apart belong together.",
        "max_length": "The most that there may be between the first and the last event of a session.",
    },
    "StaggerPart": {"size": "The length of a window, from its first event on."},
    "SinkPart": {"windows": "The windows whose rows it takes; without it, all."},
    "TargetPart": {
        "firehose": "A Firehose delivery stream: rows at least once, with ids.",
        "sqs": "An SQS queue: rows at least once, with ids.",
        "s3": "Objects in an S3 bucket: exactly once.",
        "file": "A file, one row a line.",
        "stdout": "Standard output, one row a line.",
    },
    "FirehosePart": {"stream": "Name of the delivery stream."},
    "SqsPart": {"queue_url": "URL of the queue."},
    "S3Part": {
        "bucket": "Name of the bucket.",
        "prefix": "The folder of the objects; without it they are at the top.",
    },
    "FilePart": {"path": "The file that rows are appended to."},
    "StatePart": {
        "table": "The DynamoDB table (partition key `pk`, sort key `sk`, both strings). Not the lease table.",
        "bucket": "The S3 bucket for states larger than 8 KB; without it they are in the table.",
        "commit_interval": "How often state is committed.",
        "emit_delay": "How long a finished row may wait for its commit; rows are sent when they are committed. While "
        "its shard is behind it may be a tenth of that time, up to `commit_interval`.",
        "on_gap": "What becomes of a shard whose input goes on behind records that were never counted.",
        "removed_windows": "Windows that are no longer in the file, each with what becomes of what is open: `flush` "
        "emits it, `drop` throws it away.",
    },
    "LimitsPart": {
        "groups": "How many groups (open windows of one combination of `by`, sessions) a shard may have.",
        "policy": "What happens to one more: the record becomes a dead letter, or the group that ends first is emitted "
        "early.",
    },
    "WorkerPart": {
        "application": "Name of the daemon's lease table; without it, the pipeline's name.",
        "identifier": "The worker's name, the same after a restart and no other's; without it POD_NAME, then the host "
        "name.",
        "metrics_port": "The port of metrics, health and the status page.",
        "on_stop": "What a worker that is told to stop does with its leases: it has them again when it comes back, or "
        "gives them to the others at once.",
        "kcl": "Properties of the Kinesis Client Library's daemon by their own names.",
    },
}


def describe(schema: dict[str, Any]) -> None:
    """Write the meanings into the JSON Schema of pipeline files, each beside its key."""
    for part, meanings in MEANINGS.items():
        for properties in _properties(schema, part):
            for key, meaning in meanings.items():
                properties[key]["description"] = meaning


def _properties(schema: dict[str, Any], part: str) -> list[dict[str, Any]]:
    """Return the keys of a part wherever they stand: a part with a short form is one of two, sinks are targets too."""
    names = [part, "SinkPart"] if part == "TargetPart" else [part]
    definitions = [schema if name == "PipelineFile" else schema["$defs"][name] for name in names]
    forms = [form for each in definitions for form in each.get("anyOf", [each])]
    return [form["properties"] for form in forms if "properties" in form]
