"""A bounded part of the comparison of the reader with the reference; see fuzz_decode."""

from __future__ import annotations

import pytest

from tests.core import fuzz_decode


@pytest.mark.parametrize("seed", range(4))
def test_the_reader_agrees_with_the_reference(seed: int) -> None:
    fuzz_decode.run(2_000, seed)


def test_a_difference_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.testing.reference.decoding.MAX_DEPTH", 99)
    with pytest.raises(AssertionError):
        fuzz_decode.run(20_000, 0)
