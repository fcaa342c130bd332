"""Records of where data are published.  Packages provide them by an entry point in `fssbench.downloads`."""

from __future__ import annotations

import importlib.metadata

from fssbench.contracts.downloads import Downloads
from fssbench.errors import PluginError
from fssbench.plugins.calls import plugin_call

GROUP = "fssbench.downloads"


def list_download_names() -> list[str]:
    """List the names for which a record exists.  Nothing is imported."""
    return sorted({point.name for point in importlib.metadata.entry_points(group=GROUP)})


def find_downloads(name: str) -> Downloads | None:
    """Find the record of a name; None if there is none.

    Raises:
        PluginError: if it does not load, or two packages have a record of this name.
    """
    points = tuple(importlib.metadata.entry_points(group=GROUP, name=name))
    if not points:
        return None
    if len({point.value for point in points}) > 1:
        raise PluginError(
            f"two packages say where {name!r} is published: {', '.join(sorted(p.value for p in points))}. "
            "Next: uninstall one of them"
        )
    with plugin_call(f"the download record of {name!r} does not load:"):
        record = points[0].load()
    if not isinstance(record, Downloads):
        raise PluginError(
            f"the download record of {name!r} is a {type(record).__name__}, but must be a `fssbench.api.Downloads`"
        )
    return record
