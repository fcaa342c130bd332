"""The rules for the values of masks: class indices, foreground in grey, classes in colours.

Each function takes a decoded file and returns its values with judgements about them.  The values are None if
the file holds none of this kind; with a judgement of level error they must not be used.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.images.judgements import Judgement, JudgementLevel, is_transparent, read_stored_depth
from fssbench.plural import describe_count

THRESHOLD = 128
"""Grey value from which a pixel is foreground, in all reference loaders."""
IGNORE = 255
_CONTENT = {"1": "1-bit values", "RGB": "RGB colours", "RGBA": "RGBA colours", "LA": "grey with alpha"}
_BLACK, _WHITE = 16, 239
"""Grey values between these are soft: neither background nor foreground."""
_SOFT = 0.05
"""Share of soft pixels from which a mask is doubtful; it is a share of the foreground if the greys are areas."""
_FLAT = 8
"""Number of values up to which greys are areas, such as a second object, and not the edges of one."""
_PICTURE = 0.5
"""Share of soft pixels from which a file is a grey picture and not a mask."""
_COLOURED = 0.1
"""Share of coloured pixels from which a file is a colour picture and not a mask."""
_TOLERANCE = 32
"""Largest distance to 0 or 255 of a channel value that belongs to a colour code; other values are soft."""
_LABELLED = 0.05
"""Number of label pixels (1 to 15) per pixel of 255 from which the values are labels and not greys."""
_UNCODED = 0.1
"""Share of pixels with soft colours from which a file is not a colour-coded mask."""


class Judged(NamedTuple):
    """The values of a mask file (H, W), and the judgements about them."""

    values: NDArray[np.uint8] | None
    judgements: list[Judgement]


def judge_index(
    image: Image.Image,
    labels: Collection[int] | None = None,
    *,
    ignore: bool = True,
    palette: NDArray[np.uint8] | None = None,
) -> Judged:
    """Judge a label file of class indices.

    Args:
        image: the decoded file.
        labels: values that are classes; 0 is background.  None admits every value.
        ignore: whether 255 may occur.
        palette: colours (256, 3) that the values should have, if the data set prescribes them.
    """
    if image.mode not in {"P", "L"}:
        if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
            return Judged(None, [])  # `judge_file` names the depth
        content = _CONTENT.get(image.mode, f"mode {image.mode}")
        problem = f"the mask holds {content}, not 8-bit class indices"
        remedy = "use the published index PNG without conversion: 8-bit palette (P) or grey (L), with indices as values"
        return Judged(None, [Judgement(JudgementLevel.ERROR, "mode", problem, remedy)])
    values = np.asarray(image, dtype=np.uint8)
    if image.format in {"JPEG", "MPO"}:
        problem = "the label file is a JPEG, whose compression invents labels"
        return Judged(
            values, [Judgement(JudgementLevel.ERROR, "lossy", problem, "use the published index PNG")]
        )
    depth = read_stored_depth(image)
    if image.mode == "L" and depth is not None and depth < 8:
        problem = f"the mask holds {depth}-bit grey, which is read as multiples of {255 // (2**depth - 1)}"
        remedy = "store the indices as 8-bit grey or as a palette PNG"
        return Judged(values, [Judgement(JudgementLevel.ERROR, "depth", problem, remedy)])
    if labels is None:
        return Judged(values, [])
    known = {0, *labels} | ({IGNORE} if ignore else set())
    if not _are_all_known(values, max(labels), known):
        present = _list_values(image)
        unknown_values = [value for value in present if value not in known]
        if unknown_values:
            return Judged(
                values,
                [_find_unknown_values(image.mode, present, unknown_values, known, palette, labels, ignore)],
            )
    if palette is not None and image.mode == "P":
        return Judged(values, _judge_palette(image, known, palette))
    return Judged(values, [])


def _are_all_known(values: NDArray[np.uint8], highest: int, known: set[int]) -> bool:
    """Return whether no value is unknown, in one pass; False if one pass cannot tell."""
    if known == {*range(highest + 1), IGNORE}:
        return int((values + np.uint8(1)).max()) <= highest + 1  # 255 becomes 0
    return known == {*range(highest + 1)} and int(values.max()) <= highest


def _list_values(image: Image.Image) -> list[int]:
    """Return the values that occur in an image of one 8-bit channel."""
    return [value for value, count in enumerate(image.histogram()) if count]


def _find_unknown_values(
    mode: str,
    present: list[int],
    unknown_values: list[int],
    known: set[int],
    palette: NDArray[np.uint8] | None,
    labels: Collection[int],
    ignore: bool,
) -> Judgement:
    listed = ", ".join(map(str, unknown_values[:12])) + (" ..." if len(unknown_values) > 12 else "")
    if palette is not None and mode == "L" and set(present) <= _find_palette_greys(palette, known):
        problem = f"the values {listed} are grey tones of the palette: the mask was converted from P to L"
        remedy = "use the palette PNG as published; the conversion cannot be reversed reliably"
        return Judgement(JudgementLevel.ERROR, "greys", problem, remedy)
    allowed = f"0, {min(labels)}..{max(labels)}{' and 255' if ignore else ''}"
    remedy = f"get the mask again; its labels must be {allowed}"
    return Judgement(
        JudgementLevel.ERROR, "labels", f"the mask holds the unknown label values {listed}", remedy
    )


def _find_palette_greys(palette: NDArray[np.uint8], known: Collection[int]) -> set[int]:
    """Return the grey tones to which Pillow converts the colours of the known labels."""
    colours = np.ascontiguousarray(palette[sorted(known)])[None]
    return {int(v) for v in np.asarray(Image.fromarray(colours).convert("L")).ravel()}


def _judge_palette(image: Image.Image, known: set[int], palette: NDArray[np.uint8]) -> list[Judgement]:
    """Judge whether a re-quantised palette renumbers its colours, so that indices mean other classes."""
    stored = np.array(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
    expected = sorted(value for value in known if value < len(stored))
    if np.array_equal(stored[expected], palette[expected]):
        return []
    label_of = {tuple(palette[v].tolist()): v for v in sorted(known)}
    for value in _list_values(image):
        meant = label_of.get(tuple(stored[value].tolist())) if value < len(stored) else None
        if meant is not None and meant != value:
            problem = f"the palette was renumbered: index {value} has the colour of label {meant}"
            remedy = "use the published PNG; tools that optimise palettes change the labels"
            return [Judgement(JudgementLevel.ERROR, "palette", problem, remedy)]
    return []


def judge_binary(image: Image.Image, *, threshold: int = THRESHOLD, expected: Collection[str] = ()) -> Judged:
    """Judge a foreground mask: grey, or grey stored as colours.  The values are grey, not thresholded.

    Args:
        image: the decoded file.
        threshold: grey value from which a pixel is foreground.
        expected: kinds of judgement that are not reported, such as `empty` if a mask without foreground means that
            the class is not in the image, or `full` and `inverted` if the class may fill or surround an image.
    """
    if image.mode not in {"1", "L", "P", "RGB", "RGBA", "LA", "PA"}:
        if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
            return Judged(None, [])  # `judge_file` names the depth
        problem = f"the mask has mode {image.mode}, which has no grey values of 8 bits"
        return Judged(
            None, [Judgement(JudgementLevel.ERROR, "mode", problem, "store it as 8-bit grey, 0 and 255")]
        )
    alpha = image.has_transparency_data
    if alpha and is_transparent(image):
        problem = (
            f"the mask has transparent pixels (mode {image.mode}): its colours or its alpha may be the mask"
        )
        return Judged(
            None,
            [
                Judgement(
                    JudgementLevel.ERROR, "alpha", problem, "store it as 8-bit grey without alpha, 0 and 255"
                )
            ],
        )
    colours = image.convert("RGB") if image.mode not in {"1", "L", "LA"} else None
    grey = (colours or image).convert("L") if image.mode != "L" else image
    values = np.asarray(grey, dtype=np.uint8)
    judgements = [
        *_judge_greys(values, threshold),
        *_judge_labels(values),
        *_judge_softness(values, threshold, colours, image.mode if alpha else ""),
    ]
    return Judged(values, [j for j in judgements if j.kind not in expected])


def _judge_greys(values: NDArray[np.uint8], threshold: int) -> list[Judgement]:
    """Judge the lowest and the highest of the grey values (H, W), and those along the edges."""
    highest = int(values.max())
    if highest == 0:
        problem = "the mask is empty: no pixel is foreground"
        return [Judgement(JudgementLevel.ERROR, "empty", problem, "get the file from its owner again")]
    if highest < threshold:
        problem = f"the highest value is {highest}, so the threshold {threshold} gives no foreground"
        remedy = "store foreground as 255 (multiply the mask by 255 if it holds 0 and 1)"
        return [Judgement(JudgementLevel.ERROR, "dark", problem, remedy)]
    remedy = "look at the image and its mask; the mask may be inverted"
    if int(values.min()) >= threshold:
        return [Judgement(JudgementLevel.DOUBT, "full", "every pixel is foreground", remedy)]
    if all(int(edge.min()) >= threshold for edge in (values[0], values[-1], values[:, 0], values[:, -1])):
        problem = "the foreground covers all four edges, and the background is only inside"
        return [Judgement(JudgementLevel.DOUBT, "inverted", problem, remedy)]
    return []


def _judge_labels(values: NDArray[np.uint8]) -> list[Judgement]:
    """Judge whether values (H, W) are labels, such as 0, 1 and 255 (ignored); a threshold would count 255 only."""
    if not _lies_between(values, 0, _BLACK).any() or _lies_between(values, _BLACK - 1, IGNORE).any():
        return []  # black and white, or grey values, such as soft edges or the noise of a compression
    counts = np.bincount(values.ravel(), minlength=IGNORE + 1)
    low = [value for value in range(1, _BLACK) if counts[value]]
    if not counts[0] or not counts[IGNORE]:
        return []
    if counts[low].sum() < _LABELLED * counts[IGNORE]:
        return []
    shown = ", ".join(map(str, low[:6])) + (" ..." if len(low) > 6 else "")
    problem = (
        f"the mask holds the values 0, {shown} and 255: these are labels with ignored pixels, and the threshold would "
        "count only the ignored ones"
    )
    remedy = "store it as 8-bit grey: foreground 255, background 0"
    return [Judgement(JudgementLevel.ERROR, "labels", problem, remedy)]


def _judge_softness(
    values: NDArray[np.uint8], threshold: int, colours: Image.Image | None, alpha: str
) -> list[Judgement]:
    """Judge how many pixels are neither black nor white; `alpha` is the mode of a file with opaque alpha."""
    remedy = "use the published mask, 8-bit grey with values 0 and 255"
    if colours is not None and _measure_coloured_share(colours) > _COLOURED:
        problem = "the mask holds colours, not one foreground"
        return [Judgement(JudgementLevel.ERROR, "photograph", problem, "use the published binary mask")]
    between = _lies_between(values, _BLACK, _WHITE)
    soft = np.count_nonzero(between) / between.size
    problem = (
        f"the mask has soft edges: {soft:.1%} of the pixels are grey, and the threshold {threshold} decides"
    )
    if soft > _PICTURE:
        problem = f"{soft:.1%} of the pixels are grey: the file is a picture and not a mask"
        return [Judgement(JudgementLevel.ERROR, "photograph", problem, remedy)]
    foreground = np.count_nonzero(values >= threshold) / values.size if soft else 0.0
    if foreground and (soft > _SOFT or (soft > _SOFT * foreground and _is_flat(values[between]))):
        return [Judgement(JudgementLevel.DOUBT, "soft", problem, remedy)]
    if alpha:
        return [
            Judgement(
                JudgementLevel.NOTE,
                "alpha",
                f"{problem}; its alpha channel (mode {alpha}) is not read",
                remedy,
            )
        ]
    return []


def _is_flat(greys: NDArray[np.uint8]) -> bool:
    """Return whether greys (N,) are so few that they are areas; edges have many."""
    return int(np.count_nonzero(np.bincount(greys))) <= _FLAT


def _lies_between(values: NDArray[np.uint8], low: int, high: int) -> NDArray[np.bool_]:
    """Return where values lie above `low` and below `high`, in one comparison: lower values become large."""
    between: NDArray[np.bool_] = (values - np.uint8(low + 1)) < np.uint8(high - low - 1)
    return between


def _measure_coloured_share(colours: Image.Image) -> float:
    """Return the share of pixels whose channels differ."""
    red, green, blue = (np.asarray(band) for band in colours.split())
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return float(np.count_nonzero(spread > 8)) / spread.size


def judge_coded(image: Image.Image) -> Judged:
    """Judge a mask whose colours are class codes.  The values are codes 0..7, red the highest bit."""
    if image.mode not in {"RGB", "RGBA", "P"}:
        if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
            return Judged(None, [])  # `judge_file` names the depth
        problem = f"the mask has mode {image.mode}, but its classes are coded as colours"
        return Judged(
            None, [Judgement(JudgementLevel.ERROR, "mode", problem, "use the RGB mask as published")]
        )
    if is_transparent(image):
        problem = f"the mask has transparent pixels (mode {image.mode}), whose colours are unknown"
        return Judged(
            None, [Judgement(JudgementLevel.ERROR, "alpha", problem, "use the RGB mask as published")]
        )
    coded = image if image.mode == "RGB" else image.convert("RGB")
    colours = np.asarray(coded, dtype=np.uint8)
    return Judged(compute_codes(colours), _judge_colours(colours))


def compute_codes(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the colour codes 0..7 (H, W) of colours (H, W, 3): each channel thresholded, red the highest bit."""
    bits = (colours >= THRESHOLD).astype(np.uint8)
    codes: NDArray[np.uint8] = bits[..., 0] * 4 + bits[..., 1] * 2 + bits[..., 2]
    return codes


def _judge_colours(colours: NDArray[np.uint8]) -> list[Judgement]:
    """Judge the colours (H, W, 3) of a coded mask."""
    highest = int(colours.max())
    if 0 < highest < THRESHOLD:
        problem = (
            f"the highest value is {highest}, which is not part of a colour code; below the threshold {THRESHOLD} "
            "every pixel is black"
        )
        remedy = "store the codes as 0 and 255 (multiply the mask by 255 if it holds 0 and 1)"
        return [Judgement(JudgementLevel.ERROR, "dark", problem, remedy)]
    channels = _lies_between(colours, _TOLERANCE, 255 - _TOLERANCE)
    if not channels.any():
        return []
    between = channels.any(axis=2)
    count, share = int(np.count_nonzero(between)), float(between.mean())
    if share > _UNCODED:
        problem = f"{100 * share:.1f} % of the pixels have colours that are not a class code"
        remedy = "use the file as published; this file is not a colour-coded mask"
        return [Judgement(JudgementLevel.ERROR, "photograph", problem, remedy)]
    soft = describe_count(count, "pixel has a soft colour", "pixels have soft colours")
    problem = f"{soft}; the threshold {THRESHOLD} on each channel decides"
    remedy = "if the file is as published, do nothing; replace a mask that was resized or stored as JPEG"
    return [Judgement(JudgementLevel.NOTE, "soft", problem, remedy)]
