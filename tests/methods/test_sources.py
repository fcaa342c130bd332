"""What the source hash of a built-in method covers: its own parts, shared layers, and the methods it builds on."""

from __future__ import annotations

import pytest

from fssbench.contracts.methods import Method
from fssbench.plugins.registry import METHODS
from fssbench.plugins.source_hash import collect_source

BUILDS_ON = {
    "abcnet": {"dcama"},
    "fecanet": {"hsnet"},
    "hm": {"hsnet", "vat"},
    "ifa": {"ssp"},
    "patnet": {"hsnet"},
}


@pytest.mark.parametrize("name", METHODS.names())
def test_a_method_is_not_identified_by_other_methods_or_the_core(name: str) -> None:
    cls = METHODS.get(name)
    if not cls.__module__.startswith("fssbench.methods."):
        pytest.skip("a plugin that is installed beside fssbench")
    parts = {part.split(".")[0] for part in collect_source(cls, base=Method).parts}
    module = cls.__module__.split(".")[2]
    assert parts - {"__init__", "layers"} - BUILDS_ON.get(name, set()) == {module}


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("panet", {"feature_maps", "processor", "prototypes", "resize"}),
        ("dcama", {"feature_maps", "module_inputs", "processor", "resize"}),
    ],
)
def test_only_the_layers_that_a_method_imports_count(name: str, layers: set[str]) -> None:
    parts = collect_source(METHODS.get(name), base=Method).parts
    assert {part.removeprefix("layers.") for part in parts if part.startswith("layers.")} == layers
