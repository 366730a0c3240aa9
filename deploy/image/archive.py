"""Makes the archive of Java's classes that the image brings; run by the Dockerfile, in the image itself.

It is made of what a worker's daemon loads that reads some events of the embedded AWS. Usage: archive.py FOLDER
PIPELINE_FILE. The rules are in consumer/runtime/class_archive.py.
"""

from __future__ import annotations

import gzip
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from consumer.emulator.server import Emulator
from consumer.entrypoints.demo.clickstream import Scenario
from consumer.entrypoints.demo.cloud import Cloud, environment_for
from consumer.entrypoints.demo.processes import Children, wait_until
from consumer.entrypoints.demo.producer import Producer
from consumer.environment import default_identifier, environment
from consumer.pipeline.load import load
from consumer.runtime.class_archive import find_archive
from consumer.runtime.jars import find_jars
from consumer.runtime.java import find_java

SECONDS_MAX = 600.0
SHARDS = 2
EVENTS = 5_000
_EVENTS_ARE_OF_MS, _SPAN_MS, _DISORDER_MS = 1_767_225_600_000, 3_600_000, 9_000


def main() -> int:
    """Make the archive, and put it into the folder, packed; return the exit status."""
    folder, file = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as name:
        environ = {**environment(), "TMPDIR": name, "XDG_CACHE_HOME": name}
        archive = find_archive(find_java(environ), find_jars().require(), environ)
        assert archive is not None, "the image's Java is new enough, and the directory is ours"
        archive.make(_loaded(Path(name), file, environ))
        folder.mkdir(parents=True)
        # Without a name and a time: the same archive gives the same bytes.
        with (
            archive.path.open("rb") as source,
            (folder / f"{archive.path.name}.gz").open("wb") as packed,
            gzip.GzipFile("", "wb", fileobj=packed, mtime=0) as target,
        ):
            shutil.copyfileobj(source, target)
    return 0


def _loaded(directory: Path, file: Path, environ: Mapping[str, str]) -> Path:
    """Run a worker until it has read and committed; return a list of the classes that its daemon has loaded."""
    with Emulator() as aws, Children(directory) as children:
        environ = environment_for(aws.endpoint, environ)
        pipeline = load(file, environ)
        cloud = Cloud(pipeline, environ)
        cloud.prepare(SHARDS, default_identifier(environ))
        events = Scenario(EVENTS, _EVENTS_ARE_OF_MS, _SPAN_MS, _DISORDER_MS, 1).messages()
        Producer(aws.client("kinesis"), pipeline.source.stream).send(events, lambda _: None)
        worker = children.start("worker", ["consumer", "run", str(file)], environ)
        shards = [shard.id for shard in cloud.shards()]
        wait_until(
            lambda: len(cloud.positions(shards)) == SHARDS,
            "the worker to commit",
            seconds_max=SECONDS_MAX,
            alive=[worker],
        )
        (written,) = directory.glob("*/classes")
        copy = directory / "classes"
        shutil.copy(written, copy)
        return copy


if __name__ == "__main__":
    sys.exit(main())
