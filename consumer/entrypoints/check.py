"""`streamgauge check FILE`: validate a pipeline file and explain it; no network call, nothing is touched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from consumer.core.compile import compile_pipeline
from consumer.errors import EXIT_OK
from consumer.pipeline.explain import explain
from consumer.pipeline.load import load
from consumer.pipeline.problems import PipelineError
from consumer.pipeline.schema import json_schema


def check(
    path: str | None,
    environ: Mapping[str, str],
    *,
    show_schema: bool = False,
    show_code: bool = False,
    out: TextIO,
    err: TextIO,
) -> int:
    """Explain the pipeline on `out`, or list everything that is wrong with it on `err`; return the exit status.

    `show_code` prints the Python module that the pipeline is compiled into instead, `show_schema` the JSON Schema of
    pipeline files; the latter needs no file.
    """
    if show_schema:
        out.write(json.dumps(json_schema(), indent=2) + "\n")
        return EXIT_OK
    assert path is not None
    try:
        pipeline = load(Path(path), environ)
    except PipelineError as error:
        count = len(error.problems)
        err.write(f"{error}\n{count} {'mistake' if count == 1 else 'mistakes'} in {path}\n")
        return error.exit_status
    out.write(compile_pipeline(pipeline).source if show_code else explain(pipeline))
    return EXIT_OK
