"""File names of pages.

They are safe for any name of a method or benchmark, and two names never share a file.
"""

from __future__ import annotations

import hashlib
import re

from ..figures.drawing import make_slug

_PLAIN = re.compile(r"[a-z0-9]+(?:[.:-][a-z0-9]+)*")


def name_page(kind: str, name: str) -> str:
    """Return the file name of the page of a method or benchmark.

    A plain name is kept, with `_` for a colon.  A plain name cannot contain `_` itself.  Of any other name the page
    gets the letters, two dashes and a hash.  A plain name contains no two dashes in a row.

    Example:
        >>> name_page("benchmark", "pascal-to-isic2018:isic1"), name_page("method", "../x")
        ('benchmark-pascal-to-isic2018_isic1.html', 'method-x--d6b96a97d147daaa.html')
    """
    if _PLAIN.fullmatch(name) and len(name) <= 80:
        return f"{kind}-{name.replace(':', '_')}.html"
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{kind}-{make_slug(name)[:40].strip('-').lower()}--{digest}.html"
