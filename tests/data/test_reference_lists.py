from __future__ import annotations

import collections
import hashlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from fssbench.datasets.coco.lists import LISTS as COCO_LISTS
from fssbench.datasets.fss1000.lists import LISTS as FSS_LISTS
from fssbench.datasets.pascal.lists import LISTS as PASCAL_LISTS
from hypothesis import example, given, settings, strategies as st

from fssbench.data import reference_lists
from fssbench.data.list_files import load_plain_pickle
from fssbench.errors import DataError


class Bomb:
    """Runs a command when an ordinary unpickler reads it."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self):
        return (os.system, (f"touch {self.target}",))


def test_pickle_of_plain_things_is_read(tmp_path):
    value = {0: ["val2014/a.jpg"], 1: [], "x": (1, 2.5, None, True), 2: {"nested": [[]]}}
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "p.pkl").write_bytes(pickle.dumps(value, protocol))
        assert load_plain_pickle(tmp_path / "p.pkl") == value


def test_pickle_runs_no_code(tmp_path):
    witness = tmp_path / "ran"
    path = tmp_path / "fold0.pkl"
    path.write_bytes(pickle.dumps({0: [Bomb(witness)]}))
    with pytest.raises(DataError, match=r"posix\.system|nt\.system") as caught:
        load_plain_pickle(path)
    assert not witness.exists()
    assert str(path) in str(caught.value)
    pickle.loads(path.read_bytes())
    assert witness.exists(), "the bomb is a real one"


@pytest.mark.parametrize("value", [collections.OrderedDict(), Path("x"), len, int])
def test_pickle_admits_no_import_at_all(tmp_path, value):
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(DataError, match="refused"):
        load_plain_pickle(tmp_path / "p.pkl")


@settings(deadline=None)  # the first example loads every data set
@given(st.binary(max_size=200))
@example(b"\x8e" + (2**56).to_bytes(8, "little"))  # bytes longer than any memory
def test_pickle_of_rubbish_is_a_data_error_or_a_value(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("rubbish") / "p.pkl"
    path.write_bytes(content)
    try:
        load_plain_pickle(path)
    except DataError as error:
        named = str(path) in str(error)
        if not named:
            raise


def test_pickle_missing(tmp_path):
    with pytest.raises(DataError, match="fssbench data splits"):
        load_plain_pickle(tmp_path / "none.pkl")


def test_without_a_folder_of_lists_no_data_set_is_loaded(tmp_path):
    """Whoever opens one data set waits for the others only if a folder must be searched for lists of all."""
    code = (
        "import sys; from pathlib import Path; from fssbench.data.reference_lists import find_list_folder; "
        "print(find_list_folder(None, Path()), [m for m in sys.modules if m.startswith('fssbench.datasets.')])"
    )
    environment = {**os.environ, "FSSBENCH_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment)
    assert done.stdout.strip() == "None []"


def test_folder_order(tmp_path, monkeypatch):
    monkeypatch.setenv("FSSBENCH_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "data"
    assert reference_lists.find_list_folder(None, data) is None
    (tmp_path / "cache/splits/coco").mkdir(parents=True)
    assert reference_lists.find_list_folder(None, data) == tmp_path / "cache/splits"
    assert reference_lists.find_list_folder() == tmp_path / "cache/splits"
    (data / "splits/fss").mkdir(parents=True)
    assert reference_lists.find_list_folder(None, data) == data / "splits"
    (tmp_path / "mine/pascal").mkdir(parents=True)
    assert reference_lists.find_list_folder(tmp_path / "mine", data) == tmp_path / "mine"
    with pytest.raises(DataError, match="holds no reference lists"):
        reference_lists.find_list_folder(tmp_path / "absent", data)


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("2007_000033_01", 2),
        ("2007_000033__21", 2),
        ("2007_000033__00", 2),
        ("../x__01", 2),
        ("a__1 b", 2),
    ],
)
def test_pascal_malformed_line_is_named(tmp_path, line, number):
    path = tmp_path / "fold0.txt"
    path.write_text(f"2007_000032__01\n{line}\n2007_000039__20\n")
    with pytest.raises(DataError, match=rf"fold0\.txt, line {number}: "):
        PASCAL_LISTS.read(path)


def test_pascal_lines(tmp_path):
    path = tmp_path / "fold0.txt"
    path.write_bytes(b"2007_000032__01\r\n2007_000032__15\r\nmini__a__02\r\n\r\n")
    assert PASCAL_LISTS.read(path) == [("2007_000032", 0), ("2007_000032", 14), ("mini__a", 1)]
    path.write_text("a__01\nb__02\na__01\n")
    with pytest.raises(DataError, match=r"line 3: 'a__01' is already in line 1"):
        PASCAL_LISTS.read(path)
    path.write_text("\n")
    with pytest.raises(DataError, match="is empty"):
        PASCAL_LISTS.read(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        PASCAL_LISTS.read(path)


@pytest.mark.parametrize("line", ["../up", "a/b", "..", "bus"])
def test_fss_malformed_line_is_named(tmp_path, line):
    path = tmp_path / "test.txt"
    path.write_text(f"bus\n{line}\n")
    with pytest.raises(DataError, match=r"test\.txt, line 2"):
        FSS_LISTS.read(path)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ([1], "holds a list"),
        ({80: []}, "entry 80"),
        ({True: []}, "entry True"),
        ({3: ("val2014/a.jpg",)}, "entry 3"),
        ({3: ["/etc/passwd"]}, "class 3, entry 0"),
        ({3: ["val2014/a.jpg", "val2014/../a.jpg"]}, "class 3, entry 1"),
        ({3: ["val2014/a.jpg", "val2014/a.jpg"]}, "class 3 lists an image twice"),
    ],
)
def test_coco_malformed_list(tmp_path, value, complaint):
    path = tmp_path / "fold0.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(DataError, match=complaint):
        COCO_LISTS.read(path)


def test_coco_json_equals_pickle(tmp_path):
    value = {0: ["val2014/b.jpg", "val2014/a.jpg"], 4: [], 79: ["train2014/c.jpg"]}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(value))
    (tmp_path / "a.json").write_text(json.dumps(value))
    assert COCO_LISTS.read(tmp_path / "a.pkl") == COCO_LISTS.read(tmp_path / "a.json") == value
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        COCO_LISTS.read(tmp_path / "a.json")


def test_import_writes_nothing_where_one_list_is_bad(tmp_path):
    source = tmp_path / "source"
    (source / "pascal/val").mkdir(parents=True)
    (source / "fss").mkdir()
    (source / "pascal/val/fold0.txt").write_text("a__01\n")
    (source / "fss/test.txt").write_text("bus\nbus\n")
    with pytest.raises(DataError, match="line 2"):
        reference_lists.import_lists(source, tmp_path / "target")
    assert not (tmp_path / "target").exists()
    with pytest.raises(DataError, match="holds no reference list"):
        reference_lists.import_lists(tmp_path, tmp_path / "target")


def test_import_of_the_reference_lists(shared, tmp_path):
    report = reference_lists.import_lists(shared / "golden/splits", tmp_path / "splits")
    assert len(report) == 15
    written = sorted(p for p in (tmp_path / "splits").rglob("*") if p.is_file())
    assert len(written) == 15
    assert not any(p.suffix == ".pkl" for p in written)
    for line, path in zip(report, written, strict=True):
        name = path.relative_to(tmp_path / "splits").as_posix()
        assert line.startswith(f"{name}: ")
        assert line.endswith(hashlib.sha256(path.read_bytes()).hexdigest())
    assert any(line.startswith("coco/val/fold0.json: 35,783 entries") for line in report)
    original = COCO_LISTS.read(shared / "golden/splits/coco/val/fold3.pkl")
    assert COCO_LISTS.read(tmp_path / "splits/coco/val/fold3.json") == original
    # what was imported can be imported again, to the same bytes
    assert reference_lists.import_lists(tmp_path / "splits", tmp_path / "again") == report


def test_import_into_an_unwritable_place(shared, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written.*Next:"):
        reference_lists.import_lists(shared / "golden/splits", tmp_path / "file")
