"""Fixtures of the contract tests: each variant, built once."""

from __future__ import annotations

from functools import cache

import pytest

from potentials.potential import Potential
from tests.contract.variants import VARIANTS, Variant


@pytest.fixture(params=VARIANTS, ids=str)
def variant(request: pytest.FixtureRequest) -> Variant:
    return request.param  # type: ignore[no-any-return]


@cache
def _built(variant: Variant) -> Potential:
    return variant.build()


@pytest.fixture
def potential(variant: Variant) -> Potential:
    """The variant with random weights; shared between tests, which must not change it."""
    return _built(variant)
