"""docs/explain.md is true: its commands are given, and say what the page says they say."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer.cli import main
from consumer.entrypoints.explain import replay
from consumer.errors import EXIT_OK
from tests.docs.pages import Code, parts
from tests.entrypoints.state_rig import FIRST, HIGH, LOW, SECOND, StateRig, embedded_aws

CONSOLE = [part.text for part in parts("explain.md") if isinstance(part, Code) and part.language == "console"]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StateRig]:
    """Play the pipeline of docs/state.md: a shard is split after two minutes; one event is late."""
    monkeypatch.setattr(replay, "READ_PAUSE_SECONDS", 0)
    with embedded_aws() as (emulator, world):
        monkeypatch.chdir(tmp_path)
        rig = StateRig(emulator, world, tmp_path, "shop")
        rig.start()
        rig.put_minutes(0, 2)
        rig.emulator.kinesis.split_shard(rig.name, FIRST)
        rig.work(FIRST, ended=True)
        rig.put("user-0", at_seconds=58, page="/1")
        rig.put_minutes(2, 4)
        rig.start()
        for shard in (LOW, HIGH, SECOND):
            rig.work(shard)
        yield rig


@pytest.mark.usefixtures("shop")
def test_what_the_page_shows_is_what_the_command_says(capsys: pytest.CaptureFixture[str]) -> None:
    """To write the page anew: what the failing comparison shows."""
    assert len(CONSOLE) == 2
    for text in CONSOLE:
        command, _, said = text.partition("\n")
        capsys.readouterr()
        assert main(shlex.split(command.removeprefix("$ streamgauge "))) == EXIT_OK
        assert capsys.readouterr().out.splitlines() == said.splitlines(), command
