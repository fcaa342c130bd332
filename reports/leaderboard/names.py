"""File names of pages: safe for any name of a method or benchmark, and never two names in one file."""

from __future__ import annotations

import hashlib
import re

from ..figures.drawing import slug

_PLAIN = re.compile(r"[a-z0-9]+(?:[.:-][a-z0-9]+)*")


def name_page(kind: str, name: str) -> str:
    """File name of the page of a method or benchmark.

    A plain name stands as it is, with `_` for a colon (which it then cannot hold itself); any other
    as its letters and a hash, behind two dashes, which no plain name holds.

    Example:
        >>> page("benchmark", "pascal-to-isic2018:isic1"), page("method", "../x")
        ('benchmark-pascal-to-isic2018_isic1.html', 'method-x--e60c8cb90c6dd1de.html')
    """
    if _PLAIN.fullmatch(name) and len(name) <= 80:
        return f"{kind}-{name.replace(':', '_')}.html"
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{kind}-{slug(name)[:40].strip('-').lower()}--{digest}.html"
