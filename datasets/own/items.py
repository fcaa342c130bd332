"""The images of a described folder, each with its mask or its annotations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fssbench.api import DataError, check_links, list_folder, read_lines

from .annotations import Annotations, load_annotations
from .description import Description, Part, Split

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""Endings of pictures, in lower case; the content decides the format."""


@dataclass(frozen=True)
class Item:
    """One image with its ground truth.  Paths are relative to the root; their endings are in lower case."""

    image: str
    """Path of the image; it is the id of the item."""
    truth: str
    """Path of the mask, or of the annotation file."""
    part: Part
    record: int | None = None
    """Id of the image in the annotation file."""
    mask: str | None = None
    """Path of the mask; None if the annotations hold the regions."""

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of all files, the image first."""
        return (
            (self.image, self.truth)
            if self.mask in {None, self.truth}
            else (self.image, self.mask, self.truth)
        )


@dataclass(frozen=True)
class Problem:
    """What is wrong with the files of a folder, before any is opened."""

    path: str
    text: str
    remedy: str
    is_error: bool = True


@dataclass(frozen=True)
class Listing:
    """The items of a folder by id, sorted, and what is wrong with its files."""

    items: dict[str, Item]
    problems: tuple[Problem, ...]


def list_items(root: Path, description: Description) -> Listing:
    """List the images that the description describes; no picture is opened.

    Raises:
        DataError: if a folder cannot be listed, or an annotation file cannot be read.
    """
    items: dict[str, Item] = {}
    problems: list[Problem] = []
    for part in description.parts:
        listed = (
            _list_annotated(root, part, problems)
            if part.annotations
            else _list_masked(root, part, description, problems)
        )
        for item in listed:
            items[item.image] = item
    for name in description.leave_out:
        if items.pop(name, None) is None:
            known = [p for p in problems if p.path == name]
            if not known:
                problems.append(
                    Problem(
                        name, "named in leave_out, but there is no such image", "remove it from dataset.toml"
                    )
                )
            problems = [p for p in problems if p not in known]
    return Listing(dict(sorted(items.items())), tuple(problems))


def list_pictures(root: Path, folder: str, problems: list[Problem], skipped: str = "") -> dict[str, str]:
    """List the pictures of a folder and of the folders in it, by relative path, sorted.

    Args:
        root: the folder of the data set.
        folder: folder relative to the root.
        problems: list that gets names that differ only in case, and files that are no pictures.
        skipped: folder relative to the root that is not entered, such as that of the masks.

    Returns:
        The path on disk, relative to `folder`, by the path with its ending in lower case.
    """
    pictures: dict[str, str] = {}
    waiting = [""]
    while waiting:
        below = waiting.pop()
        place = "/".join(part for part in (folder, below) if part and part != ".")
        listing = list_folder(root / place, ENDINGS)
        folders = [
            name for name in listing.folders if _may_enter(root, f"{place}/{name}".strip("/"), problems)
        ]
        inner = [f"{below}/{name}".strip("/") for name in folders]
        waiting += [each for each in inner if _join(folder, each) != skipped]
        for one, two in listing.clashes:
            problems.append(
                Problem(f"{place}/{one}", f"differs from {two} in nothing but case", "keep one of them")
            )
        for name in listing.strangers:
            problems.append(
                Problem(
                    f"{place}/{name}",
                    f"not a picture ({', '.join(ENDINGS)}); it is not read",
                    "move it elsewhere",
                    False,
                )
            )
        for name, on_disk in listing.files.items():
            pictures[f"{below}/{name}".strip("/")] = f"{below}/{on_disk}".strip("/")
    return dict(sorted(pictures.items()))


def _may_enter(root: Path, folder: str, problems: list[Problem]) -> bool:
    """Return whether a folder may be listed: a link may lead neither out of the data set nor back to a folder above."""
    path = root / folder
    if not path.is_symlink():
        return True
    try:
        check_links(path, (root,))
    except DataError as error:
        problems.append(
            Problem(folder, str(error).partition(" Next: ")[0], "copy the folder to its place (`cp -rL`)")
        )
        return False
    if path.resolve() in path.parent.resolve().parents or path.resolve() == path.parent.resolve():
        problems.append(Problem(folder, "is a link to a folder that holds it", "remove it"))
        return False
    return True


def _join(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"


def split_stem(path: str) -> tuple[str, str]:
    """Return the folder and the stem of a relative path."""
    pure = PurePosixPath(path)
    return str(pure.parent), pure.stem


def _list_masked(root: Path, part: Part, description: Description, problems: list[Problem]) -> Iterator[Item]:
    """Pair the images of a part with the masks of the same stem."""
    assert part.masks is not None
    for folder in (part.images, part.masks):
        if not (root / folder).is_dir():
            problems.append(Problem(folder, "folder missing", "put it there, or correct dataset.toml"))
    prefix, suffix = description.mask_prefix, description.mask_suffix
    masks: dict[tuple[str, str], str] = {}
    for name in list_pictures(root, part.masks, problems):
        below, stem = split_stem(name)
        if (other := masks.setdefault((below, stem), name)) != name:
            problems.append(
                Problem(_join(part.masks, name), f"a second mask beside {other}", "keep one of them")
            )
    images: dict[tuple[str, str], str] = {}
    for name in list_pictures(root, part.images, problems, part.masks):
        below, stem = split_stem(name)
        path = _join(part.images, name)
        key = (below, f"{prefix}{stem}{suffix}")
        if key not in masks and (below, stem) in masks:
            key = (below, stem)  # as in Montgomery's and Shenzhen's radiographs, which are often put together
        if (other := images.setdefault(key, name)) != name:
            problems.append(
                Problem(
                    path,
                    f"a second image of the same name as {other}; their mask is the same",
                    "keep one of them",
                )
            )
        elif key in masks:
            mask = _join(part.masks, masks[key])
            yield Item(path, mask, part, mask=mask)
        else:
            wanted = _join(part.masks, f"{key[1]}.png" if below == "." else f"{below}/{key[1]}.png")
            problems.append(
                Problem(
                    path,
                    f"no mask {wanted} (or with another ending)",
                    "add the mask, or name the image in leave_out",
                )
            )
    for key, name in masks.items():
        if key not in images:
            problems.append(
                Problem(
                    _join(part.masks, name),
                    "no image belongs to this mask",
                    "add the image, or move the mask away",
                )
            )


def _list_annotated(root: Path, part: Part, problems: list[Problem]) -> Iterator[Item]:
    """Yield the images of an annotation file that are on disk."""
    assert part.annotations is not None
    table: Annotations = load_annotations(root / part.annotations, panoptic=part.masks is not None)
    pictures = list_pictures(root, part.images, problems, part.masks or "")
    listed = set()
    missing = []
    for number, record in table.images.items():
        name = _lower_ending(record.name)
        listed.add(name)
        if name not in pictures:
            missing.append(record.name)
            continue
        mask = None if record.mask is None else _join(str(part.masks), record.mask)
        yield Item(_join(part.images, name), part.annotations, part, record=number, mask=mask)
    for names, what in (
        (missing, "listed images are not on disk"),
        (sorted(pictures.keys() - listed), "images are not listed"),
    ):
        if names:
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            problems.append(
                Problem(
                    part.annotations,
                    f"{len(names):,} {what} and not used ({shown})",
                    "add them if they belong to the data",
                    False,
                )
            )


def _lower_ending(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) + suffix.lower()


def read_split_lists(root: Path, description: Description, items: dict[str, Item]) -> dict[str, Split]:
    """Return the use of each listed image; images in no list have none.

    A line names an image by its path, its file name, or its stem.

    Raises:
        DataError: if a list is missing, or a line names no image, several images, or an image of another list.
    """
    by_name: dict[str, list[str]] = {}
    for item in items:
        path = PurePosixPath(item)
        for name in {item, path.name, path.stem, str(path.with_suffix(""))}:
            by_name.setdefault(name, []).append(item)
    uses: dict[str, Split] = {}
    lists: tuple[tuple[Split, str | None], ...] = (
        ("train", description.split.train),
        ("val", description.split.val),
        ("test", description.split.test),
    )
    for use, file in lists:
        if file is None:
            continue
        try:
            lines = read_lines(root / file)
        except OSError as error:
            raise DataError(
                f"list {root / file} cannot be read ({error.strerror}). Next: correct [split] in dataset.toml"
            ) from None
        for number, line in lines:
            names = by_name.get(line, [])
            if len(names) != 1:
                what = (
                    f"{len(names)} images, such as {names[0]} and {names[1]}"
                    if names
                    else "no image with a mask"
                )
                raise DataError(
                    f"list {root / file}, line {number}: {line!r} names {what}. Next: correct the line"
                )
            if uses.setdefault(names[0], use) != use:
                raise DataError(
                    f"list {root / file}: {names[0]} is also in the list of {uses[names[0]]}. Next: keep one line"
                )
    return uses
