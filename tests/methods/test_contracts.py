"""Every built-in method keeps the contract that `fssbench check` checks, its training loss included."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import create_model
from small_backbone import check_on_small_backbone

from fssbench.api import Method
from fssbench.conformance.loss import LOSS_CHECKS
from fssbench.plugins.registry import METHODS

SLOW = {
    "aaformer": "the laws of test_laws.py, its loss in aaformer/test_aaformer.py, and cyctr, of the same base",
    "abcnet": "the laws of test_laws.py, and dcama, whose matching and loss it has",
    "asgnet": "the laws of test_laws.py, its loss in asgnet/test_asgnet.py, and pfenet, of the same base",
    "ipmt": "the laws of test_laws.py, its loss in ipmt/test_ipmt.py, and cyctr, of the same base",
    "ntrenet": "the laws of test_laws.py, its loss in layers/test_pfenet_family.py, and pfenet, of the same base",
    "patnet": "the laws of test_laws.py, and hsnet, whose head and loss it has",
    "pfenet": "SmallPFENet in test_pfenet.py",
    "pmms": "the laws of test_laws.py, and its losses in pmms/test_pmms.py",
    "scl": "the laws of test_laws.py, its loss in test_scl.py, and pfenet, of whose network it is made",
}
"""Methods that take long, and what proves the same in every run."""
SMALLER = {
    "abcdfss": "one step of fine-tuning, in abcdfss/test_abcdfss.py",
    "gf-sam": "images of 96 px, in gfsam/test_gfsam.py",
    "vat": "a smaller grid, in vat/test_vat.py",
}
"""Methods of which only a smaller one is checked, and where."""


SMALL: dict[str, dict[str, int]] = {
    "aaformer": {"reduce_dim": 48},
    "abcnet": {"heads": 2},
    "cyctr": {"reduce_dim": 48},
    "ipmt": {"reduce_dim": 48},
    "repri": {"steps": 5},
}
"""Methods that are checked with few channels, heads or steps, because their number takes time and nothing else here."""


def shrink(method: type[Method], settings: dict[str, int]) -> type[Method]:
    """The method with other defaults."""
    fields: dict[str, Any] = {name: (int, value) for name, value in settings.items()}
    config = create_model("Small", __base__=method.Config, **fields)
    return type(f"Small{method.__name__}", (method,), {"Config": config})


def marked(name: str) -> Any:
    marks = [pytest.mark.slow, pytest.mark.timeout(400)] if name in SLOW else []
    return pytest.param(name, marks=marks)


@pytest.mark.parametrize("name", [marked(name) for name in METHODS.names() if name not in SMALLER])
def test_every_built_in_method_keeps_its_contract(name: str) -> None:
    method = shrink(METHODS.get(name), SMALL[name]) if name in SMALL else METHODS.get(name)
    results = {r.check: r for r in check_on_small_backbone(method)}
    assert {check: r.reason for check, r in results.items() if r.status == "fail"} == {}
    if method.recipe is not None:
        assert any(results[check.__name__].status == "pass" for check in LOSS_CHECKS)


def test_exceptions_are_of_methods_that_exist() -> None:
    assert SLOW.keys() | SMALLER.keys() | SMALL.keys() <= set(METHODS.names())
