"""The command line: parses, hands over to an entry point, turns errors into exit statuses (errors.py)."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from consumer import __version__
from consumer.environment import environment
from consumer.errors import EXIT_FAILURE, EXIT_USAGE, StreamgaugeError

if TYPE_CHECKING:
    from consumer.entrypoints.state import Site
    from consumer.pipeline.model import Pipeline

    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - the type has no public name

_Run = Callable[[argparse.Namespace], int]

EXIT_INTERRUPTED = 128 + signal.SIGINT
"""Ctrl-C: what a shell says of a command that the signal ended."""
_LOG_LEVELS = ("debug", "info", "warning", "error")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = _parsed(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except StreamgaugeError as error:
        sys.stderr.write(f"streamgauge: {error}\n")
        return error.exit_status
    except BrokenPipeError:
        # Who reads the output has seen enough; what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return status


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; end with EXIT_USAGE if it is wrong."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest:
        # argparse calls every INPUT behind an option unrecognized (`process FILE --envelope INPUT`).
        if "inputs" not in options or any(each.startswith("-") and each != "-" for each in rest):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        options.inputs += rest
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="streamgauge", description="Windowed aggregation for Amazon Kinesis.")
    parser.add_argument("--version", action="version", version=f"streamgauge {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(commands)
    _add_check(commands)
    _add_process(commands)
    _add_test(commands)
    _add_doctor(commands)
    _add_state(commands)
    _add_explain(commands)
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
    instead = command.add_mutually_exclusive_group()
    instead.add_argument("--schema", action="store_true", help="print the JSON Schema of pipeline files, for editors")
    instead.add_argument("--show-code", action="store_true", help="print the Python code that the pipeline becomes")
    command.set_defaults(run=_check)


def _add_process(commands: _Commands) -> None:
    command = commands.add_parser(
        "process",
        help="run a pipeline over files or standard input, without AWS",
        description="Run a pipeline over newline-delimited events: one file is one shard, files go one after another.",
    )
    command.add_argument("file", type=Path, metavar="FILE", help="the pipeline file")
    command.add_argument("inputs", nargs="*", metavar="INPUT", help="a file of events, - for standard input (default)")
    command.add_argument("--output", default="-", metavar="F", help="where results go (default: standard output)")
    command.add_argument("--late", metavar="F", help="where late events go (default: they are counted)")
    command.add_argument("--dead-letter", metavar="F", help="where dead letters go (default: they are counted)")
    command.add_argument(
        "--batch-size", type=_at_least_one, default=1_000, metavar="N", help="records a batch (%(default)s)"
    )
    command.add_argument(
        "--envelope", action="store_true", help="lines are JSON objects with the record's bytes in base64 as `data`"
    )
    command.add_argument("--no-close", action="store_true", help="leave the windows open that the events leave open")
    command.set_defaults(run=_process)


def _add_test(commands: _Commands) -> None:
    command = commands.add_parser("test", help="run a pipeline's own tests", description="Run tests of pipelines.")
    command.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a file of tests")
    command.set_defaults(run=_test)


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _add_doctor(commands: _Commands) -> None:
    command = commands.add_parser("doctor", help="tell what is installed and reachable, and what is missing")
    command.add_argument("file", nargs="?", metavar="FILE", help="also check what this pipeline file needs in AWS")
    command.set_defaults(run=_doctor)


def _add_state(commands: _Commands) -> None:
    command = commands.add_parser(
        "state",
        help="look into a pipeline's state, save, restore or reset it",
        description="Look into a pipeline's state, save, restore or reset it. list, show and export only read.",
    )
    actions = command.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = _add_action(actions, "list", "tell of all shards, one a line", _state_list)
    showing = _add_action(actions, "show", "tell everything of one shard", _state_show, "SHARD", "its name, or number")
    for action in (listing, showing):
        action.add_argument("--json", action="store_true", help="print one JSON object")
    _add_action(
        actions, "export", "write the whole state to files; workers may run", _state_export, "DIR", "an empty directory"
    )
    importing = _add_action(
        actions, "import", "go on from an export; all workers stopped", _state_import, "DIR", "what export has written"
    )
    importing.add_argument("--yes", action="store_true", help="replace the state that is there")
    importing.add_argument("--accept-gap", action="store_true", help="even if the stream may have lost records since")
    resetting = _add_action(actions, "reset", "forget the state and count anew; all workers stopped", _state_reset)
    resetting.add_argument("--yes", action="store_true", help="do it")
    handing = _add_action(actions, "handover", "go on in AWS Lambda, or in workers again", _state_handover)
    handing.add_argument("--to", choices=("worker", "lambda"), required=True, help="where it runs from here on")


def _add_action(
    actions: _Commands, name: str, text: str, run: _Run, operand: str | None = None, operand_help: str = ""
) -> argparse.ArgumentParser:
    """Add an action of `state`, with what it is about, if anything, before the pipeline file."""
    action = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    if operand is not None:
        action.add_argument(operand.lower(), metavar=operand, help=operand_help)
    action.add_argument("file", type=Path, metavar="FILE", help="the pipeline file")
    action.set_defaults(run=run)
    return action


def _add_explain(commands: _Commands) -> None:
    command = commands.add_parser(
        "explain",
        help="tell which records made a number",
        description="Tell which records made a group's row: reads them again, and changes nothing.",
    )
    command.add_argument("file", type=Path, metavar="FILE", help="the pipeline file")
    command.add_argument("window", metavar="WINDOW", help="the window's name")
    command.add_argument("key", nargs="?", metavar="KEY", help="the group: VALUE, column=VALUE,... or a JSON list")
    command.add_argument("--at", metavar="TIME", help="a time in the window (default: that of its newest event)")
    command.add_argument("--shard", metavar="SHARD", help="one part of a partial or global window: name or number")
    command.add_argument(
        "--late-for", default="10m", metavar="DURATION", help="how long to look for late events (%(default)s)"
    )
    command.add_argument("--records", action="store_true", help="list the records")
    command.add_argument("--payload", action="store_true", help="list the records with their data")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=_explain)


def _add_demo(commands: _Commands) -> None:
    command = commands.add_parser("demo", help="watch a worker survive kill -9, without AWS")
    command.add_argument("--events", type=int, default=200_000, help="how many events to send (%(default)s)")
    command.add_argument("--shards", type=int, default=4, help="how many shards the stream has (%(default)s)")
    command.add_argument("--no-kill", action="store_true", help="do not kill the worker half-way")
    command.add_argument("--no-reshard", action="store_true", help="do not split and merge shards meanwhile")
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
        sys.stderr.write("streamgauge check: name a pipeline file, or say --schema\n")
        return EXIT_USAGE
    return check(
        options.file,
        environment(),
        show_schema=options.schema,
        show_code=options.show_code,
        out=sys.stdout,
        err=sys.stderr,
    )


def _process(options: argparse.Namespace) -> int:
    from consumer.entrypoints.process import Options, process  # noqa: PLC0415 - each command imports what it needs

    chosen = Options(
        inputs=options.inputs,
        output=options.output,
        late=options.late,
        dead_letter=options.dead_letter,
        batch_size=options.batch_size,
        envelope=options.envelope,
        close=not options.no_close,
    )
    # Without buffers: a reader that went away is noticed at once, and nothing is left to be flushed at the end.
    with (
        open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as stdin,
        open(sys.stdout.fileno(), "wb", buffering=0, closefd=False) as stdout,
    ):
        return process(options.file, environment(), chosen, stdin=stdin, stdout=stdout, err=sys.stderr)


def _test(options: argparse.Namespace) -> int:
    from consumer.entrypoints.unit_tests import run_tests  # noqa: PLC0415 - each command imports what it needs

    return run_tests(options.files, environment(), out=sys.stdout, err=sys.stderr)


def _doctor(options: argparse.Namespace) -> int:
    from consumer.entrypoints.doctor import doctor  # noqa: PLC0415 - each command imports what it needs alone

    return doctor(options.file, environment(), out=sys.stdout)


def _site(options: argparse.Namespace) -> Site:
    from consumer.entrypoints.state import open_site  # noqa: PLC0415 - each command imports what it needs alone

    return open_site(_pipeline(options), environment(), out=sys.stdout, err=sys.stderr)


def _pipeline(options: argparse.Namespace) -> Pipeline:
    from consumer.pipeline.load import load  # noqa: PLC0415 - each command imports what it needs alone

    return load(options.file, environment())


def _state_list(options: argparse.Namespace) -> int:
    from consumer.entrypoints.state import list_states  # noqa: PLC0415 - each command imports what it needs alone

    return list_states(_site(options), as_json=options.json)


def _state_show(options: argparse.Namespace) -> int:
    from consumer.entrypoints.state import show  # noqa: PLC0415 - each command imports what it needs alone

    return show(_site(options), options.shard, as_json=options.json)


def _state_export(options: argparse.Namespace) -> int:
    from consumer.entrypoints.state import export_state  # noqa: PLC0415 - each command imports what it needs alone

    return export_state(_site(options), Path(options.dir))


def _state_import(options: argparse.Namespace) -> int:
    from consumer.entrypoints.state import import_state  # noqa: PLC0415 - each command imports what it needs alone

    return import_state(_site(options), Path(options.dir), replace=options.yes, accept_gap=options.accept_gap)


def _state_reset(options: argparse.Namespace) -> int:
    from consumer.entrypoints.state import reset  # noqa: PLC0415 - each command imports what it needs alone

    if not options.yes:
        sys.stderr.write(
            "streamgauge state reset: this forgets all that was counted, and counts the stream anew; export the state "
            "first if in doubt. Nothing was changed: say --yes\n"
        )
        return EXIT_USAGE
    return reset(_site(options))


def _state_handover(options: argparse.Namespace) -> int:
    from consumer.entrypoints.state import hand_over  # noqa: PLC0415 - each command imports what it needs alone

    return hand_over(_site(options), options.to)


def _explain(options: argparse.Namespace) -> int:
    from consumer.entrypoints.explain import Wanted, ask, explain  # noqa: PLC0415 - each command imports what it needs

    question = ask(
        _pipeline(options), options.window, options.key, at=options.at, shard=options.shard, late_for=options.late_for
    )
    wanted = Wanted(records=options.records or options.payload, payload=options.payload)
    return explain(_site(options), question, wanted, as_json=options.json)


def _demo(options: argparse.Namespace) -> int:
    from consumer.entrypoints.demo import demo  # noqa: PLC0415 - each command imports what it needs alone

    return demo(
        events=options.events,
        shards=options.shards,
        kill=not options.no_kill,
        reshard=not options.no_reshard,
        keep=options.keep,
        json_output=options.json,
    )


def _emulator(options: argparse.Namespace) -> int:
    from consumer.entrypoints.emulator import serve  # noqa: PLC0415 - each command imports what it needs alone

    return serve(options.host, options.port)
