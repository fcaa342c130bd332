"""Verification of a described folder: every file is looked at, and everything wrong is named."""

from __future__ import annotations

from fssbench.api import Verification, describe_count, find_file, hash_present_file

from ..shared import checks
from .annotations import draw_category, load_annotations
from .description import Description
from .items import Item, Listing
from .masks import list_present, read_labels
from .population import find_segments, make_size_image, read_size_of_record


def check_files(report: Verification, description: Description, listing: Listing) -> None:
    """Check every file of a folder; findings and counts go into the report."""
    for problem in listing.problems:
        add = checks.add_error if problem.is_error else checks.add_warning
        add(report, problem.path, problem.text, problem.remedy)
    counts = {each.name: 0 for each in description.classes if each.used}
    by_content: dict[str, list[tuple[Item, tuple[int, ...]]]] = {}
    empty: list[str] = []
    for name, item in listing.items.items():
        present = _check_item(report, description, item)
        if present is None:
            continue
        if not present:
            empty.append(name)
        for class_id in present:
            entry = description.class_of(class_id)
            if entry.used:
                counts[entry.name] += 1
        by_content.setdefault(hash_present_file(find_file(report.root / item.image)), []).append(
            (item, present)
        )
    _name_twins(report, list(by_content.values()))
    if empty:
        shown = ", ".join(empty[:3]) + (", ..." if len(empty) > 3 else "")
        checks.add_warning(
            report, ".", f"{describe_count(len(empty), 'image')} without a class, so in no episode ({shown})",
            "nothing to do if their masks are empty on purpose",
        )  # fmt: skip
    report.histogram = counts
    checks.warn_of_small_classes(report, counts, ".")


def _check_item(report: Verification, description: Description, item: Item) -> tuple[int, ...] | None:
    """Check an image with its truth; return the classes that it shows, or None if it cannot be used."""
    image = checks.decode_file(report, item.image, "image")
    if item.mask is None:
        report.masks += 1
        present = _check_regions(report, description, item)
        truth, place = make_size_image(read_size_of_record(report.root, item)), item.image
    else:
        mask = checks.decode_file(report, item.mask, "mask")
        if mask is None:
            return None
        truth, place = mask, item.mask
        labels = read_labels(mask, description, item.part.class_id, find_segments(report.root, item))
        if not checks.add_judgements(report, item.mask, labels.judgements) or labels.values is None:
            return None
        present = tuple(list_present(labels.values))
    if image is None or not checks.check_sizes(report, image, truth, place):
        return None
    return present


def _check_regions(report: Verification, description: Description, item: Item) -> tuple[int, ...]:
    """Draw the regions of an image; warn of classes with an annotation that has none."""
    assert item.record is not None
    record = load_annotations(report.root / item.truth, panoptic=False).images[item.record]
    present = []
    for entry in description.classes:
        if entry.category is None or entry.category not in record.regions:
            continue
        if not record.regions[entry.category]:
            problem = f"an annotation of class {entry.name!r} has no region, so the image is not used for this class"
            checks.add_warning(report, item.image, problem, "draw the region, or remove the annotation")
        elif draw_category(record, entry.category).any():
            present.append(entry.id)
    return tuple(present)


def _name_twins(report: Verification, groups: list[list[tuple[Item, tuple[int, ...]]]]) -> None:
    """Name images that are there twice: for one class it is a doubt, with different masks an error."""
    for group in groups:
        for place, (item, present) in enumerate(group):
            others = [other for other, shown in group[:place] if set(shown) & set(present)]
            if not others:
                continue
            same = _hash_truth(report, item) == _hash_truth(report, others[0])
            if same:
                problem = f"the same picture and mask as {others[0].image}; episodes with both are marked"
                checks.add_warning(report, item.image, problem, "keep one of them")
            else:
                problem = f"the same picture as {others[0].image}, but with another mask of the same class"
                checks.add_error(report, item.image, problem, "keep the right one of them")


def _hash_truth(report: Verification, item: Item) -> str:
    if item.mask is not None:
        return hash_present_file(find_file(report.root / item.mask))
    record = load_annotations(report.root / item.truth, panoptic=False).images[int(item.record or 0)]
    return str(record.regions)
