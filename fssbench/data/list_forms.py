"""Forms of list files that circulate, recognised by a line, so that errors can say what a file is.

The lists of HSNet and its followers, which fssbench reads, name an image and a class.  Those of PFENet and its
followers (BAM, HDMNet, ...) and of DeepLab name an image and its mask; which classes count is decided by code
that goes through all masks, so such a list alone makes no episodes.
"""

from __future__ import annotations

import re

_FORMS = (
    (
        re.compile(r"\S+\.(?:jpe?g|png)[\s,]+\S+\.png", re.I),
        "an image and its mask, as the lists of PFENet name them",
    ),
    (
        re.compile(r"\S+\s+-?[01]"),
        "a name and a flag, as the lists of one class (VOC's ImageSets/Main) have them",
    ),
    (re.compile(r"[\w-]+__\d{1,2}"), "an image and its class, as the fold lists of PASCAL (HSNet) name them"),
    (re.compile(r"\S*(?:train|val)20\d\d\S*\.jpg"), "an image of COCO"),
    (re.compile(r"\S+\.(?:jpe?g|png|bmp)", re.I), "the path of an image"),
    (re.compile(r"\S+[\s,;]+\S.*"), "a line of several columns"),
)


def describe_line(line: str) -> str:
    """Say what a line of a list names, for errors; empty if it is of no known form."""
    return next((f" (it is {meaning})" for form, meaning in _FORMS if form.fullmatch(line)), "")
