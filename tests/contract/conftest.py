"""Fixtures of the contract tests: each variant, built once."""

from __future__ import annotations

from functools import cache

import pytest

from potentials.potential import Potential
from tests.contract.variants import PRODUCT, VARIANTS, Variant

CHOICE = [
    *VARIANTS,
    *(pytest.param(v, marks=pytest.mark.slow) for v in PRODUCT if v not in VARIANTS),
]


@pytest.fixture(params=CHOICE, ids=str)
def variant(request: pytest.FixtureRequest) -> Variant:
    return request.param  # type: ignore[no-any-return]


@cache
def _built(variant: Variant) -> Potential:
    return variant.build()


@pytest.fixture
def potential(variant: Variant) -> Potential:
    """The variant with random weights; shared between tests, which must not change it."""
    return _built(variant)
