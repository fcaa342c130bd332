"""Published lists are known by what they say; every other list is marked, or refused where it must be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fssbench.datasets.coco.lists import LISTS as COCO_LISTS
from fssbench.datasets.fss1000.lists import LISTS as FSS_LISTS
from fssbench.datasets.pascal import voc_lists
from fssbench.datasets.pascal.lists import LISTS as PASCAL_LISTS
from fssbench.datasets.shared import pools
from hypothesis import given, settings, strategies as st

import fssbench
from fssbench.data import reference_lists
from fssbench.data.list_judgement import hash_list, judge_list
from fssbench.errors import DataError, ListError
from fssbench.training.episodes import collect_training_set

FORMS = (PASCAL_LISTS, COCO_LISTS, FSS_LISTS)
VOC = [f"2007_{i:06}" for i in range(40)]


def test_lengths_add_up_to_the_published_pools():
    lengths: dict[tuple[str, str], int] = {}
    for form in FORMS:
        for each in form.published:
            lengths[form.family, each.split] = lengths.get((form.family, each.split), 0) + each.entries
    assert lengths == {
        ("pascal", "trn"): 13_680,
        ("pascal", "val"): 1_868,
        ("coco", "trn"): 3 * 170_491,
        ("coco", "val"): 82_573,
        ("fss", "trn"): 520,
        ("fss", "val"): 240,
        ("fss", "test"): 240,
    }
    hashes = [each.sha256 for form in FORMS for each in form.published if each.sha256]
    assert len(hashes) == len(set(hashes)) == 15, "no two lists share a hash"


def test_the_reference_lists_are_known_in_every_form(shared, tmp_path):
    """Line ends, a byte order mark and the JSON form of a pickle make no other list."""
    source = tmp_path / "form"
    shutil.copytree(shared / "golden/splits", source)
    for path in [*source.glob("pascal/*/*.txt"), *source.glob("fss/*.txt")]:
        text = path.read_text()
        path.write_bytes("\ufeff".encode() + text.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    for imported in (source, tmp_path / "json"):
        report = reference_lists.import_lists(imported, tmp_path / "json")
        assert len(report) == 15
        assert all("entries, the reference list, sha256" in line for line in report), report


def test_forms_make_no_other_list_for_a_run(shared, tmp_path):
    reference_lists.import_lists(shared / "golden/splits", tmp_path)
    for benchmark in ("pascal5i", "coco20i", "coco20i:contiguous", "fss1000"):
        plan = fssbench.plan(benchmark, splits=tmp_path, episodes=20)
        assert plan.lists == "reference list files"
        assert not any(mark.startswith(("other", "sample")) for mark in plan.marks)
        assert plan.sha256 == fssbench.plan(benchmark, splits=shared / "golden/splits", episodes=20).sha256


def test_images_of_a_coco_list_go_by_number():
    old, new = "val2014/COCO_val2014_000000000009.jpg", "val2017/000000000009.jpg"
    assert (
        COCO_LISTS.hashed_lines({3: [old]})
        == COCO_LISTS.hashed_lines({3: [new], 4: []})
        == ["3 000000000009"]
    )
    assert FSS_LISTS.hashed_lines(["b", "a"]) == ["a", "b"]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_edit_of_a_list_is_seen(shared, data):
    fold = data.draw(st.integers(0, 3))
    split = data.draw(st.sampled_from(["trn", "val"]))
    lines = PASCAL_LISTS.hashed_lines(
        PASCAL_LISTS.read(shared / f"golden/splits/pascal/{split}/fold{fold}.txt")
    )
    assert judge_list(PASCAL_LISTS, split, fold, lines).proven
    place = data.draw(st.integers(0, len(lines) - 2))
    edit = data.draw(st.sampled_from(["cut", "extend", "swap", "replace", "head"]))
    edited = list(lines)
    if edit == "cut":
        del edited[place]
    elif edit == "extend":
        edited.insert(place, "1999_000001__01")
    elif edit == "swap":
        edited[place], edited[place + 1] = edited[place + 1], edited[place]
    elif edit == "replace":
        edited[place] = "1999_000001__01"
    else:
        edited = edited[:place]
    judged = judge_list(PASCAL_LISTS, split, fold, edited)
    assert not judged.proven
    assert judged.problem is not None
    assert ("order" in judged.problem) == (edit == "swap")
    assert (f"{len(edited):,} " in judged.problem) or edit == "swap"


def test_other_places_are_told_by_name(shared):
    golden = shared / "golden/splits/pascal"
    val1 = PASCAL_LISTS.hashed_lines(PASCAL_LISTS.read(golden / "val/fold1.txt"))
    assert judge_list(PASCAL_LISTS, "val", 0, val1).problem == "the reference's val fold 1"
    trn0 = PASCAL_LISTS.hashed_lines(PASCAL_LISTS.read(golden / "trn/fold0.txt"))
    with pytest.raises(
        ListError, match=r"list pascal val fold 0 .*2,286 entries of the reference's trn fold 0"
    ):
        judge_list(PASCAL_LISTS, "val", 0, trn0)


def test_lengths_alone_prove_nothing():
    lines = [f"1 {i}" for i in range(95_476)]
    judged = judge_list(COCO_LISTS, "trn", 0, lines)
    assert judged.problem is None
    assert not judged.proven
    shorter = judge_list(COCO_LISTS, "trn", 0, lines[:-10])
    assert shorter.problem is not None
    assert "PMNet" in shorter.problem
    assert "PMNet" not in (judge_list(COCO_LISTS, "trn", 0, lines[:-11]).problem or "")


def lists_of(shared: Path, folder: Path) -> Path:
    shutil.copytree(shared / "golden/splits", folder)
    return folder


def test_a_cut_list_is_marked_where_its_classes_are_drawn(shared, tmp_path):
    lists = lists_of(shared, tmp_path / "splits")
    path = lists / "pascal/val/fold2.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-3]))
    other = fssbench.plan("pascal5i", fold=2, splits=lists)
    assert other.marks == (
        "sample (1865 of 1868 entries)",
        "other lists (pascal val fold 2: 722 entries, the reference has 725)",
    )
    assert "reference list files" not in other.lists.replace("other list files", "")
    sound = fssbench.plan("pascal5i", fold=1, splits=lists)
    assert not any(mark.startswith("other lists") for mark in sound.marks)


def test_a_reordered_list_is_marked(shared, tmp_path):
    lists = lists_of(shared, tmp_path / "splits")
    path = lists / "pascal/val/fold0.txt"
    path.write_text("".join(sorted(path.read_text().splitlines(keepends=True), reverse=True)))
    (mark,) = fssbench.plan("pascal5i", splits=lists).marks
    assert mark == "other lists (pascal val fold 0: the reference's entries in another order)"
    names = lists / "fss/test.txt"
    names.write_text("".join(sorted(names.read_text().splitlines(keepends=True))))
    assert fssbench.plan("fss1000", splits=lists).marks == (), "their order decides nothing"


def test_a_fold_in_the_place_of_another_is_marked(shared, tmp_path):
    lists = lists_of(shared, tmp_path / "splits")
    shutil.copy(lists / "pascal/val/fold0.txt", lists / "pascal/val/fold1.txt")
    plan = fssbench.plan("pascal5i", splits=lists)
    assert "other lists (pascal val fold 1: the reference's val fold 0)" in plan.marks
    with pytest.raises(DataError, match="fewer than"):
        fssbench.plan("pascal5i", fold=1, splits=lists)
    shutil.copy(lists / "coco/val/fold0.pkl", lists / "coco/val/fold1.pkl")
    with pytest.raises(ListError, match=r"class 1 \(bicycle\): it is the reference's val fold 0"):
        fssbench.plan("coco20i", fold=1, splits=lists)


@pytest.mark.parametrize(
    ("benchmark", "given", "place"),
    [
        ("pascal5i", "pascal/trn/fold0.txt", "pascal/val/fold0.txt"),
        ("fss1000", "fss/val.txt", "fss/test.txt"),
        ("fss1000", "fss/trn.txt", "fss/test.txt"),
    ],
)
def test_a_list_of_another_split_is_refused(shared, tmp_path, benchmark, given, place):
    """Trained or validation images would be tested, which no one can want."""
    lists = lists_of(shared, tmp_path / "splits")
    shutil.copy(lists / given, lists / place)
    with pytest.raises(ListError, match=rf"{place} must be the list .* of the reference's"):
        fssbench.plan(benchmark, splits=lists)
    with pytest.raises(ListError, match="of the reference's"):
        reference_lists.import_lists(lists, tmp_path / "in")
    assert not (tmp_path / "in").exists()


def test_contiguous_lists_are_told_from_interleaved_ones(tmp_path):
    (tmp_path / "coco/val").mkdir(parents=True)
    for fold in range(4):
        lists = {c: [f"val2014/COCO_val2014_{c:012}.jpg"] for c in range(20 * fold, 20 * fold + 20)}
        (tmp_path / f"coco/val/fold{fold}.json").write_text(json.dumps(lists))
    with pytest.raises(ListError, match=r"block of classes 20 to 39.*coco20i:contiguous"):
        fssbench.plan("coco20i", splits=tmp_path)


def test_three_folds_of_four_are_told(shared, tmp_path):
    lists = lists_of(shared, tmp_path / "splits")
    (lists / "pascal/val/fold3.txt").unlink()
    assert "pascal/val lacks fold3" in reference_lists.import_lists(lists, tmp_path / "in")[-1]
    with pytest.raises(DataError, match=r"fold3\.txt"):
        fssbench.plan("pascal5i", splits=lists)


def test_hashes_are_of_the_lists_own_text(shared):
    for path in (shared / "golden/splits/pascal").glob("*/*.txt"):
        text = path.read_text().splitlines()
        assert hash_list(text) in {each.sha256 for each in PASCAL_LISTS.published}


def test_the_training_side_follows_the_same_rule(shared, tmp_path):
    lists = lists_of(shared, tmp_path / "splits")
    path = lists / "pascal/trn/fold1.txt"
    path.write_text(path.read_text() + "2007_000032__06\n")
    by_fold = {f: collect_training_set("pascal5i", fold=f, splits=lists).marks for f in (0, 1)}
    mark = "other lists (pascal trn fold 1: 3,426 entries, the reference has 3,425)"
    assert mark in by_fold[0], "fold 0 trains on the classes of fold 1"
    assert mark not in by_fold[1]
    assert all("other population (13,681 entries, published 13,680)" in marks for marks in by_fold.values())


@pytest.mark.parametrize("damage", ["missing", "malformed", "exchanged"])
def test_a_test_list_that_cannot_be_used_stops_the_training(shared, tmp_path, damage):
    """Which images must be left out is then not known: this is no absent split."""
    lists = lists_of(shared, tmp_path / "splits")
    path = lists / "pascal/val/fold3.txt"
    if damage == "missing":
        path.unlink()
    elif damage == "malformed":
        path.write_text("no list\n")
    else:
        shutil.copy(lists / "pascal/trn/fold3.txt", path)
    with pytest.raises(ListError):
        collect_training_set("pascal5i", splits=lists)


@pytest.mark.parametrize("text", ["", "2007_000033__01\n2007_000033__01\n", "2007_000033 01\n", "\0\0"])
def test_every_fault_of_a_list_names_the_file_and_the_next_command(text, tmp_path):
    path = tmp_path / "fold0.txt"
    path.write_text(text)
    with pytest.raises(ListError, match=r"fold0\.txt.*Next: "):
        pools.read_list(PASCAL_LISTS, path)
    with pytest.raises(ListError, match=r"fold0\.txt.*Next: "):
        voc_lists.read_names(path)
