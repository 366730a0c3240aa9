"""Has pytest explain assertions in what tests share outside of themselves, before anything imports it."""

from __future__ import annotations

import pytest

for _module in ("sink_conformance", "store_conformance", "store_harness", "store_objects", "store_upkeep"):
    pytest.register_assert_rewrite(f"consumer.testing.{_module}")
