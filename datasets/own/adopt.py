"""Adopting a folder: describe it, check every file, and write the description once nothing is wrong."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fssbench.api import DataError, UsageError, Verification

from .description import FILE, Description, Population, read_description, write_description
from .reader import OwnDataset, bind_class, require_free_name
from .recognise import Choices, apply_choices, recognise

_LEAST = 2
"""Images that a class needs: a query and a support."""


def prepare_adoption(
    folder: Path, choices: Mapping[str, Any], *, again: bool, from_scratch: bool
) -> type[OwnDataset]:
    """Describe a folder; nothing is written.

    Args:
        folder: an absolute path.
        choices: fields of `Choices` that the user has decided.
        again: keep an existing description with its edits, and describe what the folder holds now.
        from_scratch: ignore an existing description.

    Returns:
        The class that reads the folder so.

    Raises:
        UsageError: if there is a description already, or the choices do not fit the folder.
        DataError: if the folder cannot be recognised, or its description is wrong.
    """
    existing = None if from_scratch else read_description(folder)
    if existing is None:
        name = choices.get("name") or make_name(folder)
        require_free_name(name)
        return bind_class(recognise(folder, Choices(**{**choices, "name": name})), folder)
    if not again:
        raise UsageError(
            f"{folder / FILE} describes this folder already, as data set {existing.name!r}. Next: `fssbench "
            "data adopt DIR "
            "--again` keeps your edits and describes what the folder holds now; --from-scratch recognises it anew"
        )
    return bind_class(apply_choices(folder, existing.changed(population=None), choices), folder)


def make_name(folder: Path) -> str:
    """Make a name from that of the folder."""
    return re.sub(r"[^a-z0-9._-]+", "-", folder.name.lower()).strip("-._") or "own-data"


def leave_out_faulty(cls: type[OwnDataset], report: Verification) -> type[OwnDataset]:
    """Leave out every image with an error, and every file without a partner.

    Raises:
        DataError: if an error concerns no single image.
    """
    assert cls.home is not None
    listing = cls(cls.home).listing
    image_of = {
        path: name for name, item in listing.items.items() for path in (item.image, item.mask) if path
    }
    lonely = {problem.path for problem in listing.problems if problem.is_error}
    faulty: set[str] = set()
    for finding in report.findings:
        if finding.level != "error":
            continue
        if finding.path in image_of:
            faulty.add(image_of[finding.path])
        elif finding.path in lonely:
            faulty.add(finding.path)
        elif finding.path != ".":
            raise DataError(
                f"{finding.path}: {finding.problem}. This cannot be left out. Next: {finding.remedy}"
            )
    left_out = tuple(sorted({*cls.described.leave_out, *faulty}))
    return bind_class(cls.described.changed(leave_out=left_out), cls.home)


def leave_out_small_classes(cls: type[OwnDataset]) -> type[OwnDataset]:
    """Leave out every class of which fewer than two images are tested, because no episode can be drawn of it.

    Nothing is left out if files have errors, or if no class would remain.
    """
    assert cls.home is not None
    dataset = cls(cls.home)
    try:
        tested = [held for name, held in dataset.holdings.items() if dataset.uses.get(name) == "test"]
    except DataError:
        return cls  # the findings of `verify` name it
    counts = Counter(class_id for held in tested for class_id in held.classes)
    classes = tuple(
        each if counts[each.id] >= _LEAST else each.changed(used=False) for each in cls.described.classes
    )
    if not any(each.used for each in classes) or classes == cls.described.classes:
        return cls
    return bind_class(cls.described.changed(classes=classes), cls.home)


def finish_adoption(cls: type[OwnDataset]) -> Path:
    """Write the description of a checked folder, with what the folder holds.

    Returns:
        The file.

    Raises:
        DataError: if the folder cannot be read or written.
    """
    assert cls.home is not None
    dataset = cls(cls.home)
    population = Population(
        images=len(dataset.holdings),
        entries=sum(len(held.classes) for held in dataset.holdings.values()),
        sha256=dataset.hash_files(),
    )
    return write_description(cls.home, cls.described.changed(population=population))


def summarise(cls: type[OwnDataset]) -> dict[str, Any]:
    """Return what a description says, for people: layout, encoding, classes, split."""
    d: Description = cls.described
    left_out = [each.name for each in d.classes if not each.used]
    reading = {
        "binary": "a grey value of 128 or more is the class"
        if d.foreground == 255
        else "the value 1 is the class",
        "index": "class indices" + (f", {d.ignored} is not scored" if d.ignored is not None else ""),
        "colours": f"colours of palette.csv, tolerance {d.tolerance}",
        "coco": "regions of annotations" + (f", pixels without a segment are {d.void}" if d.void else ""),
    }
    return {
        "name": d.name,
        "layout": d.layout,
        "parts": [
            f"{p.images} with {p.annotations or p.masks}" + (f" ({p.split})" if p.split else "")
            for p in d.parts
        ],
        "masks": reading[d.encoding],
        "mask names": f"{d.mask_prefix}NAME{d.mask_suffix}"
        if d.mask_prefix or d.mask_suffix
        else "as their images",
        "classes": d.used_classes,
        "left out": [*left_out, *d.leave_out],
        "split": {
            "all": "every image is tested",
            "folder": "by folder",
            "list": "by list",
            "hash": f"by the hash of the image content, {d.split.test_percent or 0:g} % tested",
        }[d.split.rule],
    }
