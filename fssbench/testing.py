"""Contract checks for plugins: tiny named functions, each one sentence of what is promised.

A method runs on procedural episodes (64 to 97 px, made in memory) over a small backbone with random
weights; a data set on its own miniature; a backbone on random images.  Callable from Python, from
`fssbench check`, and in a plugin's own test suite:

    def test_contract():
        assert not [r for r in check_method(MyMethod) if r.status == "fail"]

A check that a method cannot keep for a good reason is waived, with that reason, by its class
attribute `waivers = {"support_order": "weights supports by position, as published"}`.
"""

from __future__ import annotations

from fssbench.conformance.backbone import check_backbone
from fssbench.conformance.dataset import check_dataset, check_reporter
from fssbench.conformance.harness import CheckResult
from fssbench.conformance.method import check_method

__all__ = ["CheckResult", "check_backbone", "check_dataset", "check_method", "check_reporter"]
