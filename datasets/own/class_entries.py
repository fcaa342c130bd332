"""The classes of a description, made from `classes.txt` and `palette.csv`.

A file of names may be written or extended after the folder was described, and `adopt --again` then takes over what is
new. Names in `dataset.toml` stay, because the user may have edited them, except for those that were made from a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from .class_names import read_class_names, read_palette
from .description import BLACK, ClassEntry, Colour, Description


def make_value_name(value: int) -> str:
    """Make the name of a class of which only the value is known."""
    return f"label {value}"


class PaletteEntries(NamedTuple):
    """What the colours of `palette.csv` mean."""

    classes: list[ClassEntry]
    ignored: Colour | None
    """Colour that is not scored."""
    background: Colour | None
    """Colour of the background; None for black."""


def make_colour_classes(palette: Mapping[str, Colour] | None) -> PaletteEntries:
    """Return what a palette says: `background` is no class, and `ignored` is not scored."""
    ignored = background = None
    classes: list[ClassEntry] = []
    for name, colour in (palette or {}).items():
        if name.casefold() in {"ignored", "ignore", "void", "unlabeled", "unlabelled"}:
            ignored = colour
        elif name.casefold() in {"background", "bg"}:
            background = colour if colour != BLACK else None
        else:
            classes.append(ClassEntry(id=len(classes), name=name, colour=colour))
    return PaletteEntries(classes, ignored, background)


def add_new_names(root: Path, description: Description) -> Description:
    """Add what `classes.txt` or `palette.csv` names and the description does not; ids of classes stay.

    Args:
        root: the folder.
        description: the stored description.

    Raises:
        DataError: if a file of names is malformed.
    """
    ignored, background = description.ignored_colour, description.background_colour
    if description.encoding == "index":
        names = read_class_names(root) or {}
        entries = [ClassEntry(id=0, name=name, value=value) for value, name in sorted(names.items())]
    elif description.encoding == "colours":
        palette = make_colour_classes(read_palette(root))
        entries = palette.classes
        ignored, background = ignored or palette.ignored, background or palette.background
    else:
        return description
    classes = [_name_value(each, entries) for each in description.classes]
    known = {(each.value, each.colour) for each in classes}
    taken = {each.name for each in classes}
    next_id = max(each.id for each in classes) + 1
    for each in entries:
        is_ignored = each.value is not None and each.value == description.ignored
        if (each.value, each.colour) in known or each.name in taken or is_ignored:
            continue
        classes.append(each.changed(id=next_id))
        next_id += 1
    return description.changed(classes=tuple(classes), ignored_colour=ignored, background_colour=background)


def _name_value(entry: ClassEntry, named: list[ClassEntry]) -> ClassEntry:
    """Give a class that has only a made name the name that a file states for its value."""
    if entry.value is None or entry.name != make_value_name(entry.value):
        return entry
    names = [each.name for each in named if each.value == entry.value]
    return entry.changed(name=names[0]) if names else entry
