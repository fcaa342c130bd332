"""What a benchmark file may say, and that everything else is refused in one sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from messages import error_names
from own_benchmarks import write_benchmark

from fssbench.api import DataError, UsageError
from fssbench.benchmarks.benchmark_text import format_benchmark
from fssbench.benchmarks.catalogue import BENCHMARKS, find_benchmark
from fssbench.contracts.benchmarks import Resolved, Source

pytestmark = pytest.mark.usefixtures("toy")
FOLDS = '[["disc", "square"], ["wedge"]]'
END = f"folds = {FOLDS}"


def find(tmp_path: Path, *changes: tuple[str, str]) -> Resolved:
    return find_benchmark(write_benchmark(tmp_path / "shapes.toml", *changes))


def test_names_become_ids_and_defaults_are_filled_in(tmp_path: Path) -> None:
    resolved = find(tmp_path)
    record = resolved.benchmark
    assert resolved.folds == ((2, 5), (9,))
    assert resolved.trained_on == Source(dataset="pascal", folds=(tuple(range(20)),) * 2)
    assert (record.category, record.paper, record.version, record.size) == ("custom", (), 1, 400)
    assert (record.sampler, record.absent, record.protocol) == ("round-robin", "exclude", "published/1")
    assert (record.score_size, resolved.seen, resolved.is_own) == ("input", None, True)
    assert "my-shapes" in resolved.title
    assert resolved.title != "Shapes"


def test_ids_and_names_of_classes_mean_the_same(tmp_path: Path) -> None:
    assert find(tmp_path).id == find(tmp_path, (FOLDS, "[[5, 2], [9]]")).id
    assert find(tmp_path, (FOLDS, '"all"')).folds == ((2, 5, 9),)
    assert find(tmp_path, (END, f'{END}\ndataset_variant = "two"'), ('["wedge"]', '["square"]')).folds == (
        (2, 5),
        (5,),
    )


def test_the_classes_of_the_other_folds_may_be_the_source(tmp_path: Path) -> None:
    resolved = find(tmp_path, ('dataset = "pascal"', 'dataset = "toy"'), ('"all"', '"others"'))
    assert resolved.trained_on.folds == ((9,), (2, 5))


VARIANTS = """
[[variants]]
name = "few"
title = "one class"
folds = [["disc"]]

[[variants]]
name = "two"
title = "two classes"
dataset_variant = "two"
folds = [[2, 5]]
source = { dataset = "coco", folds = "all" }
"""


def test_variants_change_folds_data_set_and_source(tmp_path: Path) -> None:
    file = write_benchmark(tmp_path / "shapes.toml", (END, END + VARIANTS))
    first, second = find_benchmark(file), find_benchmark(f"{file}:two")
    assert first.id.endswith(":few")
    assert first.id.partition(":")[0] == second.id.partition(":")[0]
    assert (first.folds, first.dataset_variant, first.trained_on.dataset) == (((2,),), None, "pascal")
    assert (second.folds, second.dataset_variant, second.trained_on.dataset) == (((2, 5),), "two", "coco")
    with pytest.raises(UsageError) as caught:
        find_benchmark(f"{file}:tow")
    assert error_names(caught.value, "'tow'", "Did you mean two", "fssbench show")


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("episodes = 6", "episode = 6", ("'episode'", "Did you mean episodes")),
        ('split = "test"', 'splitt = "test"', ("[target]", "'splitt'", "Did you mean split", "dataset_variant")),
        ("episodes = 6", "", ("key episodes is missing",)),
        ("episodes = 6", "episodes = 0", ("episodes", "0", "greater than or equal to 1")),
        ("episodes = 6", 'episodes = "6"', ("episodes", "'6'", "integer")),
        ("episodes = 6", "episodes = true", ("episodes", "True", "integer")),
        ("episodes = 6", "episodes = 10_000_000", ("episodes", "10000000", "1000000")),
        ("shots = [1]", "shots = []", ("shots", "at least 1")),
        ("shots = [1]", "shots = [0]", ("shots.0", "0", "greater than or equal to 1")),
        ("shots = [1]", "shots = [1, 1]", ("shots", "[1, 1]", "once")),
        ("shots = [1]", "shots = 1", ("shots", "1")),
        ("shots = [1]", "shots = [1]\nsize = 16", ("size", "16", "32")),
        ("shots = [1]", 'shots = [1]\nsampler = "walks"', ("sampler", "'walks'", "'walk'", "'round-robin'")),
        ("shots = [1]", 'shots = [1]\nabsent = "skip"', ("absent", "'skip'", "'zero'", "'exclude'")),
        ("shots = [1]", 'shots = [1]\nprotocol = "paper"', ("protocol", "'paper'", "'published'")),
        ("shots = [1]", 'shots = [1]\nmeter = "mean"', ("meter", "'mean'", "'sum'")),
        ("shots = [1]", 'shots = [1]\nresize = "pad"', ("resize", "'pad'", "'square'")),
        ("shots = [1]", 'shots = [1]\nscore_size = "400"', ("score_size", "'400'", "'original'")),
        ("shots = [1]", "shots = [1]\nversion = 0", ("version", "0", "1")),
        ('id = "my-shapes"', 'id = "My Shapes"', ("id", "'My Shapes'", "lower-case letters")),
        ('id = "my-shapes"', 'id = "a@b"', ("id", "'a@b'")),
        ('id = "my-shapes"', 'id = "a:b"', ("id", "'a:b'")),
        ('id = "my-shapes"', 'id = "../up"', ("id", "'../up'")),
        ("/1", "/2", ("format", "fssbench-benchmark/2", 'format = "fssbench-benchmark/1"')),
        ('title = "Shapes"', 'title = "two\\nlines"', ("title", "printable")),
        ('title = "Shapes"', 'title = ""', ("title", "at least 1")),
        ('title = "Shapes"', 'title = "pascal-5i"', ("title", "built-in", "of its own")),
        ('"toy"', '"tyo"', ("data set", "'tyo'", "Did you mean toy", "fssbench list datasets")),
        ('"pascal"', '"pascall"', ("data set", "'pascall'", "Did you mean pascal")),
        ('split = "test"', 'split = "test"\ndataset_variant = "for"', ("variant", "'for'", "two")),
        ('"disc"', '"disk"', ("'toy'", "target.folds", "'disk'", "Did you mean disc", "fssbench show toy")),
        ('"disc"', "3", ("target.folds", "class 3", "2, 5, 9", "fssbench show toy")),
        ('"disc"', "-1", ("target.folds", "class -1")),
        ('"disc"', '"square"', ("target.folds", "fold 0", "5", "twice")),
        ('"disc"', "2.0", ("target.folds", "ids or names")),
        ('"disc"', "true", ("target.folds", "ids or names")),
        (FOLDS, "[]", ("target.folds", "one list of classes per fold")),
        (FOLDS, "[2, 5]", ("target.folds", "per fold")),
        (FOLDS, "[[2], []]", ("target.folds", "fold 1", "no class")),
        (FOLDS, '"every"', ("target.folds", "'every'", '"all"')),
        ('"all"', '"others"', ("source.folds", "'others'", "'toy'", "'pascal'")),
        ('"all"', "[[0, 1]]", ("1 lists of training classes", "2 folds")),
        ('"all"', "[[0], [20]]", ("source.folds", "class 20", "0 to 19")),
        (END, f"{END}\nseen = [[2], [2]]", ("target.seen", "that fold")),
        (END, f"{END}\nseen = [[2]]", ("target.seen", "2 folds")),
        (END, END + '\n[[variants]]\nname = "a"', ("variants.0.title", "missing")),
        (END, END + '\n[[variants]]\nname = "a"\ntitel = "b"', ("variants.0", "'titel'", "Did you mean title")),
        (END, END + '\n[[variants]]\nname = "a:b"\ntitle = "b"', ("variants.0.name", "'a:b'")),
    ],
)  # fmt: skip
def test_whatever_is_wrong_is_named_with_its_value_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, parts: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError) as caught:
        find(tmp_path, (old, new))
    assert error_names(caught.value, "shapes.toml", *parts)
    assert len(str(caught.value).splitlines()) == 1
    assert "Next: " in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "a = [", "format = 3", 'x = "\ud800"'.encode("utf-8", "replace").decode()]
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "b.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        find_benchmark(path)
    assert error_names(caught.value, "b.toml", "fssbench show pascal5i --toml")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path / "folder.toml"):
        if path.stem == "folder":
            path.mkdir()
        with pytest.raises(DataError, match=re.escape(path.name)):
            find_benchmark(path)


LEAK = ('dataset = "pascal"', 'dataset = "toy"')


@pytest.mark.parametrize("folds", ['"all"', "[[9, 2], [2]]", "[[9], [5, 9]]"])
def test_a_fold_that_tests_a_class_of_its_training_is_refused(tmp_path: Path, folds: str) -> None:
    with pytest.raises(UsageError) as caught:
        find(tmp_path, LEAK, ('"all"', folds))
    assert error_names(caught.value, "fold", "'toy'", "trained on", "others")


def test_a_leak_of_a_variant_alone_is_refused_too(tmp_path: Path) -> None:
    leak = '\n[[variants]]\nname = "a"\ntitle = "b"\nsource = { dataset = "toy", folds = [[5], [2]] }'
    with pytest.raises(UsageError, match="variant a: fold 0"):
        find(tmp_path, (END, END + leak))


CROSS = [('dataset = "toy"', 'dataset = "coco"'), ('split = "test"', 'split = "val"')]


def test_twins_of_trained_classes_are_tested_only_if_the_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find(tmp_path, *CROSS, (FOLDS, '[["cat", "kite"], ["kite"]]'))
    assert error_names(caught.value, "fold 0", "'pascal'", "15", "seen", "[15]")
    told = find(tmp_path, *CROSS, (FOLDS, '[["cat", "kite"], ["kite"]]\nseen = [["cat"], []]'))
    assert told.seen == ((15,), ())


def test_a_copy_of_a_built_in_is_that_benchmark_and_a_changed_copy_is_refused(tmp_path: Path) -> None:
    text = format_benchmark(BENCHMARKS["pascal5i"])
    copy = write_benchmark(tmp_path / "copy.toml", text=text)
    assert find_benchmark(copy) == find_benchmark("pascal5i")
    changed = write_benchmark(tmp_path / "changed.toml", ("episodes = 1000", "episodes = 999"), text=text)
    with pytest.raises(UsageError) as caught:
        find_benchmark(changed)
    assert error_names(caught.value, "'pascal5i'", "built-in", "episodes", 'id = "my-pascal5i"')


def test_names_of_classes_that_need_files_are_refused_and_ids_are_not(tmp_path: Path) -> None:
    folds = ('dataset = "toy"', 'dataset = "fss1000"')
    assert find(tmp_path, folds, (FOLDS, "[[760], [761]]")).folds == ((760,), (761,))
    with pytest.raises(UsageError) as caught:
        find(tmp_path, folds)
    assert error_names(caught.value, "target.folds", "'disc'", "'fss1000'", "class ids")
