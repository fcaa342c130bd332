"""`dataset.toml`: the description of a folder of images and masks, which the user may edit.

It states how the files are read, which classes there are, which images are tested, and what the folder held when it was
described.  Every wrong key or value is refused by its name.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from fssbench.api import DataError, Record, read_text, replace_file

FILE = "dataset.toml"
FORMAT = 1
NAME = r"[a-z0-9][a-z0-9._-]*"
NEXT = "`fssbench data adopt DIR --from-scratch`"
Layout = Literal["masks", "class folders", "coco instances", "coco panoptic"]
Encoding = Literal["binary", "index", "colours", "coco"]
Colour = tuple[int, int, int]
"""Red, green, blue."""
BLACK: Colour = (0, 0, 0)
SPLITS = ("train", "val", "test")
Split = Literal["train", "val", "test"]


class Part(Record):
    """Images, and the masks or annotations that belong to them."""

    images: str
    """Folder of the images, relative to the root; the folders in it are read too."""
    masks: str | None = None
    """Folder of the masks, with the same folders in it."""
    annotations: str | None = None
    """JSON file of COCO's form."""
    class_id: int | None = Field(default=None, alias="class")
    """Class of all masks of this part, if a mask shows one class."""
    split: Split | None = None
    """Use of these images, if the rule of the split is `folder`."""

    @field_validator("images", "masks", "annotations")
    @classmethod
    def _require_inside(cls, value: str | None) -> str | None:
        if value is not None and (PurePosixPath(value).is_absolute() or ".." in PurePosixPath(value).parts):
            raise ValueError("must be a path inside the folder of the data set")
        return value


class ClassEntry(Record):
    """One class."""

    id: int = Field(ge=0)
    """Class id in plans, from 0; it must not change when classes are added or left out."""
    name: str = Field(min_length=1)
    value: int | None = Field(default=None, ge=0, le=255)
    """Value in an index mask."""
    colour: Colour | None = None
    """Colour in a colour-coded mask: red, green, blue."""
    category: int | None = None
    """Category id in the annotations."""
    used: bool = True
    """False leaves the class out: its pixels are background for other classes."""


class SplitRule(Record):
    """Which images are tested and which are trained on."""

    rule: Literal["all", "folder", "list", "hash"] = "all"
    """`all` tests every image."""
    test_percent: float | None = Field(default=None, gt=0, lt=100)
    """For `hash`: share of the images that are tested.  The content of an image decides, so images that are added or
    renamed change the use of no other image."""
    train: str | None = None
    """For `list`: text file with one image per line."""
    val: str | None = None
    test: str | None = None

    @model_validator(mode="after")
    def _require_fields(self) -> SplitRule:
        if (self.rule == "hash") != (self.test_percent is not None):
            raise ValueError("test_percent belongs to the rule `hash`, which needs it")
        if self.rule == "list" and self.test is None:
            raise ValueError("the rule `list` needs the key test")
        if self.rule != "list" and (self.train or self.val or self.test):
            raise ValueError("the keys train, val and test belong to the rule `list`")
        return self


class Population(Record):
    """What the folder held when it was described."""

    images: int
    entries: int
    """Pairs of an image and a class that it shows."""
    sha256: str
    """Hash over all images, masks, classes, and the rules by which they are read."""


class Description(Record):
    """The content of `dataset.toml`."""

    format: Literal[1] = 1
    name: str = Field(pattern=f"^{NAME}$")
    title: str = Field(min_length=1)
    domain: str = "images of the user"
    layout: Layout
    encoding: Encoding
    foreground: Literal[1, 255] | None = None
    """For binary masks: 255 (a grey value of 128 or more is the class), or 1 (labels 0 and 1)."""
    ignored: int | None = Field(default=None, ge=0, le=255)
    """Value of mask pixels that are not scored; for colours and annotations see `ignored_colour` and `void`."""
    ignored_colour: Colour | None = None
    background_colour: Colour | None = None
    """For colours: what is no class; without it black."""
    void: Literal["ignored", "background"] | None = None
    """For `coco panoptic`: what pixels without a segment are."""
    tolerance: int = Field(default=0, ge=0, le=127)
    """For colours: largest difference of a channel from the colour of a class."""
    mask_prefix: str = ""
    """What the name of a mask has before the name of its image."""
    mask_suffix: str = ""
    """What the name of a mask has after the name of its image, before the ending: `_mask`."""
    leave_out: tuple[str, ...] = ()
    """Images that are not used, by path."""
    parts: tuple[Part, ...] = Field(min_length=1)
    classes: tuple[ClassEntry, ...] = Field(min_length=1)
    split: SplitRule = SplitRule()
    population: Population | None = None

    @model_validator(mode="after")
    def _require_agreement(self) -> Description:
        for problem in _find_contradictions(self):
            raise ValueError(problem)
        return self

    @property
    def used_classes(self) -> dict[int, str]:
        """Names of the classes that are not left out, by id."""
        return {each.id: each.name for each in sorted(self.classes, key=lambda c: c.id) if each.used}

    def class_of(self, class_id: int) -> ClassEntry:
        """Return the entry of a class id that exists."""
        return next(each for each in self.classes if each.id == class_id)

    def reading_rules(self) -> dict[str, Any]:
        """Return all of the description that can change a mask or an episode; names and titles cannot."""
        rules = self.model_dump(
            mode="json", by_alias=True, exclude={"name", "title", "domain", "population", "format"}
        )
        if rules["background_colour"] is None:
            del rules["background_colour"]  # descriptions without the key keep their hash
        rules["classes"] = sorted(
            ({k: v for k, v in each.items() if k != "name"} for each in rules["classes"]),
            key=lambda c: c["id"],
        )
        return rules


def _find_contradictions(d: Description) -> list[str]:
    """List what the keys of a description say against each other."""
    problems = []
    ids = [each.id for each in d.classes]
    names = [each.name for each in d.classes]
    pairs: tuple[tuple[str, list[Any]], ...] = (("id", ids), ("name", names))
    for what, values in pairs:
        if twice := sorted({str(v) for v in values if values.count(v) > 1}):
            problems.append(f"two classes have the {what} {twice[0]}")
    if not d.used_classes:
        problems.append("no class is used")
    key = {"index": "value", "colours": "colour", "coco": "category"}.get(d.encoding)
    if key is not None:
        keys = [getattr(each, key) for each in d.classes]
        if None in keys:
            problems.append(f"class {d.classes[keys.index(None)].name!r} needs the key {key}")
        elif len(set(keys)) < len(keys):
            problems.append(f"two classes have the same {key}")
        if d.ignored is not None and key == "value" and d.ignored in keys:
            problems.append(f"the value {d.ignored} cannot be a class and ignored")
    if d.encoding == "binary":
        problems += _find_binary_contradictions(d, ids)
    has_annotations = d.layout.startswith("coco")
    if has_annotations != (d.encoding == "coco"):
        problems.append(f"the layout {d.layout!r} does not have the encoding {d.encoding!r}")
    if (d.layout == "coco panoptic") != (d.void is not None):
        problems.append("the key void belongs to the layout 'coco panoptic', which needs it")
    for part in d.parts:
        if (part.annotations is not None) != has_annotations or (
            (part.masks is None) and d.layout != "coco instances"
        ):
            problems.append(f"the part of {part.images!r} lacks its masks or annotations, or has both")
        if (part.split is None) == (d.split.rule == "folder"):
            problems.append("each part has the key split if, and only if, the rule of the split is `folder`")
    return problems


def _find_binary_contradictions(d: Description, ids: list[int]) -> list[str]:
    problems = []
    if d.foreground is None:
        problems.append("binary masks need the key foreground: 255 or 1")
    if d.ignored is not None and d.foreground == 255:
        problems.append("masks with foreground 255 have no ignored value")
    for part in d.parts:
        if part.class_id not in ids:
            problems.append(f"the part of {part.images!r} needs the key class, one of the ids {ids[:8]}")
    return problems


def read_description(root: Path) -> Description | None:
    """Read the description of a folder; None if it has none.

    Raises:
        DataError: if it is not readable, or a key or value is wrong; the message names it.
    """
    path = root / FILE
    try:
        content = tomllib.loads(read_text(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}). Next: correct it, or {NEXT}") from None
    try:
        return Description.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(each) for each in first["loc"])
        value = f", and is {first['input']!r:.60}" if isinstance(first["input"], (str, int, float)) else ""
        allowed = (
            f"; allowed here: {', '.join(_list_keys(first['loc']))}"
            if first["type"] == "extra_forbidden"
            else ""
        )
        raise DataError(
            f"{path}: "
            f"{f'the key {place}: ' if place else ''}{first['msg'].removeprefix('Value error, ')}{value}{allowed}. "
            f"Next: correct it, or {NEXT}"
        ) from None


def _list_keys(place: tuple[int | str, ...]) -> list[str]:
    """List the keys that are allowed where an unknown one was met."""
    tables: dict[str, type[Record]] = {
        "parts": Part,
        "classes": ClassEntry,
        "split": SplitRule,
        "population": Population,
    }
    record = tables.get(str(place[0]), Description) if len(place) > 1 else Description
    return [field.alias or name for name, field in record.model_fields.items()]


def write_description(root: Path, description: Description) -> Path:
    """Write the description into its folder, as a whole or not at all.

    Raises:
        DataError: if the folder cannot be written.
    """
    path = root / FILE
    try:
        replace_file(path, format_description(description).encode())
    except (OSError, UnicodeEncodeError) as error:
        raise DataError(
            f"{path} cannot be written ({getattr(error, 'strerror', None) or error}). Next: use the folder "
            "without a description, "
            "--data-folder NAME=DIR"
        ) from None
    return path


_KEY_REMARKS = {
    "foreground": "255: a grey value of 128 or more is the class; 1: labels 0 and 1",
    "ignored": "mask pixels with this value are not scored",
    "leave_out": "files that are not used",
}
_REMARKS = {
    "parts": "folders of images, each with its masks or annotations",
    "classes": "used = false leaves a class out; its id stays",
    "split": "rule: all (every image is tested), folder, list (test, train, val: text files) or hash (test_percent)",
    "population": "what the folder held; `fssbench data adopt DIR --again` updates it",
}


def format_description(description: Description) -> str:
    """Return the text of a description."""
    values = description.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    values["format"] = description.format
    plain = {k: v for k, v in values.items() if k not in {"parts", "classes", "split", "population"}}
    lines = ["# The description of this folder, written by `fssbench data adopt`. You may edit it."]
    lines += _format_table({"format": plain.pop("format"), **plain})
    for name in ("parts", "classes"):
        for number, table in enumerate(values[name]):
            remark = [f"# {_REMARKS[name]}"] if number == 0 else []
            lines += ["", *remark, f"[[{name}]]", *_format_table(table)]
    for name in ("split", "population"):
        table = (
            {"rule": description.split.rule, **values.get("split", {})}
            if name == "split"
            else values.get(name)
        )
        if table:
            lines += ["", f"# {_REMARKS[name]}", f"[{name}]", *_format_table(table)]
    return "\n".join(lines) + "\n"


def _format_table(table: dict[str, Any]) -> list[str]:
    return [
        f"{key} = {_format_value(value)}" + (f"  # {_KEY_REMARKS[key]}" if key in _KEY_REMARKS else "")
        for key, value in table.items()
        if value is not None
    ]


def _format_value(value: Any) -> str:
    """Return a value in TOML, whose strings, numbers, booleans and lists are those of JSON, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
