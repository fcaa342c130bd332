"""How a mask of a described folder is read: foreground in grey, class indices, colours, panoptic segments.

Each reader returns the stored mask as labels and judges the file by the rules of all data sets.  `select_class` turns
labels into the mask of one class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.api import IGNORE, THRESHOLD, Judgement, JudgementLevel, judge_binary, judge_file, judge_index

from .description import BLACK, Colour, Description

_JPEG = {"JPEG", "MPO"}
_SHOWN = 6


class Labels(NamedTuple):
    """The labels of a mask (H, W), and the judgements about its file.

    With a judgement of level error the values are None or must not be used.
    """

    values: NDArray[np.int32] | None
    """The class id of each pixel; -1 is background, -2 is ignored."""
    judgements: list[Judgement]


BACKGROUND, IGNORED = -1, -2


def read_labels(
    image: Image.Image,
    description: Description,
    class_id: int | None,
    segments: Mapping[int, int] | None = None,
) -> Labels:
    """Read the labels of a decoded mask.

    Args:
        image: the decoded file.
        description: how it is read.
        class_id: the class of the mask, if its masks show one class.
        segments: category id by segment id, for a panoptic mask.
    """
    if segments is not None:
        values, judgements = _read_segments(image, description, segments)
    elif description.encoding == "binary":
        values, judgements = _read_binary(image, description, int(class_id or 0))
    elif description.encoding == "index":
        values, judgements = _read_index(image, description)
    else:
        values, judgements = _read_colours(image, description)
    return Labels(values, [*judge_file(image, "mask"), *judgements])


def select_class(labels: NDArray[np.int32], class_id: int) -> NDArray[np.uint8]:
    """Return the mask (H, W) of one class: 0 background, 1 the class, 255 ignored."""
    mask = (labels == class_id).astype(np.uint8)
    mask[labels == IGNORED] = IGNORE
    return mask


def list_present(labels: NDArray[np.int32]) -> list[int]:
    """List the ids of the classes that labels (H, W) show."""
    return [int(value) for value in np.unique(labels) if value >= 0]


def _make_labels(values: NDArray[np.generic], meaning: Mapping[int, int]) -> NDArray[np.int32]:
    """Return the label of each 8-bit value; a value without a meaning is background."""
    table = np.full(256, BACKGROUND, dtype=np.int32)
    for value, label in meaning.items():
        table[value] = label
    labels: NDArray[np.int32] = table[values]
    return labels


def _read_binary(
    image: Image.Image, d: Description, class_id: int
) -> tuple[NDArray[np.int32] | None, list[Judgement]]:
    """Read a mask of one class.  An empty mask means that the image does not show the class."""
    if d.foreground == IGNORE:
        judged = judge_binary(image, expected={"empty"})
        judgements = list(judged.judgements)
        if (
            image.format in _JPEG
            and judged.values is not None
            and not any(j.level == "error" for j in judgements)
        ):
            problem = "the mask is a JPEG, whose compression blurs the edges, so that a threshold decides"
            judgements.append(Judgement(JudgementLevel.DOUBT, "soft", problem, "store masks as PNG"))
        if judged.values is None:
            return None, judgements
        return np.where(judged.values >= THRESHOLD, class_id, BACKGROUND).astype(np.int32), judgements
    ignored = {} if d.ignored is None else {d.ignored: IGNORED}
    index = judge_index(image, {1, *(set(ignored) - {IGNORE})}, ignore=IGNORE in ignored)
    if index.values is None or index.judgements:
        return None, index.judgements
    labels = _make_labels(index.values, {1: class_id, **ignored})
    shown = Image.fromarray((labels == class_id).astype(np.uint8) * np.uint8(255))
    return labels, judge_binary(shown, expected={"empty"}).judgements


def _read_index(image: Image.Image, d: Description) -> tuple[NDArray[np.int32] | None, list[Judgement]]:
    """Read a mask of class indices; 0 is background unless a class has this value."""
    meaning = {each.value: each.id for each in d.classes if each.value is not None}
    if d.ignored is not None:
        meaning[d.ignored] = IGNORED
    labels = {value for value in meaning if value != IGNORE or d.ignored != IGNORE}
    judged = judge_index(image, labels, ignore=d.ignored == IGNORE)
    if judged.values is None or any(j.level == "error" for j in judged.judgements):
        return None, judged.judgements
    return _make_labels(judged.values, meaning), judged.judgements


def _read_codes(image: Image.Image) -> tuple[NDArray[np.int32] | None, list[Judgement]]:
    """Return the colours of a file (H, W) as numbers, red the lowest byte, as panoptic masks have them."""
    if image.format in _JPEG:
        problem = "the mask is a JPEG, whose compression invents colours"
        return None, [Judgement(JudgementLevel.ERROR, "lossy", problem, "store masks as PNG")]
    if image.mode not in {"RGB", "RGBA", "P", "L", "1"}:
        problem = f"the mask has mode {image.mode}, but its classes are coded as colours"
        return None, [Judgement(JudgementLevel.ERROR, "mode", problem, "store it as 8-bit RGB")]
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        problem = f"the mask has transparent pixels (mode {image.mode}), whose colours are unknown"
        return None, [Judgement(JudgementLevel.ERROR, "alpha", problem, "store it as 8-bit RGB")]
    colours = np.asarray(image.convert("RGB"), dtype=np.int32)
    return colours[..., 0] + 256 * colours[..., 1] + 65536 * colours[..., 2], []


def _read_colours(image: Image.Image, d: Description) -> tuple[NDArray[np.int32] | None, list[Judgement]]:
    codes, judgements = _read_codes(image)
    if codes is None:
        return None, judgements
    meaning: dict[Colour, int] = {d.background_colour or BLACK: BACKGROUND}
    meaning |= {each.colour: each.id for each in d.classes if each.colour is not None}
    if d.ignored_colour is not None:
        meaning[d.ignored_colour] = IGNORED
    unique, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
    labels = np.zeros(len(unique), dtype=np.int32)
    unknown: list[str] = []
    near = 0
    for place, code in enumerate(unique.tolist()):
        colour = decode_colour(code)
        nearest = min(meaning, key=lambda known: measure_distance(known, colour))
        distance = measure_distance(nearest, colour)
        labels[place] = meaning[nearest]
        near += int(counts[place]) if 0 < distance <= d.tolerance else 0
        if distance > d.tolerance:
            unknown.append(f"{format_colour(colour)} ({int(counts[place]):,} pixels)")
    if unknown:
        shown = ", ".join(unknown[:_SHOWN]) + (
            f" and {len(unknown) - _SHOWN:,} more" if len(unknown) > _SHOWN else ""
        )
        problem = f"the mask holds colours that are no class: {shown}"
        remedy = (
            "add them to palette.csv and adopt the folder again, or set tolerance in dataset.toml (largest "
            "difference of a "
            f"channel, now {d.tolerance})"
        )
        return None, [Judgement(JudgementLevel.ERROR, "colours", problem, remedy)]
    if near:
        problem = (
            f"{near:,} pixels have a colour beside that of a class, within the tolerance of {d.tolerance}"
        )
        judgements.append(
            Judgement(JudgementLevel.NOTE, "soft", problem, "nothing to do if the palette is right")
        )
    return labels[inverse].reshape(codes.shape), judgements


def decode_colour(code: int) -> Colour:
    """Return red, green and blue of a code."""
    return code & 255, code >> 8 & 255, code >> 16


def format_colour(colour: Colour) -> str:
    """Return a colour as users write it in palette.csv."""
    return ",".join(map(str, colour))


def measure_distance(one: Colour, two: Colour) -> int:
    """Return the largest difference of a channel."""
    return max(abs(a - b) for a, b in zip(one, two, strict=True))


def _read_segments(
    image: Image.Image, d: Description, segments: Mapping[int, int]
) -> tuple[NDArray[np.int32] | None, list[Judgement]]:
    codes, judgements = _read_codes(image)
    if codes is None:
        return None, judgements
    ids = {each.category: each.id for each in d.classes}
    unique, inverse = np.unique(codes, return_inverse=True)
    labels = np.zeros(len(unique), dtype=np.int32)
    for place, code in enumerate(unique.tolist()):
        if code == 0:
            labels[place] = IGNORED if d.void == "ignored" else BACKGROUND
        elif code in segments:
            labels[place] = ids.get(segments[code], BACKGROUND)
        else:
            problem = f"the segment {code} has no record in segments_info"
            return None, [
                Judgement(JudgementLevel.ERROR, "labels", problem, "get mask and annotations from one source")
            ]
    return labels[inverse].reshape(codes.shape), judgements
