"""The list formats that the registered data sets define."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from fssbench.contracts.datasets import Dataset
from fssbench.contracts.lists import ListFormat
from fssbench.errors import PluginError
from fssbench.plugins.registry import DATASETS

_GENERAL_FORMS = (
    (r"\S+\.(?:jpe?g|png|bmp)", "the path of an image"),
    (r"\S+[\s,;]+\S.*", "a line of several columns"),
)
"""Forms of lines that belong to no data set; forms that a data set defines are tried first."""


def list_formats() -> list[ListFormat[Any]]:
    """Return the list formats of all data sets, in the order of the data sets' names.

    A data set that does not load is left out: `fssbench list datasets` reports it, and it must not stop the others.
    A format that a data set inherits from another one is returned once.
    """
    formats: dict[type, ListFormat[Any]] = {}
    for _, form in _yield_formats():
        if isinstance(form, ListFormat):
            formats.setdefault(type(form), form)
    return [*formats.values()]


def require_sound_formats() -> None:
    """Check the list formats of the data sets before lists are imported.

    Raises:
        PluginError: if `list_formats` of a data set holds another object, or two data sets define different formats
            of one family; the error names them.
    """
    owners: dict[str, tuple[str, type]] = {}
    for dataset, form in _yield_formats():
        if not isinstance(form, ListFormat):
            raise PluginError(
                f"`list_formats` of data set {dataset!r} holds {form!r:.80}, but it must hold instances of ListFormat. "
                f"Next: `fssbench check {dataset}`"
            )
        owner, kind = owners.setdefault(form.family, (dataset, type(form)))
        if kind is not type(form):
            raise PluginError(
                f"data sets {owner!r} and {dataset!r} both define lists of the family {form.family!r}. "
                "Next: rename the family in one of them, or uninstall one"
            )


def _yield_formats() -> Iterator[tuple[str, Any]]:
    """Yield the entries of `list_formats` of each data set that loads, each with the name of its data set."""
    for name in DATASETS.names():
        try:
            cls: type[Dataset] = DATASETS.get(name)
        except PluginError:
            continue
        for form in cls.list_formats if isinstance(cls.list_formats, tuple) else (cls.list_formats,):
            yield name, form


def describe_line(line: str) -> str:
    """Describe a line of a list, for errors; empty if its form is unknown."""
    own_forms = [line_form for form in list_formats() for line_form in form.line_forms]
    for pattern, meaning in (*own_forms, *_GENERAL_FORMS):
        if re.fullmatch(pattern, line, re.IGNORECASE):
            return f" (it is {meaning})"
    return ""
