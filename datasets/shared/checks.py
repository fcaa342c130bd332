"""Checks that `verify` of every data set uses: files exist, decode, fit each other and contain labels.

Each function checks one thing, adds its findings to the `Verification` and returns: one broken file must not hide the
next.  Paths in findings are relative to the data set's root.  The rules for files are those of
`fssbench.images.judgements`, by which the readers of `run` and `train` refuse or doubt the same files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.api import (
    IGNORE,
    THRESHOLD,
    DataError,
    Dataset,
    Finding,
    Judgement,
    Kind,
    Verification,
    admit_released,
    check_links,
    find_file,
    find_jpeg_damage,
    judge_binary,
    judge_file,
    judge_image,
    judge_index,
    judge_pair,
    list_folder,
    open_image,
)

ENOUGH = 6
"""Number of images that a class needs for 5-shot: five supports and a query."""

_AGAIN = "get the file from its owner again"


def add_error(report: Verification, path: str, problem: str, remedy: str) -> None:
    """Add a finding that makes results wrong or impossible."""
    report.findings.append(Finding("error", path, problem, remedy))


def add_warning(report: Verification, path: str, problem: str, remedy: str) -> None:
    """Add a finding that a user should know although results stay valid."""
    report.findings.append(Finding("warning", path, problem, remedy))


def list_data_files(report: Verification, folder: str, suffixes: Collection[str]) -> list[str]:
    """List the data files directly in `folder`, sorted, with their endings in lower case.

    Files with other endings give a warning.  Names that differ only in case are an error.

    Args:
        report: report that gets the findings.  Its root is the data set's folder.
        folder: folder, relative to the root.
        suffixes: lower-case endings of data files, such as `.png`.
    """
    place = report.root / folder
    if not place.is_dir():
        add_error(
            report, folder, "folder missing", "put the published folder there, or run `fssbench data prepare`"
        )
        return []
    listing = list_folder(place, suffixes)
    allowed = " or ".join(sorted(suffixes))
    for name in listing.strangers:
        add_warning(report, f"{folder}/{name}", f"not a {allowed} file; it is not read", "move it elsewhere")
    for one, two in listing.clashes:
        add_error(report, f"{folder}/{one}", f"differs from {two} in nothing but case", "keep one of them")
    return list(listing.files)


def decode_file(report: Verification, relative: str, kind: Kind) -> Image.Image | None:
    """Decode a file completely and count it.  If it cannot be read or used, add a finding and return None."""
    path = find_file(report.root / relative)
    if not path.exists():
        add_error(report, relative, f"{kind} missing", _AGAIN)
        return None
    try:
        check_links(path, report.places)
        image = open_image(path)
    except DataError as failure:
        text = str(failure).replace(str(path), "file").split(". Next:")[0]
        add_error(report, relative, f"{kind} unreadable: {text}", _AGAIN)
        return None
    _check_for_damage(report, path, relative, kind, image)
    if kind == "image":
        report.images += 1
    else:
        report.masks += 1
    judgements = judge_file(image, kind) + (judge_image(image) if kind == "image" else [])
    return image if add_judgements(report, relative, judgements) else None


def _check_for_damage(report: Verification, path: Path, relative: str, kind: str, image: Image.Image) -> None:
    """Find damage in a decoded file that its decoder does not report."""
    if image.format == "MPO":
        problem = f"{kind} is a JPEG of several pictures; the first is read"
        add_warning(report, relative, problem, "nothing to do if the first is the one that is meant")
    if damage := find_jpeg_damage(path, image):
        remedy = f"{_AGAIN}; decoders read it without a word, so results change and stay silent"
        add_error(report, relative, f"{kind} damaged: {damage}", remedy)


def add_judgements(report: Verification, path: str, judgements: Iterable[Judgement]) -> bool:
    """Add the judgements of a file as findings, and return whether a reader would take the file."""
    usable = True
    for judgement in judgements:
        refused = judgement.level == "error"
        (add_error if refused else add_warning)(report, path, judgement.problem, judgement.remedy)
        usable = usable and not refused
    return usable


def check_sizes(
    report: Verification,
    image: Image.Image,
    mask: Image.Image,
    mask_path: str,
    *,
    as_released: Callable[[], bool] = lambda: False,
) -> bool:
    """Return whether image and mask fit each other.  If not, add a finding with their stored sizes.

    Args:
        report: report that gets the findings.
        image: the decoded image.
        mask: the decoded mask.
        mask_path: path of the mask, for findings.
        as_released: function that returns whether the release has this pair with differing sizes
            (`Dataset.resizes_mask`).  It is called if the sizes differ.
    """
    differ = image.size != mask.size
    return add_judgements(
        report, mask_path, judge_pair(image.size, mask.size, as_released=differ and as_released())
    )


def check_indices(
    report: Verification,
    mask: Image.Image,
    mask_path: str,
    names: Mapping[int, str],
    *,
    ignore: bool = True,
    palette: NDArray[np.uint8] | None = None,
) -> list[int]:
    """Check a label file of class indices and count its labels in the histogram.

    Args:
        report: report that gets the findings.
        mask: the decoded file.
        mask_path: path of the file, for findings.
        names: class name by stored value.  0 is background and needs no name.
        ignore: whether 255 may occur.
        palette: colours (256, 3) that the values should have, if the data set prescribes them.

    Returns:
        The classes in the file, as stored values.  Empty if a reader refuses the file.
    """
    judged = judge_index(mask, names, ignore=ignore, palette=palette)
    usable = add_judgements(report, mask_path, judged.judgements)
    if judged.values is None:
        return []
    present = np.flatnonzero(np.bincount(judged.values.ravel(), minlength=256)).tolist()
    for value in present:
        if value and (value != IGNORE or not ignore):
            label = names.get(value, f"value {value}")
            report.histogram[label] = report.histogram.get(label, 0) + 1
    return [value for value in present if value in names] if usable else []


def check_binary(
    report: Verification,
    mask: Image.Image,
    mask_path: str,
    threshold: int = THRESHOLD,
    *,
    expected: Collection[str] = (),
    released: Collection[str] = (),
    as_released: Callable[[], bool] = lambda: True,
) -> bool:
    """Check a foreground mask (grey, or grey stored as RGB) after the threshold.

    Args:
        report: report that gets the findings.
        mask: the decoded file.
        mask_path: path of the file, for findings.
        threshold: grey value from which on a pixel is foreground.
        expected: kinds of judgement that are normal here, see `judge_binary`.
        released: kinds of error that the release has and its reference accepts.
        as_released: function that returns whether the release has this file with this error.  It is called if there is
            such an error.

    Returns:
        Whether a reader accepts the mask, so that some pixel is foreground.
    """
    judgements = judge_binary(mask, threshold=threshold, expected=expected).judgements
    if any(j.kind in released for j in judgements) and as_released():
        remedy = (
            "nothing to do if it is as released: the reference thresholds it; episodes with it are marked"
        )
        judgements = admit_released(judgements, released, remedy)
    return add_judgements(report, mask_path, judgements)


def warn_of_small_classes(
    report: Verification, counts: Mapping[str, int], folder: str, least: int = ENOUGH
) -> None:
    """Warn of classes with too few images, because K-shot needs K + 1.  No image at all is an error."""
    if not any(counts.values()):
        if report.ok:  # otherwise other findings say what is wrong with the pairs
            add_error(report, folder, "no image has a mask that can be used", "get the data set again")
        return
    for name, count in counts.items():
        if count < least:
            shots = f"enough for {count - 1}-shot at most" if count > 1 else "no episode can be drawn"
            add_warning(
                report,
                folder,
                f"class {name!r} has {count} usable images, 5-shot needs {least}: {shots}",
                "get the missing images and masks, or draw fewer supports",
            )


def warn_of_missing_entries(report: Verification, listing: str, missing: list[str], total: int) -> None:
    """Warn, once per list, of entries that are not on disk."""
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5:,} more" if len(missing) > 5 else "")
        add_warning(
            report,
            listing,
            f"{len(missing):,} of {total:,} listed entries are not on disk: {shown}",
            "get the missing files; until then results are marked as a sample",
        )


def start_report(dataset: Dataset) -> Verification:
    """Return an empty report for a data set that must be on disk.

    Raises:
        DataError: if the data set was opened from lists alone, or its folder does not exist.
    """
    name, root = dataset.card.name, dataset.root
    if root is None:
        raise DataError(f"data set {name!r} was opened from its lists alone; give its folder with --data")
    if not root.is_dir():
        raise DataError(f"folder of data set {name!r} does not exist: {root}")
    return Verification(dataset=name, root=root, places=dataset.places)
