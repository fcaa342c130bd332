"""Recognises how the masks of a folder store their classes, from the values of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fssbench.api import DataError, judge_binary, open_image

from .description import Encoding
from .masks import format_colour

_SHOWN = 8
_HIGHEST_LABEL = 127
"""Values up to this one can be labels without a word of the user; grey values above it may be soft edges."""
_NEXT = (
    "Next: say how masks are read, `fssbench data adopt DIR --encoding binary --foreground 255` (128 or more is the "
    "class), `--encoding binary --foreground 1`, or `--encoding index`, with `--ignored 255` if 255 is not scored"
)


@dataclass(frozen=True)
class MaskEncoding:
    """How masks store their classes."""

    encoding: Encoding
    foreground: Literal[1, 255] | None = None
    ignored: int | None = None
    values: tuple[int, ...] = ()
    """Values that occur in index masks, without the ignored one."""


@dataclass
class _Seen:
    """What the masks of a folder hold, by kind, with the first files of each kind."""

    values: dict[int, str]
    """A file that holds each value."""
    kinds: dict[str, list[str]]
    colours: dict[tuple[int, int, int], str]


def recognise_encoding(
    masks: Sequence[tuple[str, Path]],
    *,
    has_palette: bool,
    has_names: bool,
    one_class: bool,
    chosen: Literal["binary", "index", "colours"] | None,
    foreground: Literal[1, 255] | None,
    ignored: int | None,
) -> MaskEncoding:
    """Recognise the encoding of masks.

    Args:
        masks: name and path of each mask.
        has_palette: whether the folder has a `palette.csv`.
        has_names: whether the folder has a `classes.txt` of several classes.
        one_class: whether each mask shows one class, whose name is known otherwise.
        chosen: the encoding, if the user stated it.
        foreground: value of the class in binary masks, if the user stated it.
        ignored: value that is not scored, if the user stated it.

    Raises:
        DataError: if the masks can be read in several ways; it names files of each.
    """
    if chosen == "colours" or (chosen is None and has_palette):
        if not has_palette:
            raise DataError(
                "colour-coded masks need a palette.csv. Next: write `RED,GREEN,BLUE,NAME`, one class per line"
            )
        return MaskEncoding("colours")
    seen = _read_all(masks)
    if seen.colours and chosen is None:
        shown = "; ".join(
            f"{format_colour(colour)} in {name}" for colour, name in [*seen.colours.items()][:_SHOWN]
        )
        raise DataError(
            f"the masks hold colours ({shown}), and no palette.csv says what they mean. Next: write "
            "palette.csv into the "
            "folder, one line `RED,GREEN,BLUE,NAME` per class"
        )
    if chosen == "index" or (chosen is None and has_names and foreground is None):
        if ignored is None and 255 in seen.values and chosen is None:
            ignored = 255
        return MaskEncoding("index", None, ignored, tuple(sorted(seen.values.keys() - {ignored})))
    if chosen == "binary" or foreground is not None or one_class:
        object_value = foreground or _find_foreground(seen)
        return MaskEncoding("binary", object_value, ignored if object_value == 1 else None)
    return _decide(seen, ignored)


def _read_all(masks: Sequence[tuple[str, Path]]) -> _Seen:
    seen = _Seen({}, {}, {})
    for name, path in masks:
        try:
            image = open_image(path)
        except DataError:
            seen.kinds.setdefault("unread", []).append(name)
            continue
        if image.mode in {"RGB", "RGBA"}:
            rgb = image.convert("RGB")
            red, green, blue = (np.asarray(band, dtype=np.int16) for band in rgb.split())
            if (
                np.maximum(abs(red - green), abs(green - blue)) > 8
            ).mean() > 0.001 and image.format != "JPEG":
                for _, colour in rgb.getcolors(1 << 24) or ():
                    if len(seen.colours) < _SHOWN * 4:
                        seen.colours.setdefault(colour, name)  # type: ignore[arg-type]
                continue
        if image.mode not in {"P", "L", "1", "RGB", "RGBA", "LA"}:
            seen.kinds.setdefault("unread", []).append(name)
            continue
        values = np.asarray(image if image.mode in {"P", "L"} else image.convert("L"), dtype=np.uint8)
        present = np.flatnonzero(np.bincount(values.ravel(), minlength=256)).tolist()
        for value in present:
            seen.values.setdefault(value, name)
        seen.kinds.setdefault(_find_kind(image, present), []).append(name)
    return seen


def _find_kind(image: object, present: list[int]) -> str:
    """Return what a mask looks like: empty, 255 (0 and 255), 1 (0 and 1), grey, soft (doubtful grey), or labels."""
    from PIL import Image

    assert isinstance(image, Image.Image)
    others = set(present) - {0}
    if not others:
        return "empty"
    if others == {255}:
        return "255"
    if others == {1}:
        return "1"
    judgements = judge_binary(image, expected={"empty"}).judgements
    if image.mode == "P" or any(judgement.level == "error" for judgement in judgements):
        return "labels"
    return "soft" if any(judgement.kind == "soft" for judgement in judgements) else "grey"


def _find_foreground(seen: _Seen) -> Literal[1, 255]:
    """Return the value of the class in binary masks.

    Raises:
        DataError: if some masks hold 1 and others 255, or none decides.
    """
    ones, wholes = seen.kinds.get("1", []), [*seen.kinds.get("255", []), *seen.kinds.get("grey", [])]
    if soft := seen.kinds.get("soft"):
        raise DataError(
            f"{len(soft)} masks hold grey areas between 0 and 255 ({', '.join(soft[:3])}): soft edges, or a "
            f"second class. {_NEXT}"
        )
    if ones and wholes:
        raise DataError(
            f"some masks hold 0 and 1 ({', '.join(ones[:3])}), others 0 and 255 ({', '.join(wholes[:3])}). "
            "Next: store all "
            "masks in one way, 0 and 255"
        )
    if labels := seen.kinds.get("labels"):
        values = sorted(value for value in seen.values if value)[:_SHOWN]
        raise DataError(
            f"masks of one class hold the values {', '.join(map(str, values))}, such as {labels[0]}. {_NEXT}"
        )
    return 1 if ones else 255


def _decide(seen: _Seen, ignored: int | None) -> MaskEncoding:
    """Decide between binary and index masks.

    Raises:
        DataError: if both readings are possible.
    """
    labelled = seen.kinds.get("labels", [])
    values = set(seen.values) - {0}
    if not values and "unread" in seen.kinds:
        return MaskEncoding("binary", 255)  # `verify` names what is wrong with each file
    if not values:
        raise DataError("every mask is empty, so no class is shown. Next: give other masks")
    if not labelled:
        if "1" in seen.kinds and ("255" in seen.kinds or "grey" in seen.kinds):
            _find_foreground(seen)
        return MaskEncoding("binary", _find_foreground(seen), ignored)
    low = {value for value in values if value <= _HIGHEST_LABEL}
    high = values - low - {255}
    soft = [*seen.kinds.get("grey", []), *seen.kinds.get("soft", [])]
    wholes = seen.kinds.get("255", [])
    if high or soft or wholes or (255 in values and low == {1}):
        odd = [*(seen.values[value] for value in sorted(high)), *soft, *wholes, *labelled]
        raise DataError(
            f"the masks can be read in several ways: {odd[0]} is unlike "
            f"{next((n for n in labelled if n != odd[0]), odd[0])}, "
            f"and together they hold the values {', '.join(map(str, sorted(values)[:_SHOWN]))}"
            f"{' ...' if len(values) > _SHOWN else ''}. {_NEXT}"
        )
    if ignored is None and 255 in values:
        ignored = 255
    return MaskEncoding("index", None, ignored, tuple(sorted(set(seen.values) - {ignored})))
