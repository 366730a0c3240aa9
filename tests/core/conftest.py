"""Stories are told to the generated core and to the plain interpreter alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.core.rule_stories import IMPLEMENTATIONS, pipeline, tell

Told = Callable[..., None]


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def told(request: pytest.FixtureRequest) -> Told:
    """Return what checks that windows (YAML) make of a story what it says; the bound is 0 unless it is given."""

    def check(windows: str, story: str, *, bound: str = "0ms", **more: str) -> None:
        tell(IMPLEMENTATIONS[request.param], pipeline(windows, bound=bound, **more), story)

    return check
