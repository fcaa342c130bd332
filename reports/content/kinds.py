"""How a method compares support and query: `prototype`, `pixelwise`, `adaptation`, `other`; or unknown."""

from __future__ import annotations

from functools import cache

from fssbench.api import RunResult

from .published import records
from .text import clean


def kind_of(run: RunResult) -> str:
    """The method's kind as its run recorded it; for runs that did not, as the paper prints it; else empty."""
    recorded = run.manifest.get("context", {}).get("kind")
    return clean(recorded) if recorded else _printed().get(run.method.lower(), "")


@cache
def _printed() -> dict[str, str]:
    return {p.id: p.type for p in records() if p.type}
