"""What every `verify` looks at: that files are there, decode, fit each other, and hold labels.

Each function looks at one thing, adds what it finds to the `Verification`, and goes on: one broken
file must not hide the next.  Paths in findings are relative to the data set's root.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fssbench.api import IGNORE, DataError, Dataset, Finding, Verification
from fssbench.imaging import open_image
from fssbench.jpeg_damage import find_jpeg_damage
from fssbench.links import check_links
from fssbench.listing import find_file, list_folder

ENOUGH = 6
"""Images a class needs for 5-shot: five supports and a query."""

_AGAIN = "get the file from its owner again"


def error(report: Verification, path: str, problem: str, remedy: str) -> None:
    """Add a finding that makes results wrong or impossible."""
    report.findings.append(Finding("error", path, problem, remedy))


def warning(report: Verification, path: str, problem: str, remedy: str) -> None:
    """Add a finding a user should know, though results stand."""
    report.findings.append(Finding("warning", path, problem, remedy))


def files(report: Verification, folder: str, suffixes: Collection[str]) -> list[str]:
    """List the data files right in `folder`, sorted, with their endings in lower case.

    Files with other endings are warned about; names that differ in nothing but case are an error.

    Args:
        report: what is filled in; its root is the data set's folder.
        folder: relative to the root.
        suffixes: lower-case endings that belong there, such as `.png`.
    """
    place = report.root / folder
    if not place.is_dir():
        error(
            report, folder, "folder missing", "put the published folder there, or run `fssbench data prepare`"
        )
        return []
    listing = list_folder(place, suffixes)
    allowed = " or ".join(sorted(suffixes))
    for name in listing.strangers:
        warning(report, f"{folder}/{name}", f"not a {allowed} file; it is not read", "move it elsewhere")
    for one, two in listing.clashes:
        error(report, f"{folder}/{one}", f"differs from {two} in nothing but case", "keep one of them")
    return list(listing.files)


def decode(report: Verification, relative: str, kind: Literal["image", "mask"]) -> Image.Image | None:
    """Decode a file completely and count it; None, with a finding, where that fails."""
    path = find_file(report.root / relative)
    if not path.exists():
        error(report, relative, f"{kind} missing", _AGAIN)
        return None
    try:
        check_links(path, report.places)
        image = open_image(path)
    except DataError as failure:
        text = str(failure).replace(str(path), "file").split(". Next:")[0]
        error(report, relative, f"{kind} unreadable: {text}", _AGAIN)
        return None
    _look_for_damage(report, path, relative, kind, image)
    if kind == "image":
        report.images += 1
    else:
        report.masks += 1
    return image


def _look_for_damage(report: Verification, path: Path, relative: str, kind: str, image: Image.Image) -> None:
    """Find what a decoder passes over in a file that has been decoded."""
    if image.format == "MPO":
        problem = f"{kind} is a JPEG of several pictures; the first is read"
        warning(report, relative, problem, "nothing to do if the first is the one that is meant")
    if damage := find_jpeg_damage(path, image):
        remedy = f"{_AGAIN}; decoders read it without a word, so results change and stay silent"
        error(report, relative, f"{kind} damaged: {damage}", remedy)


def sizes(report: Verification, image: Image.Image, mask: Image.Image, mask_path: str) -> bool:
    """Whether image (upright) and mask have one size; a finding that says how they differ otherwise."""
    upright = ImageOps.exif_transpose(image).size
    if upright == mask.size:
        return True
    shown = f"mask is {mask.size[0]}x{mask.size[1]}, image is {upright[0]}x{upright[1]}"
    if image.size == mask.size:
        problem = f"{shown} after its EXIF rotation; the mask was drawn on the unrotated image"
        remedy = "rotate the mask as the EXIF tag says, or remove the tag from the image"
    elif mask.size == upright[::-1]:
        problem, remedy = f"{shown}: transposed", "swap the mask's axes, or get the pair again"
    else:
        problem = shown
        remedy = "get image and mask from one source; a mask is never resized silently"
    error(report, mask_path, problem, remedy)
    return False


def indices(
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
        report: what is filled in.
        mask: the decoded file.
        mask_path: its path, for findings.
        names: class name by stored value; 0 is background and needs no name.
        ignore: whether 255 may occur.
        palette: colours (256, 3) the values should have, where the data set prescribes them.

    Returns:
        The classes present, as stored values; empty where the file is no label file.
    """
    if mask.mode not in {"P", "L"}:
        holds = {"1": "1-bit", "RGB": "RGB colours", "RGBA": "RGBA colours", "LA": "grey with alpha"}
        found = holds.get(mask.mode, f"mode {mask.mode}")
        if mask.mode.startswith("I"):
            found = f"16- or 32-bit values (mode {mask.mode})"
        error(
            report,
            mask_path,
            f"mask holds {found}, not 8-bit class indices",
            "use the published index PNG, unconverted",
        )
        return []
    counts = np.bincount(np.asarray(mask, dtype=np.uint8).ravel(), minlength=256)
    values = [int(v) for v in np.flatnonzero(counts)]
    known = {0, *names} | ({IGNORE} if ignore else set())
    strange = [v for v in values if v not in known]
    for value in values:
        if value in names or value in strange:
            label = names.get(value, f"value {value}")
            report.histogram[label] = report.histogram.get(label, 0) + 1
    if strange:
        listed = ", ".join(str(v) for v in strange[:12]) + (" ..." if len(strange) > 12 else "")
        if palette is not None and mask.mode == "L" and set(values) <= _greys(palette, known):
            problem = f"values {listed} are the grey tones of the palette: the mask was converted from P to L"
            remedy = "use the palette PNG as published; the conversion cannot be undone reliably"
        else:
            problem = f"unknown label values {listed}"
            allowed = f"0, {min(names)}..{max(names)}{' and 255' if ignore else ''}"
            remedy = f"only {allowed} are labels here; get the mask again"
        error(report, mask_path, problem, remedy)
    elif palette is not None and mask.mode == "P":
        _colours(report, mask, mask_path, values, known, palette)
    return [v for v in values if v in names]


def _greys(palette: NDArray[np.uint8], known: Iterable[int]) -> set[int]:
    """The grey tones Pillow makes of the known labels' colours."""
    chosen = np.ascontiguousarray(palette[sorted(known)])[None]
    return {int(v) for v in np.asarray(Image.fromarray(chosen).convert("L")).ravel()}


def _colours(
    report: Verification,
    mask: Image.Image,
    mask_path: str,
    values: list[int],
    known: set[int],
    palette: NDArray[np.uint8],
) -> None:
    """A re-quantised palette keeps the colours but renumbers them: indices then mean other classes."""
    stored = np.array(mask.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
    by_colour = {tuple(int(c) for c in palette[v]): v for v in sorted(known)}
    for value in values:
        meant = by_colour.get(tuple(int(c) for c in stored[value])) if value < len(stored) else None
        if meant is not None and meant != value:
            error(
                report,
                mask_path,
                f"palette was renumbered: index {value} has the colour of label {meant}",
                "use the published PNG; tools that optimise palettes change the labels",
            )
            return


def binary(report: Verification, mask: Image.Image, mask_path: str, threshold: int = 128) -> bool:
    """Check a foreground mask (grey, or grey stored as RGB) as the threshold reads it.

    Returns:
        Whether any pixel is foreground under the threshold.
    """
    if mask.mode.startswith(("I", "F")):
        error(
            report,
            mask_path,
            f"mask holds 16- or 32-bit values (mode {mask.mode})",
            "store it as 8-bit grey, 0 and 255",
        )
        return False
    alpha = mask.mode in {"RGBA", "LA", "PA"}
    colour = mask.convert("RGB") if mask.mode not in {"L", "1"} else None
    if colour is not None and np.mean(np.ptp(np.asarray(colour).astype(np.int16), axis=2) > 8) > 0.1:
        error(report, mask_path, "mask holds colours, not one foreground", "use the published binary mask")
    grey = np.asarray((colour or mask).convert("L"))
    values = np.flatnonzero(np.bincount(grey.ravel(), minlength=256))
    if values[-1] == 0:
        error(report, mask_path, "mask is empty: no pixel is foreground", _AGAIN)
    elif values[-1] < threshold:
        problem = f"highest value is {values[-1]}; the threshold {threshold} reads no foreground"
        error(
            report,
            mask_path,
            problem,
            "store foreground as 255 (multiply the mask by 255 where it holds 0 and 1)",
        )
    elif values[0] >= threshold:
        warning(
            report,
            mask_path,
            "every pixel is foreground",
            "look at the pair; an inverted mask looks like this",
        )
    soft = float(np.mean((grey > 16) & (grey < 239)))
    if alpha or (soft > 0.05 and values[-1] >= threshold):
        problem = f"soft edges: {soft:.1%} of the pixels are grey, and the threshold {threshold} decides"
        if alpha:
            problem = f"alpha channel (mode {mask.mode}), which is not read; {problem}"
        warning(report, mask_path, problem, "use the published mask, 8-bit grey with values 0 and 255")
    return bool(values[-1] >= threshold)


def few(report: Verification, counts: Mapping[str, int], folder: str, least: int = ENOUGH) -> None:
    """Warn of classes with too few images, for K-shot needs K + 1; without any image it is an error."""
    if not any(counts.values()):
        if report.ok:  # or else it is told already what is wrong with the pairs
            error(report, folder, "no image has a mask that can be used", "get the data set again")
        return
    for name, count in counts.items():
        if count < least:
            shots = f"enough for {count - 1}-shot at most" if count > 1 else "no episode can be drawn"
            warning(
                report,
                folder,
                f"class {name!r} has {count} usable images, 5-shot needs {least}: {shots}",
                "get the missing images and masks, or draw fewer supports",
            )


def listed(report: Verification, listing: str, missing: list[str], total: int) -> None:
    """Warn, once a list, of entries that are not on disk."""
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5:,} more" if len(missing) > 5 else "")
        warning(
            report,
            listing,
            f"{len(missing):,} of {total:,} listed entries are not on disk: {shown}",
            "get the missing files; until then results are marked as a sample",
        )


def rooted(dataset: Dataset) -> Verification:
    """An empty report for a data set that must be on disk.

    Raises:
        DataError: where it was opened from lists alone.
    """
    name, root = dataset.card.name, dataset.root
    if root is None:
        raise DataError(f"data set {name!r} was opened from its lists alone; give its folder with --data")
    if not root.is_dir():
        raise DataError(f"folder of data set {name!r} does not exist: {root}")
    return Verification(dataset=name, root=root, places=dataset.places)
