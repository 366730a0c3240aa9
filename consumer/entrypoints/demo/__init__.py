"""`streamgauge demo`: the real thing, small: a stream, the real daemon, a kill, a restart, a recount."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consumer.entrypoints.demo.play import Plan, Play
from consumer.entrypoints.demo.processes import Children
from consumer.entrypoints.demo.screen import Screen
from consumer.environment import environment
from consumer.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE, StreamgaugeError
from consumer.pipeline.load import load

__all__ = ["demo"]

EVENTS = 200_000
SHARDS = 4
PIPELINE_FILE = Path(__file__).parents[3] / "config" / "clickstream.yaml"


def demo(
    *,
    events: int = EVENTS,
    shards: int = SHARDS,
    kill: bool = True,
    reshard: bool = True,
    keep: bool = False,
    json_output: bool = False,
    pipeline_file: Path = PIPELINE_FILE,
) -> int:
    """Play the demo; return 0 only if every row arrived and is right. Must be called in the main thread.

    `events` is how many the producer sends, `shards` how many the stream has. `kill` kills the worker half-way;
    `reshard` splits a shard before that, and merges two just then.
    `keep` leaves everything running after the recount, until Ctrl-C or SIGTERM. `json_output` prints one object
    with all figures and nothing else. No process outlives the call.
    """
    screen = Screen(quiet=json_output)
    if events < 1 or shards < 1:
        screen.fail("the demo needs at least one event and one shard", {})
        return EXIT_USAGE
    with (
        tempfile.TemporaryDirectory(prefix="streamgauge-demo-", ignore_cleanup_errors=True) as directory,
        _interrupted_by_sigterm(),
        Children(Path(directory)) as children,
    ):
        try:
            pipeline = load(pipeline_file, environment())
            plan = Plan(pipeline, pipeline_file, events, shards, kill=kill, reshard=reshard)
            with screen:
                play = Play(plan, children, screen, {**environment(), "TMPDIR": directory})
                outcome = play.run()
                screen.result(outcome)
            if keep:
                play.keep_running()
        except StreamgaugeError as error:
            screen.fail(str(error), children.tails())
            return error.exit_status
        except KeyboardInterrupt:
            screen.interrupted()
            return EXIT_FAILURE
    return EXIT_OK if outcome.recount.is_right else EXIT_FAILURE


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does: in order."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
