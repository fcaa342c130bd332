"""Which distributions contain a module."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence

from fssbench.plugins.import_graph import find_distributions, map_distributions


def test_distributions_of_top_level_names_are_those_of_the_library() -> None:
    def simplify(names: Mapping[str, Sequence[str]]) -> dict[str, set[str]]:
        return {name: set(each) for name, each in names.items() if name.isidentifier()}

    result = simplify(map_distributions())
    assert result == simplify(importlib.metadata.packages_distributions())
    assert result["torch"] == {"torch"}
    assert find_distributions("torch.nn") == {"torch": importlib.metadata.version("torch")}
    assert find_distributions("no_such_module") == {}
