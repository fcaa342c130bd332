"""Published figures of methods.  Packages provide them by an entry point in `fssbench.published`.

An entry point is a function from the id of a method in published tables to its figures: the place of each
(benchmark, backbone, shot), and the printed figure with its source.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable, Mapping

from fssbench.plugins.calls import plugin_call

GROUP = "fssbench.published"


def collect_published_figures(ids: Iterable[str]) -> dict[str, str]:
    """Collect the published figures of a method, under any of its ids.

    Args:
        ids: names of the method in published tables.

    Returns:
        The printed figure and its source by place (benchmark, backbone, shot); empty if there is none.

    Raises:
        PluginError: if an entry point does not load.
    """
    wanted = tuple(ids)
    collected: dict[str, str] = {}
    for point in importlib.metadata.entry_points(group=GROUP):
        with plugin_call(f"published figures of {point.value} do not load:"):
            figures: Callable[[str], Mapping[str, str]] = point.load()
            for each in wanted:
                collected.update(figures(each))
    return collected
