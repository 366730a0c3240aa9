"""Which random cases and which variants `make test` looks at, and which are left to `make deep-tests`."""

from __future__ import annotations

import pytest


def seeds(usual: int, *, deep: int) -> list[pytest.ParameterSet]:
    """Return so many seeds, and so many more that are run with the deep tests alone."""
    return [*map(pytest.param, range(usual)), *(deep_only(seed) for seed in range(usual, usual + deep))]


def deep_only(*variant: object) -> pytest.ParameterSet:
    """Return a set of parameters that is run with the deep tests alone."""
    return pytest.param(*variant, marks=pytest.mark.deep)
