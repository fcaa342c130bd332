"""Checks of the data set contract, on the miniature of the data set or on real files, and of the reporter contract."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from fssbench.conformance.harness import (
    CheckResult,
    Skipped,
    Watch,
    ignore_progress,
    require,
    require_card,
    run_checks,
)
from fssbench.contracts.datasets import Dataset, Entry, Finding, FindingLevel, Pool
from fssbench.contracts.lists import ListFormat
from fssbench.contracts.resamples import RESAMPLES
from fssbench.contracts.results import Reporter, Results
from fssbench.data.reader import Reader
from fssbench.errors import DataError, FssbenchError, UsageError
from fssbench.evaluation.isolation import generators_kept
from fssbench.files.regular import MEBIBYTE

MOST_ENTRIES = 12
"""Number of items that the checks open."""
MOST_COPIED = 64 * MEBIBYTE
"""Size of the largest folder of real files that is copied, so that its copy can be damaged."""


class _Subject:
    """The data set class that is checked: on real files, or on its miniature, which is drawn once.

    Args:
        cls: the class.
        scratch: an empty folder, in which the miniature is drawn.
        data: the folder of all data sets, if real files are checked.
    """

    def __init__(self, cls: type[Dataset], scratch: Path, data: Path | None) -> None:
        self.cls = cls
        self.scratch = scratch
        self.data = data

    @property
    def has_real_files(self) -> bool:
        """Whether the files that are checked are those of a user, which no check may change."""
        return self.data is not None or self.cls.home is not None

    @cached_property
    def root(self) -> Path:
        if self.has_real_files:
            return self.cls.locate(self.data or self.scratch)
        self.draw(self.scratch)
        return self.cls.locate(self.scratch)

    def draw(self, folder: Path) -> None:
        """Draw the miniature, or skip the check if the data set has none."""
        if self.has_real_files:
            raise Skipped("not checked: real files were given, and this check needs the miniature")
        lacking = (
            "not checked: the data set has no miniature. Next: give the folder of its files with --data DIR"
        )
        if not self.cls.has_miniature():
            raise Skipped(lacking)
        try:
            self.cls.miniature(folder, 0)
        except NotImplementedError:
            raise Skipped(lacking) from None

    def open(self) -> Dataset:
        return self.cls(self.root)

    @cached_property
    def pools(self) -> dict[str, Pool]:
        pools = {}
        dataset = self.open()
        for split in ("trn", "val", "test"):
            try:
                pools[split] = dataset.pool(split)
            except (UsageError, DataError):  # a data set, or its miniature, need not have every split
                continue
        return pools

    @cached_property
    def entries(self) -> list[Entry]:
        """A few entries of as many classes as possible."""
        every = [entry for pool in self.pools.values() for entry in pool.entries]
        firsts = list({entry.class_id: entry for entry in reversed(every)}.values())
        return list(dict.fromkeys([*firsts, *every]))[:MOST_ENTRIES]

    def files(self) -> dict[str, tuple[int, int]]:
        return {
            str(p.relative_to(self.root)): (p.stat().st_size, p.stat().st_mtime_ns)
            for p in sorted(self.root.rglob("*"))
            if p.is_file()
        }


def card_is_complete(s: _Subject) -> None:
    """The card describes the data set: name, title, domain, folders, owner, licence, layout."""
    require_card(s.cls.card, {"variants"})
    for folder in s.cls.card.folders:
        plain = not Path(folder).is_absolute() and ".." not in Path(folder).parts
        require(plain, f"folder {folder!r} must be relative and stay below the data root")


def files_are_found(s: _Subject) -> None:
    """`locate` names the folder of the data set; the miniature is written there."""
    require(bool(s.files()), f"there is no file in {s.root}, where `locate` looks")


def files_verify(s: _Subject) -> None:
    """`verify` reports no error in the miniature, or in the real files that were given, and counts the images."""
    report = s.open().verify()
    errors = [f"{f.path}: {f.problem}" for f in report.findings if f.level == FindingLevel.ERROR]
    require(report.ok, "; ".join(errors[:3]))
    require(report.images > 0, "`verify` counted no image")


def classes_need_no_files(s: _Subject) -> None:
    """Class ids and names are known without the files, for every variant."""
    for variant in s.cls.card.variants or (None,):
        try:
            classes = s.cls(None, variant=variant).classes()
        except DataError as error:
            raise Skipped(
                f"the classes are known only with files or lists, so the data set is not a benchmark by itself: {error}"
            ) from None
        require(bool(classes), f"variant {variant} has no class")
        require(min(classes) >= 0, f"the class ids {sorted(classes)[:3]}... must be 0 or greater")
        require(len(set(classes.values())) == len(classes), "two classes have the same name")


def unknown_split_is_refused(s: _Subject) -> None:
    """A split that does not exist is a UsageError."""
    try:
        s.open().pool("no-such-split")
    except UsageError:
        return
    require(False, "`pool('no-such-split')` returned, but must raise a UsageError")


def pools_are_usable(s: _Subject) -> None:
    """There is a split `test` or `val`; no pool is empty, and each holds only known classes."""
    require(
        bool({"test", "val"} & set(s.pools)),
        f"there is no split `test` or `val`; the splits are {', '.join(s.pools) or 'none'}",
    )
    known = set(s.open().classes())
    for split, pool in s.pools.items():
        require(bool(pool.entries), f"pool {split!r} is empty")
        foreign = sorted({e.class_id for e in pool.entries} - known)
        require(not foreign, f"pool {split!r} holds classes {foreign[:3]}, which `classes` does not name")
        require(bool(pool.source), f"pool {split!r} does not name the source of its list")


def enough_for_five_shots(s: _Subject) -> None:
    """Every class of a tested pool has six images: five supports and a query."""
    reasons = []
    for split, pool in s.pools.items():
        if split == "trn":
            continue
        items: dict[int, set[str]] = {}
        for entry in pool.entries:
            items.setdefault(entry.class_id, set()).add(entry.item)
        if small := sorted(c for c, names in items.items() if len(names) < 6):
            reasons.append(f"classes {small[:5]} of split {split!r} have fewer than 6 images")
    if reasons and s.has_real_files:
        raise Skipped(f"{'; '.join(reasons)}: fewer shots can be drawn. `fssbench data verify` names them")
    require(not reasons, "; ".join(reasons))


def pools_are_stable(s: _Subject) -> None:
    """A pool is the same list, in the same order, every time the data set is opened."""
    for split, pool in s.pools.items():
        require(s.open().pool(split) == pool, f"pool {split!r} differs when the data set is opened again")


def list_formats_are_sound(s: _Subject) -> None:
    """Every list format names each published list once, with one file below the folder of the format."""
    formats: object = s.cls.list_formats
    require(isinstance(formats, tuple), "list_formats must be a tuple of instances of ListFormat")
    for form in s.cls.list_formats:
        require(
            isinstance(form, ListFormat),
            f"`list_formats` holds {form!r:.80}, but must hold instances of ListFormat",
        )
        places = [(each.split, each.fold) for each in form.published]
        require(bool(places), f"the list format {form.family} names no published list")
        require(
            len(set(places)) == len(places),
            f"two published lists of {form.family} have the same split and fold",
        )
        imported = [form.file_names(*place)[0] for place in places]
        require(
            len(set(imported)) == len(imported), f"two lists of {form.family} are imported under one name"
        )
        for name in (name for place in places for name in form.file_names(*place)):
            inside = PurePosixPath(name).parts[:1] == (form.family,) and ".." not in PurePosixPath(name).parts
            require(inside, f"file {name!r} must lie in the folder {form.family!r}")
        for pattern, _ in form.line_forms:
            try:
                re.compile(pattern)
            except re.error as error:
                require(
                    False, f"the pattern {pattern!r} of {form.family} is not a regular expression ({error})"
                )


def images_and_masks_agree(s: _Subject) -> None:
    """Images are RGB; masks have the size of the image, only the values 0, 1 and 255, and show the class."""
    dataset = s.open()
    reader = Reader(dataset)
    for entry in s.entries:
        try:
            size = reader.image(entry.item).size[::-1]
            reader.mask(entry.item, entry.class_id)
        except FssbenchError as error:
            require(False, str(error))
        label = dataset.label(entry.item)
        require(label.shape == size, f"{entry.item}: the label map is {label.shape}, but the image is {size}")


def reading_writes_nothing(s: _Subject) -> None:
    """Opening, listing, loading and verifying change no file below the root."""
    before = s.files()
    dataset = s.open()
    dataset.verify()
    for entry in s.entries:
        dataset.image(entry.item)
        dataset.mask(entry.item, entry.class_id)
    changed = sorted(set(before.items()) ^ set(s.files().items()))
    require(not changed, f"these files were changed: {', '.join(name for name, _ in changed[:3])}")


def _is_reported(dataset: Dataset, before: Sequence[Finding], name: str) -> bool:
    """Whether there are more findings than before, or one of that file in place of another."""
    try:
        findings = dataset.verify().findings
    except DataError:  # the list of items may depend on the file
        return True
    new = [finding for finding in findings if finding not in before]
    return len(findings) > len(before) or any(name in finding.path + finding.problem for finding in new)


def _is_listed(dataset: Dataset, item: str, splits: Iterable[str]) -> bool:
    try:
        return any(entry.item == item for split in splits for entry in dataset.pool(split).entries)
    except DataError:
        return False


def damage_is_found(s: _Subject) -> None:
    """`verify` reports a file of an item that is cut in half or missing; half an image is a DataError.

    If items are listed from the files, a missing file may also remove its item from the list.
    """
    item = s.entries[0].item
    size = sum(size for size, _ in s.files().values())
    if s.has_real_files and size > MOST_COPIED:
        raise Skipped(
            f"not checked: a copy of the folder is damaged for this, and its {size / MEBIBYTE:,.0f} MiB are "
            f"more than the {MOST_COPIED / MEBIBYTE:.0f} MiB that are copied"
        )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "copy"
        shutil.copytree(s.root, root)
        dataset = s.cls(root)
        before = dataset.verify().findings
        for path in dataset.files(item):
            content = path.read_bytes()
            for damage in ("cut in half", "missing"):
                if damage == "missing":
                    path.unlink()
                else:
                    path.write_bytes(content[: len(content) // 2])
                name = path.relative_to(root).as_posix()
                reported = _is_reported(dataset, before, name)
                listed = damage != "missing" or _is_listed(dataset, item, s.pools)
                require(reported or not listed, f"{name} is {damage}, but `verify` does not report it")
            path.write_bytes(content)
        image = dataset.files(item)[0]
        image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
        try:
            dataset.image(item)
        except DataError:
            return
        require(False, f"`image` returned {image.relative_to(root)}, which is cut in half")


def files_are_named(s: _Subject) -> None:
    """`files` names existing files below the root, the image first."""
    dataset = s.open()
    for entry in s.entries:
        paths = dataset.files(entry.item)
        require(bool(paths), f"`files` names no file for {entry.item}")
        for path in paths:
            require(path.is_file(), f"{entry.item}: {path} does not exist")
            require(s.root.resolve() in path.resolve().parents, f"{entry.item}: {path} is outside the root")


def contents_tell_pictures_apart(s: _Subject) -> None:
    """`content` names a picture: always the same name, and different names for different pictures."""
    by_name: dict[str, bytes] = {}
    dataset = s.open()
    for item in dict.fromkeys(entry.item for entry in s.entries):
        name = dataset.content(item)
        require(isinstance(name, str) and bool(name), f"`content` of {item} is {name!r}, not a name")
        require(s.open().content(item) == name, f"`content` of {item} differs when it is called again")
        pixels = dataset.image(item).tobytes()
        require(
            by_name.setdefault(name, pixels) == pixels,
            f"{item} has the content of another picture ({name}); if one file holds several images, "
            "override `content`",
        )


def miniature_is_seeded(s: _Subject) -> None:
    """The same seed draws the same miniature, byte for byte."""
    with tempfile.TemporaryDirectory() as folder:
        s.draw(Path(folder))
        again = s.cls.locate(Path(folder))
        names = [name for name in s.files() if Path(name).suffix.lower() in {".png", ".jpg", ".jpeg"}]
        if not names:
            raise Skipped("the miniature holds no PNG or JPEG")
        for name in names:
            same = (again / name).is_file() and (again / name).read_bytes() == (s.root / name).read_bytes()
            require(same, f"{name} differs when the miniature is drawn again with the same seed")


DATASET_CHECKS: tuple[Callable[[_Subject], None], ...] = (
    card_is_complete,
    classes_need_no_files,
    files_are_found,
    miniature_is_seeded,
    files_verify,
    list_formats_are_sound,
    unknown_split_is_refused,
    pools_are_usable,
    enough_for_five_shots,
    pools_are_stable,
    files_are_named,
    contents_tell_pictures_apart,
    images_and_masks_agree,
    damage_is_found,
    reading_writes_nothing,
)


def check_dataset(
    cls: type[Dataset], *, data: Path | None = None, watch: Watch = ignore_progress
) -> list[CheckResult]:
    """Check a data set class against the data set contract, on its own miniature or on real files.

    Args:
        cls: the class; it need not be registered.  Without a miniature and without `data`, the checks that need files
            are skipped, and say so.
        data: the folder of all data sets, to check the real files below it; nothing is written there.
        watch: called before each check and at the end.

    Returns:
        One result per check, in order.
    """
    with tempfile.TemporaryDirectory() as folder, generators_kept():
        return list(run_checks(DATASET_CHECKS, _Subject(cls, Path(folder), data), {}, watch))


# ---------------------------------------------------------------- reporters


def is_named(cls: type[Reporter]) -> None:
    """The reporter has a name for the command line and a title."""
    require(
        bool(getattr(cls, "name", "")) and cls.name.isprintable() and " " not in cls.name,
        "the reporter needs a `name` without spaces",
    )
    require(bool(getattr(cls, "title", "")), "the reporter needs a `title`")


def writes_files(cls: type[Reporter]) -> None:
    """A report without any run is still written, and only into the given folder."""
    empty = Results(runs=(), cells=(), resamples=RESAMPLES, bootstrap_seed=0, notes=("nothing was run",))
    with tempfile.TemporaryDirectory() as folder:
        paths = cls().write(empty, Path(folder))
        require(bool(paths), "`write` returned no path")
        for path in paths:
            inside = Path(folder).resolve() in path.resolve().parents
            require(inside and path.is_file(), f"{path} is not a file in the given folder")


REPORTER_CHECKS: tuple[Callable[[type[Reporter]], None], ...] = (is_named, writes_files)


def check_reporter(cls: type[Reporter], *, watch: Watch = ignore_progress) -> list[CheckResult]:
    """Check a reporter class against the reporter contract.

    Args:
        cls: the class; it need not be registered.
        watch: called before each check and at the end.

    Returns:
        One result per check, in order.
    """
    return list(run_checks(REPORTER_CHECKS, cls, {}, watch))
