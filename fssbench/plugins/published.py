"""Published figures of methods, from whoever brings them: a package's entry point in `fssbench.published`.

An entry is a function from a method's id in published tables to its figures: where each was measured, and what is
printed, with its source.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable, Mapping

from fssbench.plugins.calls import plugin_call

GROUP = "fssbench.published"


def published(ids: Iterable[str]) -> dict[str, str]:
    """Figures printed for a method, under any of its ids.

    Args:
        ids: names of the method in published tables.

    Returns:
        By place (benchmark, backbone, shot), the figure as printed and its source; empty where nobody has any.

    Raises:
        PluginError: where an entry point does not load.
    """
    wanted = tuple(ids)
    found: dict[str, str] = {}
    for point in importlib.metadata.entry_points(group=GROUP):
        with plugin_call(f"published figures of {point.value} do not load:"):
            figures: Callable[[str], Mapping[str, str]] = point.load()
            for each in wanted:
                found.update(figures(each))
    return found
