"""Versions of installed packages."""

from __future__ import annotations

import importlib.metadata
import re

_VERSION = re.compile(r"^Version:[ \t]*(\S+)[ \t]*$", flags=re.MULTILINE)


def find_version(package: str) -> str | None:
    """Return the version of a package, or None if it is not installed.

    The result is that of `importlib.metadata.version`, which also parses the description of the package, and so takes
    ten times as long.  Nothing is remembered, because a package may be installed while a notebook is open.
    """
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return None
    header, _, _ = (distribution.read_text("METADATA") or "").partition("\n\n")
    match = _VERSION.search(header)
    return match[1] if match else distribution.version
