"""A figure as one `<svg>` element of a page, without scripts and links, with unique ids and the page's colours."""

from __future__ import annotations

import html
import re

from .drawing import Drawing
from .style import INK

_BACKGROUND = re.compile(r'<g id="patch_1">.*?</g>', flags=re.DOTALL)
"""The first element that matplotlib draws: the white rectangle behind the whole figure."""


def make_inline(drawing: Drawing) -> str:
    """Return the `<svg>` element of a drawing.  Equal drawings give equal text.

    The element has `role="img"` with the drawing's title and caption.  It fits any width, and its text has the colour
    `currentColor`, so it suits dark pages and paper.
    """
    svg = drawing.svg[drawing.svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = _BACKGROUND.sub("", svg, count=1)
    head, _, body = svg.partition(">")
    head = re.sub(r'\s(?:width|height|xmlns(?::xlink)?)="[^"]*"', "", head)
    name = drawing.name
    body = re.sub(r'\sid="([^"]+)"', rf' id="{name}-\1"', body)
    body = re.sub(r'xlink:href="#', f'href="#{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    words = (
        f'<title id="{name}-title">{html.escape(drawing.title)}</title>'
        f'<desc id="{name}-desc">{html.escape(drawing.caption)}</desc>'
    )
    head = f'{head} role="img" aria-labelledby="{name}-title {name}-desc">'
    return (head + words + body).replace(INK, "currentColor").strip()
