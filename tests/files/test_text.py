"""Text of other people: whatever its encoding and line ends, it gives the same lists, plans and settings."""

from __future__ import annotations

import ast
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from at_night import draw_more
from click.testing import CliRunner
from fssbench.datasets.coco.lists import LISTS as COCO_LISTS
from fssbench.datasets.fss1000.lists import LISTS as FSS_LISTS
from fssbench.datasets.isic2018.reader import read_table
from fssbench.datasets.pascal.lists import LISTS as PASCAL_LISTS
from hypothesis import given, settings, strategies as st
from PIL import Image

import fssbench
from fssbench.cli import main
from fssbench.data import reference_lists
from fssbench.data.location import open_dataset
from fssbench.episodes.plan_file import read_plan, write_plan
from fssbench.errors import DataError
from fssbench.files.text import read_lines, read_text

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le with mark", "utf-16-be with mark")
ENDS = ("\n", "\r\n", "\r")


def encode(text: str, encoding: str) -> bytes:
    if encoding.endswith(" with mark"):
        return f"\ufeff{text}".encode(encoding.removesuffix(" with mark"))
    return text.encode(encoding)


LINES = given(
    names=st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1), max_size=8
    ),
    encoding=st.sampled_from(ENCODINGS),
    end=st.sampled_from(ENDS),
    blanks=st.lists(st.integers(0, 2), min_size=9, max_size=9),
    space=st.sampled_from(["", " ", "\t", "  \t"]),
    last=st.sampled_from(["", "\n", "\x1a"]),
)


@settings(max_examples=75, deadline=None)
@LINES
def test_lines_are_the_same_in_every_form(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[str],
    encoding: str,
    end: str,
    blanks: list[int],
    space: str,
    last: str,
) -> None:
    path = tmp_path_factory.mktemp("text") / "list.txt"
    text = end.join(f"{name}{space}" + end * blank for name, blank in zip(names, blanks, strict=False)) + last
    path.write_bytes(encode(text, encoding))
    lines = read_lines(path)
    assert [line for _, line in lines] == names
    rows = text.removesuffix("\x1a").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert [rows[number - 1].strip() for number, _ in lines] == names


test_lines_are_the_same_in_every_form_at_night = draw_more(test_lines_are_the_same_in_every_form, LINES, 300)


@given(st.binary(max_size=60), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_text_or_a_data_error_with_the_file(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, latin1: bool
) -> None:
    path = tmp_path_factory.mktemp("text") / "list.txt"
    path.write_bytes(content)
    try:
        assert "\0" not in read_text(path, latin1=latin1)
    except DataError as error:
        assert str(path) in str(error)


def test_what_is_no_text_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    for content, line in ((b"a\r\nb\r\nM\xfcller", 3), ("a\nb".encode("utf-16-le"), 1), (b"a\rb\rc\0d", 3)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"list\.txt, line {line} .*UTF-8"):
            read_text(path)
    path.write_bytes(b"M\xfcller")
    assert read_text(path, latin1=True) == "Müller"
    path.write_bytes(b"one\n\xef\xbb\xbftwo\n")  # two files joined
    assert read_lines(path) == [(1, "one"), (2, "two")]


FORMS = [(encoding, end) for encoding in ("utf-8-sig", "utf-16") for end in ENDS]


@pytest.mark.parametrize(("encoding", "end"), FORMS)
def test_reference_lists_are_read_in_every_form(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(encode(f"2007_000032__01{end}{end}2007_000033__20 {end}", encoding))
    assert PASCAL_LISTS.read(path) == [("2007_000032", 0), ("2007_000033", 19)]
    path.write_bytes(encode(f"bus{end} ab_wheel{end}{end}", encoding))
    assert FSS_LISTS.read(path) == ["bus", "ab_wheel"]
    lists = {"0": ["val2014/COCO_val2014_000000000001.jpg"]}
    path = tmp_path / "list.json"
    path.write_bytes(encode(json.dumps(lists, indent=1).replace("\n", end), encoding))
    assert COCO_LISTS.read(path) == {0: lists["0"]}


PFENET = "JPEGImages/2007_000032.jpg SegmentationClassAug/2007_000032.png"
PFENET_COCO = (
    "train2014/COCO_train2014_000000000009.jpg annotations/train2014/COCO_train2014_000000000009.png"
)


@pytest.mark.parametrize(
    ("read", "line"),
    [
        (PASCAL_LISTS.read, PFENET),
        (PASCAL_LISTS.read, f"/{PFENET.replace(' ', ' /')}"),
        (PASCAL_LISTS.read, "2007_000032 -1"),
        (PASCAL_LISTS.read, "2007_000032"),
        (FSS_LISTS.read, "abacus/1.jpg abacus/1.png"),
        (FSS_LISTS.read, "2007_000032__01/"),
        (COCO_LISTS.read, PFENET_COCO),
    ],
)
def test_lists_of_another_family_are_refused_with_line_and_what_is_expected(
    tmp_path: Path, read: Callable[[Path], Any], line: str
) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"{line}\n{line}\n")
    with pytest.raises(DataError) as caught:
        read(path)
    said = str(caught.value)
    for part in (str(path), "line 1", line, "HSNet"):
        assert part in said


def test_import_says_what_lies_in_the_place_of_the_lists(tmp_path: Path) -> None:
    (tmp_path / "lists" / "pascal").mkdir(parents=True)
    (tmp_path / "lists" / "pascal" / "val.txt").write_text(PFENET)
    with pytest.raises(DataError, match=r"PFENet"):
        reference_lists.import_lists(tmp_path / "lists", tmp_path / "into")
    (tmp_path / "lists" / "coco" / "val").mkdir(parents=True)
    (tmp_path / "lists" / "coco" / "val" / "fold0.txt").write_text(PFENET_COCO)
    with pytest.raises(DataError, match=r"fold0\.txt.*line 1.*PFENet"):
        COCO_LISTS.read(COCO_LISTS.path(tmp_path / "lists", "val", 0))


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Twenty images of VOC with masks, as F16 draws them; gives the path of val.txt."""
    root = tmp_path / "data" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClassAug", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(20):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(
            root / f"JPEGImages/2007_{i:06}.jpg"
        )
        label = np.zeros((40, 40), np.uint8)
        label[8:30, 8:30] = 1 + i % 5
        Image.fromarray(label).save(root / f"SegmentationClassAug/2007_{i:06}.png")
    return root / "ImageSets/Segmentation/val.txt"


NAMES = [f"2007_{i:06}" for i in range(20)]


def pool(listing: Path) -> Any:
    return open_dataset("pascal", data=listing.parents[3]).pool("val")


@pytest.mark.parametrize(("encoding", "end"), FORMS)
@pytest.mark.parametrize(
    "form", ["{}", "{}.jpg", "JPEGImages/{}.jpg", "VOC2012\\SegmentationClassAug\\{}.png"]
)
def test_lists_of_voc_are_read_in_every_form_that_means_one_name(
    voc: Path, form: str, encoding: str, end: str
) -> None:
    voc.write_bytes(encode("\n".join(NAMES), "utf-8"))
    plain = pool(voc)
    assert len(plain.entries) == 20
    voc.write_bytes(encode(end.join(form.format(name) for name in NAMES), encoding))
    assert pool(voc) == plain


@pytest.mark.parametrize(
    "form",
    [
        "JPEGImages/{0}.jpg SegmentationClassAug/{0}.png",
        "/JPEGImages/{0}.jpg /SegmentationClassAug/{0}.png",
        "{0} -1",
        "{0}  1",
        "{0},{0}",
        "elsewhere/{0}.jpg",
    ],
)
def test_lists_of_voc_of_another_form_are_refused_with_line_and_form(voc: Path, form: str) -> None:
    voc.write_text("\n".join([*NAMES[:2], *(form.format(name) for name in NAMES[2:])]))
    with pytest.raises(DataError) as caught:
        pool(voc)
    for part in ("val.txt", "line 3", form.format(NAMES[2]), "2007_000033"):
        assert part in str(caught.value)
    result = CliRunner().invoke(main, ["data", "verify", "pascal", "--data", str(voc.parents[3])])
    assert result.exit_code == 3
    assert "line 3" in result.stdout
    assert "20 images, 20 masks" in result.stdout, "a wrong list must not hide what the files are"


def test_names_of_a_list_that_are_not_on_disk_are_counted(voc: Path) -> None:
    voc.write_text("\n".join([*NAMES, "2009_000001", "2009_000002"]))
    assert len(pool(voc).entries) == 20
    assert "2 of its 22 names are not on disk" in pool(voc).source
    voc.write_text("2009_000001\n2009_000002\n")
    with pytest.raises(DataError, match=r"none of the 2 names in .*val\.txt"):
        pool(voc)
    voc.write_text("\n".join([*NAMES, NAMES[3]]))
    with pytest.raises(DataError, match="line 21.*line 4"):
        pool(voc)


def test_prepare_reads_the_lists_of_the_devkit_in_every_form(voc: Path) -> None:
    root = voc.parents[2]
    shutil.move(root / "SegmentationClassAug", root / "SegmentationClass")
    outcome = []
    for number, (encoding, end) in enumerate([("utf-8", "\n"), *FORMS]):
        (voc.parent / "train.txt").write_bytes(encode(end.join(NAMES[:10]), encoding))
        voc.write_bytes(encode(end.join(NAMES[10:]), encoding))
        (root / "cls").mkdir(exist_ok=True)  # an SBD release without masks
        target = root.parents[1] / f"out{number}"
        arguments = ["data", "prepare", "pascal", str(root), "--data", str(target)]
        assert CliRunner().invoke(main, arguments).exit_code == 0
        outcome.append((target / "VOC2012/ImageSets/Segmentation/trainaug.txt").read_bytes())
    assert outcome == ["".join(f"{name}\n" for name in NAMES[:10]).encode()] * len(outcome)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_class_tables_are_read_in_every_form(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "class_id.csv"
    rows = ["image,class,remark", "ISIC_1,nevus,Müller", "", "ISIC_2,melanoma,"]
    for encoding in (*ENCODINGS, "latin-1"):
        for end in ENDS:
            path.write_bytes(encode(end.join(rows).replace(",", delimiter), encoding))
            assert read_table(path) == {"ISIC_1": "nevus", "ISIC_2": "melanoma"}
    for rows, line in ((["ISIC_1 nevus"], 1), (["ISIC_1,nevus", "", "ISIC_1,melanoma"], 3)):
        path.write_text("\n".join(rows))
        with pytest.raises(DataError, match=f"line {line} of"):
            read_table(path)


@pytest.mark.parametrize(("encoding", "end"), FORMS)
def test_plans_and_settings_are_read_in_every_form(
    tmp_path: Path, mini: Path, encoding: str, end: str
) -> None:
    plan = fssbench.plan("pascal5i", data=mini, episodes=5)
    path = tmp_path / "plan.json"
    write_plan(plan, path)
    path.write_bytes(encode(path.read_text().replace("\n", end), encoding))
    assert read_plan(path).sha256 == plan.sha256
    path = tmp_path / "config.toml"
    path.write_bytes(encode(f'benchmark = "no such"{end}shot = [1]{end}', encoding))
    result = CliRunner().invoke(main, ["run", "-m", "panet", "--config", str(path), "--data", str(mini)])
    assert "no such" in result.stderr
    assert "TOML" not in result.stderr


def test_settings_that_are_no_text_are_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b'benchmark = "pascal5i"\nmethod = "M\xfcller"\n')
    result = CliRunner().invoke(main, ["run", "--config", str(path)])
    assert result.exit_code == 2
    assert "line 2" in result.stderr


def test_a_pickle_is_still_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "fold0.pkl"
    path.write_bytes(pickle.dumps({0: ["val2014/COCO_val2014_000000000001.jpg"]}))
    assert COCO_LISTS.read(path) == {0: ["val2014/COCO_val2014_000000000001.jpg"]}


def _list_calls(path: Path) -> list[ast.Call]:
    """List the calls of a source that names a function which may write; most name none and need not be parsed."""
    content = path.read_bytes()
    if not any(name.encode() in content for name in ("write_text", *OPENERS)):
        return []
    return [node for node in ast.walk(ast.parse(content)) if isinstance(node, ast.Call)]


OPENERS = ("open", "NamedTemporaryFile", "fdopen")


def _is_text_for_writing(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name == "write_text":
        return True
    modes = [a.value for a in (*call.args, *(k.value for k in call.keywords)) if isinstance(a, ast.Constant)]
    return name in OPENERS and bool({"w", "a", "x", "w+", "a+"} & {*map(str, modes)})


def test_text_is_written_the_same_on_every_system() -> None:
    root = Path(fssbench.__file__).parents[1]
    sources = [
        path for folder in ("fssbench", "datasets", "reports") for path in (root / folder).rglob("*.py")
    ]
    assert len(sources) > 100
    careless = [
        f"{path.relative_to(root)}:{call.lineno}"
        for path in sources
        for call in _list_calls(path)
        if _is_text_for_writing(call)
        if not {"encoding", "newline"} <= {keyword.arg for keyword in call.keywords}
        if "/proc/" not in ast.unparse(call)
    ]
    assert careless == []
