"""Contract checks for plugins: each check tests one sentence of the contract.

A method is checked on synthetic episodes (64 to 97 px, made in memory) with a small backbone of random
weights.  A data set is checked on its own miniature, and a backbone on random images.  `fssbench check` runs
the checks; the test suite of a plugin can run them too.  A benchmark is checked on the data that it names.

For example:

    def test_contract():
        assert not [r for r in check_method(MyMethod) if r.status == "fail"]

If a method cannot pass a check for a good reason, its class attribute `waivers` names the check and the
reason: `waivers = {"support_order": "weights supports by position, as published"}`.
"""

from __future__ import annotations

from fssbench.conformance.backbone import check_backbone
from fssbench.conformance.benchmark import check_benchmark
from fssbench.conformance.dataset import check_dataset, check_reporter
from fssbench.conformance.harness import CheckResult
from fssbench.conformance.method import check_method

__all__ = [
    "CheckResult",
    "check_backbone",
    "check_benchmark",
    "check_dataset",
    "check_method",
    "check_reporter",
]
