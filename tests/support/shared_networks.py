"""Frozen networks with random weights that the tests of a session share."""

from __future__ import annotations

from functools import cache

from fssbench.api import Backbone
from fssbench.loading.backbones import build_backbone


@cache
def share_network(name: str, layout: str | None = None) -> Backbone:
    """Build a backbone with the weights of seed 0 once; a test that loads, hooks or changes one builds its own."""
    return build_backbone(name, layout=layout)
