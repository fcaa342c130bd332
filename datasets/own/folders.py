"""Finds the folders of a data set: which hold images, which hold their masks, and which files are annotations."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from fssbench.api import DataError, list_folder, open_image

from .items import ENDINGS, split_stem

_DEPTH = 4
"""Folders are searched down to this depth."""
_MOST_FOLDERS = 20_000
_MASK_WORDS = re.compile(r"mask|label|annot|(^|[^a-z])gt|ground.?truth|segment|lesion|target", re.IGNORECASE)
_SAMPLE = 4
"""Number of files by which a folder of masks is told from one of images."""
_MOST_COLOURS = 64
"""Number of colours up to which a picture looks like a mask."""
_USES = {
    "train": "train", "training": "train", "trn": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """A folder of images with the folder of their masks, both relative."""

    images: str
    masks: str
    use: str | None = None
    """`train`, `val` or `test`, if a folder above says so."""
    label: str | None = None
    """What the other folders on the way are called, such as the class."""
    is_below: bool = False
    """Whether these folders lie below the folders of images and masks: `images/cat` and `masks/cat`."""


@dataclass(frozen=True)
class AnnotationFile:
    """A JSON file of COCO's form."""

    path: str
    panoptic: bool


def find_use(name: str) -> str | None:
    """Return the use that a name states: `train2017` and `instances_train` are `train`."""
    words = [re.sub(r"\d+$", "", word) for word in re.split(r"[^a-z0-9]+", name.casefold())]
    uses = {_USES[word] for word in words if word in _USES}
    return uses.pop() if len(uses) == 1 else None


def _list_picture_folders(root: Path) -> dict[str, list[str]]:
    """Return the names of the pictures directly in each folder below the root, by relative folder."""
    pictures: dict[str, list[str]] = {}
    waiting = ["."]
    while waiting:
        folder = waiting.pop()
        listing = list_folder(root / folder, ENDINGS)
        if listing.files:
            pictures[folder] = list(listing.files)
        if len(PurePosixPath(folder).parts) < _DEPTH:
            waiting += [name if folder == "." else f"{folder}/{name}" for name in listing.folders]
        if len(pictures) + len(waiting) > _MOST_FOLDERS:
            raise DataError(
                f"{root} holds more than {_MOST_FOLDERS:,} folders. Next: give the folder of the data set alone"
            )
    return dict(sorted(pictures.items()))


def find_pairs(
    root: Path, images: str | None, masks: str | None, *, skipped: Collection[str] = ()
) -> list[Pair]:
    """Find the folders of images with their folders of masks, sorted.

    Args:
        root: the folder of the data set.
        images: folder of the images, if the user named it.
        masks: folder of the masks, if the user named it.
        skipped: folders that are neither.

    Raises:
        DataError: if a named folder is missing, or several pairings are possible.
    """
    if images is not None and masks is not None:
        for folder in (images, masks):
            if not (root / folder).is_dir():
                raise DataError(
                    f"{root / folder} is not a folder. Next: correct --images or --masks, which are inside of {root}"
                )
        return [Pair(_clean(images), _clean(masks))]
    pictures = {
        folder: names for folder, names in _list_picture_folders(root).items() if folder not in skipped
    }
    candidates = _list_candidates(root, pictures, images, masks)
    if not candidates and (doubtful := _find_doubtful_pair(root, pictures)):
        one, two = doubtful
        raise DataError(
            f"both {one} and {two} look like masks. Next: say which holds the images, `fssbench data adopt DIR "
            "--images "
            f"{one} --masks {two}`"
        )
    by_images: dict[str, list[str]] = {}
    for one, two in candidates:
        by_images.setdefault(one, []).append(two)
    for folder, several in by_images.items():
        if len(several) > 1:
            raise DataError(
                f"the images in {folder} have masks in several folders: {', '.join(several[:6])}. Next: choose one, "
                f"`fssbench data adopt DIR --images {folder} --masks {several[0]}`"
            )
    chains = {_find_difference(one, two)[0] for one, two in candidates}
    if len(chains) > 1:
        shown = "; ".join(f"{one} with {two}" for one, two in candidates[:4])
        raise DataError(
            f"{root} holds several sets of images and masks: {shown}. Next: give the folder of one of them, or "
            "name it with "
            "--images and --masks"
        )
    return [_make_pair(one, two) for one, two in candidates]


def _clean(folder: str) -> str:
    return str(PurePosixPath(folder))


def _list_candidates(
    root: Path, pictures: dict[str, list[str]], images: str | None, masks: str | None
) -> list[tuple[str, str]]:
    """List pairs of folders whose names differ in one place and whose pictures have the same names."""
    stems = {folder: {split_stem(name)[1] for name in names} for folder, names in pictures.items()}
    pairs = []
    folders = list(pictures)
    for number, one in enumerate(folders):
        for two in folders[number + 1 :]:
            if _find_difference(one, two) == (-1, -1) or not _names_agree(stems[one], stems[two]):
                continue
            if images is not None or masks is not None:
                named = _clean(images or str(masks))
                if not any(f"{folder}/".startswith(f"{named}/") for folder in (one, two)):
                    continue
                is_first: bool | None = f"{one}/".startswith(f"{named}/") == (images is not None)
            else:
                is_first = _is_first_of_images(root, pictures, one, two)
            if is_first is not None:
                pairs.append((one, two) if is_first else (two, one))
    return sorted(pairs)


def _find_doubtful_pair(root: Path, pictures: dict[str, list[str]]) -> tuple[str, str] | None:
    """Return two folders of pictures of the same names that both look like masks; None if there are none."""
    stems = {folder: {split_stem(name)[1] for name in names} for folder, names in pictures.items()}
    folders = [folder for folder in pictures if _looks_like_masks(root, folder, pictures[folder])]
    return next(
        (
            (one, two)
            for number, one in enumerate(folders)
            for two in folders[number + 1 :]
            if _find_difference(one, two) != (-1, -1) and _names_agree(stems[one], stems[two])
        ),
        None,
    )


def _find_difference(one: str, two: str) -> tuple[int, int]:
    """Return the place at which two relative folders differ, and their depth; (-1, -1) if they differ otherwise."""
    first, second = PurePosixPath(one).parts, PurePosixPath(two).parts
    if len(first) != len(second):
        return (0, 1) if (not first and len(second) == 1) or (not second and len(first) == 1) else (-1, -1)
    places = [place for place, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]
    return (places[0], len(first)) if len(places) == 1 else (-1, -1)


def _names_agree(one: set[str], two: set[str]) -> bool:
    """Return whether half of the smaller set of stems occurs in the other, as they are or with one common affix."""
    smaller, larger = sorted((one, two), key=len)
    if 2 * len(smaller & larger) >= len(smaller):
        return True
    return any(
        2 * sum(_add(stem, affix) in two for stem in one) >= len(smaller) for affix in _list_affixes(one, two)
    ) or any(
        2 * sum(_add(stem, affix) in one for stem in two) >= len(smaller) for affix in _list_affixes(two, one)
    )


Affix = tuple[str, str]


def _add(stem: str, affix: Affix) -> str:
    return f"{affix[0]}{stem}{affix[1]}"


def _list_affixes(short: Iterable[str], long: Iterable[str]) -> list[Affix]:
    """List what may stand around the shorter names in the longer ones, the most frequent first."""
    counts: Counter[Affix] = Counter()
    names = sorted(short, key=len, reverse=True)[:50]
    for stem in sorted(long)[:50]:
        for name in names:
            before, inside, after = stem.partition(name)
            if inside:
                counts[before, after] += 1
                break
    return [affix for affix, _ in counts.most_common(3)]


def find_affix(root: Path, pairs: Sequence[Pair]) -> Affix:
    """Return what names of masks have before and after the names of their images; both empty if they are equal.

    If only some masks have an affix that says what they are, such as `_mask`, it is returned: a mask without it is read
    too, as in the radiographs of Shenzhen and Montgomery, which are often put together.

    Raises:
        DataError: if the names agree in no way.
    """
    from .items import list_pictures

    images = {split_stem(name) for pair in pairs for name in list_pictures(root, pair.images, [], pair.masks)}
    masks = {split_stem(name) for pair in pairs for name in list_pictures(root, pair.masks, [])}
    options: list[Affix] = [("", ""), *_list_affixes({s for _, s in images}, {s for _, s in masks})]
    scores = [
        sum(
            (below, _add(stem, affix)) in masks
            or (_is_called_masks("".join(affix)) and (below, stem) in masks)
            for below, stem in images
        )
        for affix in options
    ]
    best = max(range(len(options)), key=lambda place: (scores[place], -place))
    if not scores[best]:
        raise DataError(
            f"no mask in {pairs[0].masks} has the name of an image in {pairs[0].images}. Next: name masks as "
            "their images"
        )
    return options[best]


def _is_first_of_images(root: Path, pictures: dict[str, list[str]], one: str, two: str) -> bool | None:
    """Return whether the first folder holds the images; None if not exactly one of them holds masks, or unknown."""
    looks = [_looks_like_masks(root, each, pictures[each]) for each in (one, two)]
    if looks[0] != looks[1]:
        return looks[1]
    if not looks[0]:
        return None
    named = [_is_called_masks(each) for each in (one, two)]
    return named[1] if named[0] != named[1] else None


def _is_called_masks(folder: str) -> bool:
    return any(_MASK_WORDS.search(part) for part in PurePosixPath(folder).parts)


def _looks_like_masks(root: Path, folder: str, names: list[str]) -> bool:
    """Return whether most of a few pictures have few colours, or are black and white."""
    listing = list_folder(root / folder, ENDINGS).files
    chosen = [listing[name] for name in names[:: max(1, len(names) // _SAMPLE)][:_SAMPLE]]
    votes = 0
    for name in chosen:
        try:
            image = open_image(root / folder / name)
        except DataError:
            continue  # `verify` names it
        grey = np.asarray(image.convert("L"))
        extreme = float(((grey < 32) | (grey > 223)).mean())
        few = image.mode in {"1", "P"} or image.convert("RGB").getcolors(_MOST_COLOURS) is not None
        votes += few or (image.mode in {"L", "1"} and extreme > 0.9)
    return 2 * votes > len(chosen)


def _make_pair(images: str, masks: str) -> Pair:
    place, _ = _find_difference(images, masks)
    others = [part for number, part in enumerate(PurePosixPath(images).parts) if number != place]
    uses = [part for part in others if part.casefold() in _USES]
    labels = [part for part in others if part.casefold() not in _USES]
    use = _USES[uses[0].casefold()] if len(uses) == 1 else None
    is_below = bool(labels) and place == 0
    return Pair(images, masks, use, "/".join(labels) or None, is_below)


# ---------------------------------------------------------------- annotations


def find_annotation_files(root: Path, named: Sequence[str]) -> list[AnnotationFile]:
    """Find the JSON files of COCO's form that hold regions, sorted by path.

    Args:
        root: the folder of the data set.
        named: files that the user named, relative; they must be of this form.

    Raises:
        DataError: if a named file is not of this form.
    """
    paths = list(named)
    if not named:
        for folder in (".", *sorted(list_folder(root).folders)):
            strangers = list_folder(root / folder).strangers
            paths += [
                name if folder == "." else f"{folder}/{name}"
                for name in strangers
                if name.casefold().endswith(".json")
            ]
    files = []
    for path in paths:
        kind = _find_kind(root / path)
        if kind is None and named:
            raise DataError(
                f"{root / path} is not a COCO file with regions. Next: give another file with --annotations"
            )
        if kind is not None:
            files.append(AnnotationFile(_clean(path), kind == "panoptic"))
    return files


def _find_kind(path: Path) -> str | None:
    """Return whether a JSON file holds instances or panoptic segments; None for any other file."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    tables = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(table), list) for table in tables):
        return None
    records = [record for record in content["annotations"] if isinstance(record, dict)]
    if any("segments_info" in record for record in records):
        return "panoptic"
    return "instances" if any(record.get("segmentation") for record in records) else None


def find_image_folder(root: Path, file: str, names: Sequence[str], *, masks: bool = False) -> str:
    """Find the folder below which the images of an annotation file lie, by their names.

    Args:
        root: the folder of the data set.
        file: the annotation file, for errors.
        names: names of the images.
        masks: whether the PNGs of panoptic segments are searched for, and not photographs.

    Raises:
        DataError: if no folder holds them, or several do.
    """
    chosen = names[:: max(1, len(names) // 50)][:50]
    folders = ["."]
    for depth in range(_DEPTH):
        level = [folder for folder in folders if folder.count("/") + (folder != ".") == depth]
        for folder in level:
            folders += [
                name if folder == "." else f"{folder}/{name}" for name in list_folder(root / folder).folders
            ]
    scores = {folder: sum((root / folder / name).is_file() for name in chosen) for folder in folders}
    best = max(scores.values())
    places = [folder for folder, score in scores.items() if score == best]
    if not best:
        raise DataError(
            f"the images that {file} lists, such as {chosen[0] if chosen else 'none'}, are not below {root}. "
            "Next: put them "
            "there, or name their folder with --images"
        )
    if len(places) > 1:  # images and segments may have the same names
        alike = [each for each in places if _hold_masks(root, each, chosen) == masks]
        places = alike or places
    if len(places) > 1:
        raise DataError(
            f"the images of {file} lie in several folders: {', '.join(places[:4])}. Next: choose one with --images"
        )
    return places[0]


def _hold_masks(root: Path, folder: str, names: Sequence[str]) -> bool:
    """Return whether pictures below a folder look like masks."""
    by_folder: dict[str, list[str]] = {}
    for name in names:
        below, _ = split_stem(name)
        by_folder.setdefault(below, []).append(PurePosixPath(name).name)
    below, chosen = max(by_folder.items(), key=lambda row: len(row[1]))
    place = folder if below == "." else str(PurePosixPath(folder) / below)
    present = [name for name in list_folder(root / place, ENDINGS).files if name in set(chosen)]
    return bool(present) and _looks_like_masks(root, place, present)
