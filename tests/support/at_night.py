"""Properties that draw few examples in CI, and many in the nightly tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings


def draw_more(test: Any, strategies: Callable[[Any], Any], examples: int) -> Any:
    """Return the nightly form of a property.

    Args:
        test: the test, to which `strategies` were applied.
        strategies: what `hypothesis.given` returned.
        examples: how many it draws at night.
    """
    again = strategies(test.hypothesis.inner_test)
    return pytest.mark.nightly(settings(max_examples=examples, deadline=None)(again))
