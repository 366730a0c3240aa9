"""`streamgauge state handover`, killed behind every write that it makes: given again it does the rest."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from botocore.httpsession import URLLib3Session

from consumer.emulator.server import Emulator
from consumer.errors import EXIT_OK, FencedError, RefusedError
from consumer.runtime.commit import ShardOwner
from consumer.runtime.invocations import Invocations
from consumer.runtime.mode import Mode
from consumer.runtime.surroundings import check_runs_in
from consumer.state.base import Application
from tests.entrypoints.state_rig import FIRST, SECOND, StateRig, World, embedded_aws, give, new_rig
from tests.entrypoints.test_state_handover import Function, around_now

Capture = pytest.CaptureFixture[str]
Aws = tuple[Emulator, World]
SHARDS = (FIRST, SECOND)
READS = {"DescribeTable", "GetItem", "Query", "BatchGetItem"}
OTHER = {"lambda": "worker", "worker": "lambda"}


class Killed(BaseException):
    """The command's process is gone: nothing of it runs any more."""


class Wire:
    """Counts the writes to AWS; the process is killed behind the one with a number, before it sees the answer."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.made = 0
        self.killed_at: int | None = None
        send = URLLib3Session.send
        patch.setattr(URLLib3Session, "send", lambda session, request: self._send(send, session, request))

    def _send(self, send: Any, session: URLLib3Session, request: Any) -> Any:
        answer = send(session, request)
        if _operation(request) in READS:
            return answer
        number, self.made = self.made, self.made + 1
        if number == self.killed_at:
            raise Killed
        return answer


def _operation(request: Any) -> str:
    """Return the name of an operation of DynamoDB, which is all that the command calls."""
    target = request.headers.get("X-Amz-Target", "")
    return str(target.decode() if isinstance(target, bytes) else target).rpartition(".")[2]


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with embedded_aws() as running:
        yield running


@pytest.fixture(scope="module")
def undisturbed(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the rows of a pipeline that never moved."""
    rig = new_rig(aws, tmp_path_factory.mktemp("undisturbed"))
    rig.start()
    for first, last in ((0, 2), (2, 3), (3, 4), (20, 21)):
        rig.put_minutes(first, last)
    for shard in SHARDS:
        rig.work(shard)
    return rig.told()


def test_a_death_behind_any_write_loses_and_doubles_nothing(
    aws: Aws, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, undisturbed: list[str]
) -> None:
    """To AWS Lambda and back, sessions open, rows stored and not sent. Both commands die behind a write.

    Elsewhere it would be the same as behind the write before: what is stored is all that is left of a process.
    """
    wire = Wire(monkeypatch)
    for number in count():
        rig = new_rig(aws, tmp_path)
        rig.start()
        rig.put_minutes(0, 2)
        rig.work(FIRST)
        rig.work(SECOND, crash_before_send=True)
        if not _hand_over(rig, wire, capsys, "lambda", number):
            assert number == 5, "the application item, and of two shards the name and the epoch"
            break
        rig.put_minutes(2, 3)
        _work_in_lambda(rig)
        assert _hand_over(rig, wire, capsys, "worker", number)
        rig.put_minutes(3, 4)
        rig.put_minutes(20, 21)
        for shard in SHARDS:
            rig.work(shard)
        assert rig.told() == undisturbed, f"write {number}"
    assert [row for row in undisturbed if '"visits"' in row]


def _hand_over(rig: StateRig, wire: Wire, capsys: Capture, to: str, killed_at: int) -> bool:
    """Give the command, which dies, and give it again; return False if it has no such write to die at."""
    owners = [rig.owner(shard) for shard in SHARDS] if to == "lambda" else []
    wire.made, wire.killed_at = 0, killed_at
    try:
        give(rig, capsys, "handover", "--to", to)
    except Killed:
        pass
    else:
        return False
    finally:
        wire.killed_at = None
    _check_that_one_mode_may_run(rig)
    for owner in owners[:1]:  # one tries between the two, one when all is over
        _try_to_commit(rig, owner)
    said = give(rig, capsys, "handover", "--to", to)
    assert said.status == EXIT_OK, said.err
    assert f"runs in {'AWS Lambda' if to == 'lambda' else 'workers'} from here on" in said.out
    assert "fenced   2 shards" in said.out
    assert application(rig).runs_in == to
    _check_that_one_mode_may_run(rig)
    for owner in owners:
        assert owner.mode is not Mode.ACTIVE or not _try_to_commit(rig, owner)
    return True


def _check_that_one_mode_may_run(rig: StateRig) -> None:
    """Whatever the moment: one mode is let in, the other is told what to do."""
    stored = application(rig)
    check_runs_in(stored, stored.runs_in, rig.name)
    other = OTHER[stored.runs_in]
    with pytest.raises(RefusedError, match=f"streamgauge state handover --to {other} FILE"):
        check_runs_in(stored, other, rig.name)  # type: ignore[arg-type]  # it is one of two


def _try_to_commit(rig: StateRig, owner: ShardOwner) -> bool:
    try:
        owner.commit(lambda _: True)
    except FencedError:
        return False
    return True


def _work_in_lambda(rig: StateRig) -> None:
    function = Function()
    invocations = Invocations(around_now(rig), function, function)  # type: ignore[arg-type]  # origins are not asked for
    for shard in SHARDS:
        assert invocations.batch(shard, rig.records(shard)) is None


def application(rig: StateRig) -> Application:
    stored = rig.store.read_application()
    assert stored is not None
    return stored
