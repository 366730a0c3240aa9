"""Has pytest explain assertions in what tests share outside of themselves, and sets how properties are searched.

What a change is held to is the same in every run: the examples of a property follow from its own code. The profile
`search` (`make search`) looks at more, and at others each time.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

for _module in (
    "sink_conformance",
    "store_conformance",
    "store_global",
    "store_harness",
    "store_objects",
    "store_upkeep",
):
    pytest.register_assert_rewrite(f"consumer.testing.{_module}")

settings.register_profile("gate", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=2_000, deadline=None, print_blob=True)
settings.load_profile("gate")
