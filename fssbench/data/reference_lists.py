"""Reference list files: found, read with suspicion, imported.

The lists belong to the reference repositories and are brought by the user, in their own form:
`pascal/{trn,val}/fold{0..3}.txt` (lines `name__cc`), `coco/{trn,val}/fold{0..3}.pkl` (a pickled
dictionary of class to paths) and `fss/{trn,val,test}.txt` (class names).  They are strangers'
files, so every line is checked, and a pickle may hold nothing but plain containers, text and
numbers: it can name no class or function, hence run no code.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
from pathlib import Path
from typing import Any, NoReturn

from fssbench.data.known_lists import ListJudgement, coco_lines, fss_lines, judge_list, pascal_lines
from fssbench.data.list_forms import describe_line
from fssbench.errors import DataError
from fssbench.files.atomic import replace_file
from fssbench.files.cache import cache_folder
from fssbench.files.regular import read_regular
from fssbench.files.text import MOST_BYTES, decode_text, read_lines

PASCAL_CLASSES = 20
COCO_CLASSES = 80
FOLDS = 4

_PASCAL_LINE = re.compile(r"([A-Za-z0-9_-]+?)__(\d{1,2})")
_COCO_ITEM = re.compile(r"(train|val)\d{4}/[A-Za-z0-9_]+\.jpg")
_LARGEST = MOST_BYTES
_WHERE = "`data/splits/{}` of the HSNet repository. Next: `fssbench data splits DIR`"


def folder(explicit: Path | None = None, data: Path | None = None) -> Path | None:
    """The folder of reference lists to use, or None where there is none.

    Args:
        explicit: a folder the user named; always wins.
        data: the folder of all data sets; its `splits` comes second, that of the cache third.

    Raises:
        DataError: where the named folder does not exist or holds no list folder.
    """
    if explicit is not None:
        if not _holds_lists(explicit):
            raise DataError(
                f"{explicit} holds no reference lists: expected pascal/, coco/ or fss/ in it. "
                "Next: `fssbench data splits DIR` with the `data/splits` folder of the HSNet repository"
            )
        return explicit
    places = [cache_folder() / "splits"] if data is None else [data / "splits", cache_folder() / "splits"]
    return next((place for place in places if _holds_lists(place)), None)


def _holds_lists(place: Path) -> bool:
    return any((place / name).is_dir() for name in ("pascal", "coco", "fss"))


class _PlainUnpickler(pickle.Unpickler):
    """Admits containers, text and numbers; anything that must be imported is refused."""

    def __init__(self, content: bytes, path: Path) -> None:
        super().__init__(io.BytesIO(content))
        self._path = path

    def find_class(self, module: str, name: str) -> NoReturn:
        raise DataError(
            f"{self._path} is refused: its pickle asks for {module}.{name}, and a list file needs only "
            "dictionaries, lists, text and numbers. Get the file from its repository again"
        )

    def persistent_load(self, pid: Any) -> NoReturn:
        raise DataError(f"{self._path} is refused: its pickle refers to an object outside the file ({pid!r})")


def load_pickle(path: Path) -> Any:
    """Read a pickle of builtins without being able to run anything.

    Raises:
        DataError: where it is missing, larger than 64 MiB, damaged, or names any class or function.
    """
    content = _content(path)
    try:
        return _PlainUnpickler(content, path).load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle may raise almost anything, and announce any length
        why = f"{type(error).__name__}: {error}"
        raise DataError(f"{path} is no readable pickle ({why}){_text_in_place(content)}") from None


def _text_in_place(content: bytes) -> str:
    """What a file holds that should be a pickle and begins with a line of text."""
    first = content[:2000].decode("latin-1").strip().split("\n")[0].strip()
    meaning = describe_line(first)
    if not meaning:
        return ""
    return (
        f". Its line 1 is {_shorten(first)!r}{meaning}; expected is a list of COCO as HSNet has it, a dictionary of "
        f"class to images: {_WHERE.format('coco')}"
    )


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, _LARGEST)
    except OSError as error:
        raise DataError(
            f"reference list {path} cannot be read ({error.strerror}){_beside(path)}. "
            "Next: `fssbench data splits DIR`"
        ) from None


def _beside(path: Path) -> str:
    """What a text file of this name holds, where the list itself is not there."""
    text = path.with_suffix(".txt")
    if path.suffix == ".txt" or not text.is_file():
        return ""
    return f"; {describe_list(text)}"


def describe_list(path: Path) -> str:
    """Say in one clause what a text file holds that is not read as a reference list."""
    try:
        number, line = next(iter(read_lines(path, latin1=True)), (1, ""))
    except (DataError, OSError):
        return f"{path} is there, and is no text"
    return f"{path} is there, but its line {number} is {_shorten(line)!r}{describe_line(line)}"


def _shorten(line: str) -> str:
    return line if len(line) <= 120 else f"{line[:117]}..."


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a list that are not blank, with their numbers."""
    try:
        lines = read_lines(path, latin1=True)
    except OSError as error:
        raise DataError(
            f"reference list {path} cannot be read ({error.strerror}). Next: `fssbench data splits DIR`"
        ) from None
    if not lines:
        raise DataError(f"{path} is empty")
    return lines


def read_pascal(path: Path) -> list[tuple[str, int]]:
    """A PASCAL fold list: (image name, 0-based class), in file order.

    Raises:
        DataError: for a line that is not `name__cc` with class 1..20, or stands twice, with its number.
    """
    pairs: dict[tuple[str, int], int] = {}
    for number, line in _lines(path):
        match = _PASCAL_LINE.fullmatch(line)
        if match is None or not 1 <= int(match[2]) <= PASCAL_CLASSES:
            raise DataError(
                f"{path}, line {number}: {_shorten(line)!r} is not `name__cc` with class 01..20"
                f"{describe_line(line)}. Expected is a list of PASCAL as HSNet has it: {_WHERE.format('pascal')}"
            )
        pair = (match[1], int(match[2]) - 1)
        if pair in pairs:
            raise DataError(f"{path}, line {number}: {line!r} stands already in line {pairs[pair]}")
        pairs[pair] = number
    return list(pairs)


def read_coco(path: Path) -> dict[int, list[str]]:
    """A COCO fold list: 0-based class to items such as `val2014/COCO_val2014_000000507081.jpg`.

    Reads the reference's `.pkl`, or the `.json` that `import_lists` makes of it.

    Raises:
        DataError: where it is not a dictionary of class 0..79 to lists of such items.
    """
    if path.suffix == ".json":
        try:
            raw = json.loads(decode_text(_content(path), path))
        except ValueError as error:
            raise DataError(f"{path} is not valid JSON ({error})") from None
        raw = (
            {int(k) if str(k).isdecimal() else k: v for k, v in raw.items()} if isinstance(raw, dict) else raw
        )
    else:
        raw = load_pickle(path)
    if not isinstance(raw, dict):
        raise DataError(f"{path} holds a {type(raw).__name__}; expected a dictionary of class to image paths")
    lists: dict[int, list[str]] = {}
    for key, items in raw.items():
        if type(key) is not int or not 0 <= key < COCO_CLASSES or not isinstance(items, list):
            raise DataError(
                f"{path}: entry {key!r} is not a class 0..{COCO_CLASSES - 1} with a list of paths"
            )
        for position, item in enumerate(items):
            if not isinstance(item, str) or _COCO_ITEM.fullmatch(item) is None:
                raise DataError(
                    f"{path}: class {key}, entry {position}: {item!r} is not a path such as "
                    "val2014/COCO_val2014_000000507081.jpg"
                )
        if len(set(items)) != len(items):
            raise DataError(f"{path}: class {key} lists an image twice")
        lists[key] = items
    return lists


def read_fss(path: Path) -> list[str]:
    """An FSS-1000 split list: class names, in file order.

    Raises:
        DataError: for a line that is no folder name, or stands twice, with its number.
    """
    names: dict[str, int] = {}
    for number, line in _lines(path):
        if "/" in line or "\\" in line or line in {".", ".."}:
            raise DataError(
                f"{path}, line {number}: {_shorten(line)!r} is not a class name{describe_line(line)}. Expected is "
                f"a list of FSS-1000 as HSNet has it, one class folder a line: {_WHERE.format('fss')}"
            )
        if line in names:
            raise DataError(f"{path}, line {number}: {line!r} stands already in line {names[line]}")
        names[line] = number
    return list(names)


def coco_file(splits: Path, split: str, fold: int) -> Path:
    """Path of a COCO fold list: the imported `.json` where it is, else the reference's `.pkl`."""
    imported = splits / "coco" / split / f"fold{fold}.json"
    return imported if imported.is_file() else imported.with_suffix(".pkl")


def import_lists(source: Path, target: Path) -> list[str]:
    """Check the reference lists below `source` and copy them below `target`.

    Text lists are copied byte for byte; pickles become JSON, so that they are never unpickled again.
    Nothing is written unless every list that is there is sound.

    Returns:
        One line per list: its name, number of entries, whether it is the reference list of its place, and
        the SHA-256 of the file written. Then one line per family and split of which a fold is missing.

    Raises:
        DataError: where there is no list at all, one is malformed (with file and line), or one is the
            reference list of another split.
    """
    ready: list[tuple[str, int, ListJudgement, bytes]] = []
    for split in ("trn", "val"):
        for fold in range(FOLDS):
            text = source / "pascal" / split / f"fold{fold}.txt"
            if text.is_file():
                pairs = read_pascal(text)
                verdict = judge_list("pascal", split, fold, pascal_lines(pairs), text)
                ready.append((f"pascal/{split}/fold{fold}.txt", len(pairs), verdict, _content(text)))
            listed = coco_file(source, split, fold)
            if listed.is_file():
                lists = read_coco(listed)
                verdict = judge_list("coco", split, fold, coco_lines(lists), listed)
                content = json.dumps(lists, separators=(",", ":")).encode()
                count = sum(map(len, lists.values()))
                ready.append((f"coco/{split}/fold{fold}.json", count, verdict, content))
    for split in ("trn", "val", "test"):
        text = source / "fss" / f"{split}.txt"
        if text.is_file():
            names = read_fss(text)
            verdict = judge_list("fss", split, None, fss_lines(names), text)
            ready.append((f"fss/{split}.txt", len(names), verdict, _content(text)))
    if not ready:
        raise DataError(
            f"{source} holds no reference list: expected pascal/{{trn,val}}/fold*.txt, "
            "coco/{trn,val}/fold*.pkl or fss/{trn,val,test}.txt (`data/splits` of the HSNet repository)"
            f"{_other_lists(source)}"
        )
    report = []
    for name, count, verdict, content in sorted(ready, key=lambda row: row[0]):
        _write(target / name, content)
        digest = hashlib.sha256(content).hexdigest()
        report.append(f"{name}: {count:,} entries, {_verdict(verdict)}, sha256 {digest}")
    return report + _missing_lists([name for name, *_ in ready])


def _other_lists(source: Path) -> str:
    """What the first text file below a folder without reference lists holds."""
    others = sorted(path for pattern in ("*.txt", "*/*.txt", "*/*/*.txt") for path in source.glob(pattern))
    return f"; {describe_list(others[0])}" if others else ""


def _verdict(judgement: ListJudgement) -> str:
    """Whether a list is the reference's, in words."""
    if judgement.problem is not None:
        return f"not the reference list ({judgement.problem})"
    if judgement.proven:
        return "the reference list"
    return "as long as the reference list, whose hash is not known"


def _missing_lists(names: list[str]) -> list[str]:
    """Lines about families and splits of which some lists were brought and others were not."""
    wanted = {
        f"{family}/{split}": [f"fold{fold}" for fold in range(FOLDS)]
        for family in ("pascal", "coco")
        for split in ("trn", "val")
    } | {"fss": ["trn", "val", "test"]}
    lines = []
    for folder, stems in wanted.items():
        there = {Path(name).stem for name in names if Path(name).parent.as_posix() == folder}
        missing = [stem for stem in stems if stem not in there]
        if there and missing:
            lines.append(f"{folder}: {', '.join(missing)} missing, so that its lists cannot be used alone")
    return lines


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        raise DataError(f"cannot write {path} ({error.strerror or error}); name another folder") from None
