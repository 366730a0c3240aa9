"""Pipelines that change while they run, through splits, merges and deaths, against the plain interpreter."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from consumer.core.processor import Processor
from consumer.runtime import commit, compaction
from tests.runtime.changing import changing_family
from tests.runtime.test_resharding import ORIGINS
from tests.seeds import seeds


@pytest.mark.parametrize("seed", seeds(30, deep=30))
def test_windows_that_come_and_go_lose_and_double_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(seed, monkeypatch)


def _run(seed: int, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    random = Random(seed)
    monkeypatch.setattr(commit, "INLINE_BYTES_MAX", random.choice([0, 500, 8192]))
    monkeypatch.setattr(commit, "SMALL_STATE_GROUPS", random.choice([0, 1000]))
    monkeypatch.setattr(compaction, "MANIFEST_ENTRIES_MAX", random.choice([4, 6, 32]))
    monkeypatch.setattr(compaction, "RUN_MIN", random.choice([2, 4, 100]))
    options = Processor.__init__.__kwdefaults__
    assert options is not None
    monkeypatch.setitem(options, "rows_max", random.choice([1, 3, 10_000]))
    family = changing_family(seed, random.choice([40, 90, 150]))
    for shard in ORIGINS:
        for _ in range(random.randrange(5)):
            if random.random() < 0.5:
                family.change_at_random(random)
            family.batch_size = random.randint(1, 12)
            if not family.leases[shard].ended:
                family.serve(shard, random.randrange(60))
        if random.random() < 0.3:
            family.change_at_random(random)
        if not family.leases[shard].ended:
            family.serve(shard)
    family.assert_exact()
    return family.counts
