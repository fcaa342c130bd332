"""Recognises what a folder holds, by the content of its files, and describes it.

What two readings of a folder would answer differently is refused, with the files and the option that decides: a guess
would be a wrong figure without a word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fssbench.api import DataError, UsageError

from . import folders
from .annotations import load_annotations
from .class_entries import add_new_names, make_colour_classes, make_value_name
from .class_names import has_values, read_class_names, read_palette
from .description import ClassEntry, Description, Layout, Part, SplitRule
from .encodings import recognise_encoding
from .items import list_pictures

LISTS = ("train", "val", "test")


@dataclass(frozen=True)
class Choices:
    """What the user has decided; None and empty values are recognised."""

    name: str
    title: str | None = None
    domain: str | None = None
    images: str | None = None
    """Folder of the images, relative."""
    masks: str | None = None
    annotations: tuple[str, ...] = ()
    encoding: Literal["binary", "index", "colours"] | None = None
    foreground: Literal[1, 255] | None = None
    ignored: int | None = None
    tolerance: int = 0
    void: Literal["ignored", "background"] = "ignored"
    class_name: str | None = None
    """Name of the class of masks of one class."""
    kept_classes: tuple[str, ...] = ()
    """Names of the classes that are used; empty for all."""
    split: str | None = None
    """`all`, `folder`, `list` or `hash:PERCENT`."""
    leave_out: tuple[str, ...] = ()


def recognise(root: Path, choices: Choices) -> Description:
    """Describe a folder.

    Args:
        root: the folder.
        choices: what the user has decided.

    Raises:
        DataError: if the folder holds no data set that is recognised, or more than one reading is possible.
        UsageError: for choices that do not fit the folder.
    """
    files = [] if choices.masks else folders.find_annotation_files(root, choices.annotations)
    if files:
        pairs = [] if choices.annotations else _find_other_masks(root, files, choices)
        if pairs:
            raise DataError(
                f"{root} can be read in two ways: masks in {pairs[0].masks}, and annotations in "
                f"{files[0].path}. "
                f"Next: choose, `fssbench data adopt DIR --masks {pairs[0].masks}` or "
                f"`fssbench data adopt DIR --annotations {files[0].path}`"
            )
        return _describe_annotations(root, files, choices)
    return _describe_masks(root, choices)


def _find_other_masks(
    root: Path, files: list[folders.AnnotationFile], choices: Choices
) -> list[folders.Pair]:
    """Find masks beside annotations, which are not the segments of these annotations."""
    segments = {_find_segments(root, file.path) for file in files if file.panoptic}
    return folders.find_pairs(root, choices.images, choices.masks, skipped=segments)


def _find_segments(root: Path, file: str) -> str:
    """Return the folder of the PNGs of a panoptic file."""
    table = load_annotations(root / file, panoptic=True)
    names = [record.mask for record in table.images.values() if record.mask]
    return folders.find_image_folder(root, file, names, masks=True)


def apply_choices(root: Path, description: Description, choices: Mapping[str, Any]) -> Description:
    """Change those keys of an existing description that the user has decided now, and add new names of classes.

    Raises:
        UsageError: for a choice that decides how the folder is recognised, or one that does not fit.
        DataError: if `classes.txt` or `palette.csv` is malformed.
    """
    description = add_new_names(root, description)
    changes = {key: choices[key] for key in ("name", "title", "domain") if choices.get(key)}
    if choices.get("kept_classes"):
        changes["classes"] = _keep_classes(list(description.classes), choices["kept_classes"])
    if choices.get("split"):
        words: list[str | None] = [part.split for part in description.parts]
        changes["split"], uses = _choose_split(root, Choices(description.name, split=choices["split"]), words)
        parts = zip(description.parts, uses, strict=True)
        changes["parts"] = tuple(part.model_copy(update={"split": use}) for part, use in parts)
    known = {"name", "title", "domain", "kept_classes", "split"}
    if others := sorted(key for key, value in choices.items() if value and key not in known):
        raise UsageError(
            f"--{others[0].replace('_', '-')} decides how the folder is recognised. Next: add --from-scratch, "
            "or edit dataset.toml"
        )
    return description.changed(**changes)


# ---------------------------------------------------------------- masks


def _describe_masks(root: Path, choices: Choices) -> Description:
    pairs = folders.find_pairs(root, choices.images, choices.masks)
    if not pairs:
        raise DataError(
            f"{root} holds no data set that is recognised: there are no two folders of which one holds images and "
            "the other masks with the same names, no CLASS/images with CLASS/masks, and no COCO JSON. Next: put "
            "images and masks into two folders, a mask named as its image (a suffix such as _mask is allowed), or "
            "name the folders, "
            "`fssbench data adopt DIR --images IMAGES --masks MASKS`"
        )
    prefix, suffix = folders.find_affix(root, pairs)
    masks = [
        (f"{pair.masks}/{name}", root / pair.masks / on_disk)
        for pair in pairs
        for name, on_disk in list_pictures(root, pair.masks, []).items()
    ]
    palette = read_palette(root)
    names = read_class_names(root)
    if palette and names:
        raise DataError(
            f"{root} holds classes.txt and palette.csv, which contradict each other. Next: keep one of them"
        )
    by_class = all(pair.label is not None for pair in pairs) and choices.class_name is None
    encoding = recognise_encoding(
        masks,
        has_palette=bool(palette),
        has_names=bool(names) and len(names or {}) > 1,
        one_class=by_class or choices.class_name is not None,
        chosen=choices.encoding,
        foreground=choices.foreground,
        ignored=choices.ignored,
    )
    if by_class and encoding.encoding == "binary" and pairs[0].is_below:
        tops = [folder.partition("/")[0] for folder in (pairs[0].images, str(pairs[0].masks))]
        raise DataError(
            f"the folders in {tops[0]}, such as {pairs[0].label}, may be classes, or only hold the images of "
            "one class. Next: if "
            "they are classes, move them to CLASS/images and CLASS/masks; if not, `fssbench data adopt DIR "
            f"--images {tops[0]} "
            f"--masks {tops[1]}`"
        )
    layout: Layout = "class folders" if by_class and encoding.encoding == "binary" else "masks"
    ids: dict[str, int] = {}
    ignored_colour = background_colour = None
    if encoding.encoding == "colours":
        classes, ignored_colour, background_colour = make_colour_classes(palette)
    elif encoding.encoding == "index":
        classes = _make_index_classes(root, names, encoding.values)
    else:
        only = choices.class_name or next(iter((names or {}).values()), "object")
        labels = sorted({str(pair.label) for pair in pairs}) if layout == "class folders" else [only]
        ids = {label: number for number, label in enumerate(labels)}
        classes = [ClassEntry(id=number, name=label) for label, number in ids.items()]
    split, uses = _choose_split(root, choices, [pair.use for pair in pairs])
    parts = [
        Part.model_validate(
            {
                "images": pair.images,
                "masks": pair.masks,
                "class": (ids[str(pair.label)] if layout == "class folders" else 0) if ids else None,
                "split": uses[number],
            }
        )
        for number, pair in enumerate(pairs)
    ]
    return Description(
        name=choices.name,
        title=choices.title or choices.name,
        **({"domain": choices.domain} if choices.domain else {}),
        layout=layout,
        encoding=encoding.encoding,
        foreground=encoding.foreground,
        ignored=encoding.ignored,
        ignored_colour=ignored_colour,
        background_colour=background_colour,
        tolerance=choices.tolerance if encoding.encoding == "colours" else 0,
        mask_prefix=prefix,
        mask_suffix=suffix,
        leave_out=choices.leave_out,
        parts=tuple(parts),
        classes=_keep_classes(classes, choices.kept_classes),
        split=split,
    )


def _make_index_classes(root: Path, names: dict[int, str] | None, values: Iterable[int]) -> list[ClassEntry]:
    """Return the classes of index masks, named by classes.txt or else by their values."""
    present = sorted(set(values) - {0})
    if names is None:
        return [
            ClassEntry(id=number, name=make_value_name(value), value=value)
            for number, value in enumerate(present)
        ]
    if strangers := [value for value in present if value not in names]:
        raise DataError(
            f"the masks hold the values {', '.join(map(str, strangers[:8]))}, which classes.txt does not name; "
            "it names "
            f"{', '.join(f'{v} {n}' for v, n in [*names.items()][:8])}. Next: add them to "
            f"{root / 'classes.txt'} as lines "
            "`VALUE NAME`, or give --ignored VALUE"
        )
    if max(names) not in present and not has_values(root):
        raise DataError(
            f"{root / 'classes.txt'} names {len(names)} classes, but no mask holds the value {max(names)}: its "
            "first line may "
            "stand for the value 0 or 1. Next: write the value in every line, such as `1 "
            f"{names[min(names)]}`, or write "
            "`background` as the first line"
        )
    return [
        ClassEntry(id=number, name=name, value=value)
        for number, (value, name) in enumerate(sorted(names.items()))
    ]


def _keep_classes(classes: list[ClassEntry], kept: tuple[str, ...]) -> tuple[ClassEntry, ...]:
    """Mark the classes that the user does not want as left out."""
    names = {each.name for each in classes}
    if unknown := [name for name in kept if name not in names]:
        raise UsageError(
            f"--classes names {unknown[0]!r}, but the classes are {', '.join(sorted(names))}. Next: correct --classes"
        )
    return tuple(each if not kept or each.name in kept else each.changed(used=False) for each in classes)


def _choose_split(
    root: Path, choices: Choices, words: list[str | None]
) -> tuple[SplitRule, list[Literal["train", "val", "test"] | None]]:
    """Choose the rule of the split, and the use of each part under the rule `folder`."""
    unused: list[Literal["train", "val", "test"] | None] = [None] * len(words)
    lists = {use: f"{use}.txt" for use in LISTS if (root / f"{use}.txt").is_file()}
    has_folders = None not in words and len(words) > 0
    wanted = choices.split or (
        "folder" if has_folders and len(set(words)) > 1 else "list" if "test" in lists else "all"
    )
    rule, _, share = wanted.partition(":")
    if rule == "hash":
        try:
            percent = float(share.removesuffix("%"))
        except ValueError:
            percent = 0.0
        if not 0 < percent < 100:
            raise UsageError(
                f"--split {wanted!r}: give the share of tested images in percent, such as hash:30"
            )
        return SplitRule(rule="hash", test_percent=percent), unused
    if rule == "folder":
        if not has_folders:
            raise UsageError(
                "--split folder needs folders called train, val or test. Next: choose another rule"
            )
        named = {word for word in words if word}
        # as in COCO and VOC, whose test images have no public masks
        tested = "test" if "test" in named else "val"
        uses: list[Literal["train", "val", "test"] | None] = [
            "test" if word == tested else "val" if word == "val" else "train" for word in words
        ]
        if "test" not in uses:
            raise DataError(
                f"the folders {', '.join(sorted(named))} hold no images to be tested. Next: give --split all"
            )
        return SplitRule(rule="folder"), uses
    if rule == "list":
        if "test" not in lists:
            raise UsageError(
                f"--split list needs the file {root / 'test.txt'}, with one image per line. Next: write it"
            )
        return SplitRule(rule="list", **lists), unused
    if rule != "all" or share:
        raise UsageError(f"--split {wanted!r} is not known. Allowed: all, folder, list, hash:PERCENT")
    return SplitRule(), unused


# ---------------------------------------------------------------- annotations


def _describe_annotations(root: Path, files: list[folders.AnnotationFile], choices: Choices) -> Description:
    if choices.encoding or choices.foreground or choices.ignored is not None:
        raise UsageError(
            "--encoding, --foreground and --ignored are for masks, but the folder has annotations"
        )
    panoptic = files[0].panoptic
    if any(file.panoptic != panoptic for file in files):
        raise DataError(
            f"{root} holds annotations of instances and of segments. Next: choose some with --annotations FILE"
        )
    split, uses = _choose_split(root, choices, [folders.find_use(Path(file.path).stem) for file in files])
    parts: list[Part] = []
    names: dict[int, str] = {}
    images: dict[str, str] = {}
    for number, file in enumerate(files):
        table = load_annotations(root / file.path, panoptic=panoptic)
        for category, name in table.categories.items():
            if names.setdefault(category, name) != name:
                raise DataError(
                    f"category {category} is {names[category]!r} in one file and {name!r} in {file.path}"
                )
        folder = choices.images or folders.find_image_folder(
            root, file.path, [r.name for r in table.images.values()]
        )
        other = images.setdefault(folder, file.path)
        if other != file.path and split.rule != "folder" and _share_images(root, other, file.path, panoptic):
            raise DataError(
                f"{other} and {file.path} describe the same images. Next: choose one, `fssbench data adopt DIR "
                "--annotations "
                f"{file.path}`"
            )
        masks = _find_segments(root, file.path) if panoptic else None
        parts.append(Part(images=folder, masks=masks, annotations=file.path, split=uses[number]))
    twice = sorted({name for name in names.values() if [*names.values()].count(name) > 1})
    if twice:
        raise DataError(f"two categories have the name {twice[0]!r}. Next: rename one in {files[0].path}")
    classes = [ClassEntry(id=i, name=names[c], category=c) for i, c in enumerate(sorted(names))]
    return Description(
        name=choices.name,
        title=choices.title or choices.name,
        **({"domain": choices.domain} if choices.domain else {}),
        layout="coco panoptic" if panoptic else "coco instances",
        encoding="coco",
        void=choices.void if panoptic else None,
        leave_out=choices.leave_out,
        parts=tuple(parts),
        classes=_keep_classes(classes, choices.kept_classes),
        split=split,
    )


def _share_images(root: Path, one: str, two: str, panoptic: bool) -> bool:
    first, second = (
        {r.name for r in load_annotations(root / file, panoptic=panoptic).images.values()}
        for file in (one, two)
    )
    return bool(first & second)
