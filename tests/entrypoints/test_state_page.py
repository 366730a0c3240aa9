"""docs/state.md is true: its commands are given, one after another, and say what the page says they say."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer.cli import main
from consumer.errors import EXIT_OK
from consumer.pipeline.load import load_text
from tests.docs.pages import Code, parts
from tests.entrypoints.state_rig import FIRST, LOW, PIPELINE, SECOND, StateRig, embedded_aws

PAGE = "state.md"
CONSOLE = [part.text for part in parts(PAGE) if isinstance(part, Code) and part.language == "console"]
SIZE = re.compile(r"\b[\d,.]+ (?:bytes|KB)\b")
"""How many bytes a snapshot has depends on the library that compresses it."""


def blocks() -> Iterator[tuple[str, str]]:
    """Yield each command of the page, and what it is said to say."""
    for text in CONSOLE:
        command, _, said = text.partition("\n")
        assert command.startswith("$ streamgauge state "), command
        yield command.removeprefix("$ streamgauge "), said


def comparable(text: str) -> list[str]:
    return [" ".join(SIZE.sub("N bytes", line).split()) for line in text.splitlines()]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StateRig]:
    """Play a pipeline to the middle of its life: a shard was split, one of its children has begun."""
    with embedded_aws() as (emulator, world):
        monkeypatch.chdir(tmp_path)
        rig = StateRig(emulator, world, tmp_path, "shop")
        rig.start()
        rig.put_minutes(0, 2)
        rig.emulator.kinesis.split_shard(rig.name, FIRST)
        rig.work(FIRST, ended=True)
        rig.put_minutes(2, 4)
        rig.start()
        rig.work(LOW)
        rig.work(SECOND, crash_before_send=True)
        yield rig


def test_what_the_page_shows_is_what_the_commands_say(shop: StateRig, capsys: pytest.CaptureFixture[str]) -> None:
    """To write the page anew: what the failing comparison shows."""
    for command, said in blocks():
        capsys.readouterr()
        status = main(shlex.split(command))
        came = capsys.readouterr()
        assert comparable(came.err + came.out) == comparable(said), command
        refusal = command.endswith((" reset shop.yaml", " import monday shop.yaml"))
        assert (status == EXIT_OK) != refusal, command


def test_every_action_is_shown() -> None:
    shown = {shlex.split(command)[1] for command, _ in blocks()}
    assert shown == {"list", "show", "export", "import", "handover", "reset"}


def test_the_pipeline_of_the_page_is_the_one_it_is_played_with() -> None:
    (text,) = [part.text for part in parts(PAGE) if isinstance(part, Code) and part.language == "yaml"]
    assert load_text(text, PAGE, {}) == load_text(PIPELINE.format(name="shop"), PAGE, {})
