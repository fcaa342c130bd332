"""Frozen networks with random weights that the tests of a session share."""

from __future__ import annotations

from functools import lru_cache

from fssbench.api import Backbone
from fssbench.loading.backbones import build_backbone


@lru_cache(maxsize=4)
def share_network(name: str, layout: str | None = None) -> Backbone:
    """Build a backbone with the weights of seed 0, or return one of the last four that were built.

    A test that loads, hooks or changes a network builds its own.
    """
    return build_backbone(name, layout=layout)
