"""The command line: parses, hands over to an entry point, turns errors into exit statuses (errors.py)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from consumer import __version__
from consumer.environment import environment
from consumer.errors import EXIT_USAGE, StreamgaugeError

if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - the type has no public name

_LOG_LEVELS = ("debug", "info", "warning", "error")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except StreamgaugeError as error:
        sys.stderr.write(f"streamgauge: {error}\n")
        return error.exit_status
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="streamgauge", description="Windowed aggregation for Amazon Kinesis.")
    parser.add_argument("--version", action="version", version=f"streamgauge {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(commands)
    _add_check(commands)
    _add_doctor(commands)
    _add_demo(commands)
    _add_emulator(commands)
    return parser


def _add_run(commands: _Commands) -> None:
    command = commands.add_parser("run", help="run the worker for a pipeline file")
    command.add_argument("file", type=Path, metavar="FILE", help="the pipeline file")
    command.add_argument("--log-level", choices=_LOG_LEVELS, default="info")
    command.add_argument("--metrics-host", default="0.0.0.0", help="address of metrics and health (%(default)s)")  # noqa: S104 - scraped from outside the container
    command.add_argument(
        "--quick-start", action="store_true", help="a JVM that starts fast and runs slower: for trying things out"
    )
    command.set_defaults(run=_run)


def _add_check(commands: _Commands) -> None:
    command = commands.add_parser("check", help="check a pipeline file and explain it in words")
    command.add_argument("file", nargs="?", metavar="FILE", help="the pipeline file")
    command.add_argument("--schema", action="store_true", help="print the JSON Schema of pipeline files, for editors")
    command.set_defaults(run=_check)


def _add_doctor(commands: _Commands) -> None:
    command = commands.add_parser("doctor", help="tell what is installed and reachable, and what is missing")
    command.add_argument("file", nargs="?", metavar="FILE", help="also check what this pipeline file needs in AWS")
    command.set_defaults(run=_doctor)


def _add_demo(commands: _Commands) -> None:
    command = commands.add_parser("demo", help="watch a worker survive kill -9, without AWS")
    command.add_argument("--events", type=int, default=200_000, help="how many events to send (%(default)s)")
    command.add_argument("--shards", type=int, default=4, help="how many shards the stream has (%(default)s)")
    command.add_argument("--no-kill", action="store_true", help="do not kill the worker half-way")
    command.add_argument("--keep", action="store_true", help="leave everything running to play with")
    command.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    command.set_defaults(run=_demo)


def _add_emulator(commands: _Commands) -> None:
    command = commands.add_parser("emulator", help="serve the embedded AWS on one port")
    command.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    command.add_argument("--port", type=int, default=4566, help="port to listen on, 0 for any (%(default)s)")
    command.set_defaults(run=_emulator)


def _run(options: argparse.Namespace) -> int:
    from consumer.entrypoints.worker import run  # noqa: PLC0415 - each command imports what it needs alone

    return run(
        options.file,
        environment(),
        log_level=options.log_level,
        metrics_host=options.metrics_host,
        quick_start=options.quick_start,
    )


def _check(options: argparse.Namespace) -> int:
    from consumer.entrypoints.check import check  # noqa: PLC0415 - each command imports what it needs alone

    if options.file is None and not options.schema:
        sys.stderr.write("streamgauge check: name a pipeline file, or --schema\n")
        return EXIT_USAGE
    return check(options.file, environment(), show_schema=options.schema, out=sys.stdout, err=sys.stderr)


def _doctor(options: argparse.Namespace) -> int:
    from consumer.entrypoints.doctor import doctor  # noqa: PLC0415 - each command imports what it needs alone

    return doctor(options.file, environment(), out=sys.stdout)


def _demo(options: argparse.Namespace) -> int:
    from consumer.entrypoints.demo import demo  # noqa: PLC0415 - each command imports what it needs alone

    return demo(
        events=options.events,
        shards=options.shards,
        kill=not options.no_kill,
        keep=options.keep,
        json_output=options.json,
    )


def _emulator(options: argparse.Namespace) -> int:
    from consumer.entrypoints.emulator import serve  # noqa: PLC0415 - each command imports what it needs alone

    return serve(options.host, options.port)
