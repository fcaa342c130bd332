"""Every command that takes `--benchmark` or `--suite` takes a file, and `show --toml` prints one."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from command import run_command
from messages import error_names
from own_benchmarks import write_benchmark
from places import NULL_PLUGIN, TRAIN_PLUGIN

from fssbench.benchmarks.catalogue import BENCHMARKS, find_benchmark

NULL = [
    ('"toy"', '"nulldata"'),
    ('folds = [["disc", "square"], ["wedge"]]', 'folds = [["disc", "bar"], ["dot"]]'),
    ('id = "my-shapes"', 'id = "my-discs"'),
]
SELF_TAUGHT = [
    ('dataset = "pascal"', 'dataset = "shapes"'),
    ('folds = "all"', 'folds = "others"'),
    ('"toy"', '"shapes"'),
    ('folds = [["disc", "square"], ["wedge"]]', 'folds = [["red"], ["green", "blue"]]'),
]


@pytest.fixture
def discs(null: Any, tmp_path: Path) -> Path:
    return write_benchmark(tmp_path / "discs.toml", *NULL)


def test_run_takes_a_file_and_a_suite_with_files(discs: Path, null: Any, tmp_path: Path) -> None:
    options = ("-m", "null", "--plugin", NULL_PLUGIN, "--data", null.data, "-o", tmp_path / "runs", "--json")
    alone = run_command("run", "-b", discs, "-f", 1, "--size", 32, *options)
    assert alone.exit_code == 0, alone.output
    (row,) = map(json.loads, alone.stdout.splitlines())
    assert (row["benchmark"], row["fold"], row["computed"]) == (find_benchmark(discs).id, 1, 6)
    (tmp_path / "suite.toml").write_text(
        'format = "fssbench-suite/1"\nid = "s"\nbenchmarks = ["discs.toml", { name = "discs.toml", shots = [2] }]'
    )
    both = run_command("run", "--suite", tmp_path / "suite.toml", "--size", 32, *options)
    assert both.exit_code == 0, both.output
    rows = list(map(json.loads, both.stdout.splitlines()))
    assert [(r["fold"], r["shot"], r["computed"]) for r in rows] == [
        (0, 1, 6),
        (1, 1, 0),
        (0, 2, 6),
        (1, 2, 6),
    ]


def test_a_settings_file_may_name_a_benchmark_file(discs: Path, null: Any, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(f'benchmark = "{discs}"\nmethod = "null"\nsize = 32\nfold = 0')
    done = run_command(
        "run", "--config", tmp_path / "run.toml", "--plugin", NULL_PLUGIN, "--data", null.data, "-o", tmp_path / "r"
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert find_benchmark(discs).id in done.output


def test_train_takes_a_file_and_names_its_folder_by_content(shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    file = write_benchmark(tmp_path / "sub" / "own.toml", *SELF_TAUGHT)
    options = ("--steps", 2, "--batch", 2, "--size", 32, "--val-episodes", 0, "--data", shapes, "--json")
    with contextlib.chdir(tmp_path):
        done = run_command("train", "-m", "learner", "-b", "sub/own.toml", "--plugin", TRAIN_PLUGIN, *options)
    assert done.exit_code == 0, done.output
    (row,) = map(json.loads, done.stdout.splitlines())
    folder = Path(row["checkpoint"]).parent
    assert folder.parent == Path("trained")
    assert find_benchmark(file).id.replace("@", "-") in folder.name
    told = run_command("show", tmp_path / row["checkpoint"], "--json")
    assert json.loads(told.stdout)["training"]["classes"] == [1, 2]
    assert "--benchmark my-shapes.toml" in json.loads(told.stdout)["to use it"]


def test_a_changed_file_does_not_resume_a_training(shapes: Path, tmp_path: Path) -> None:
    file = write_benchmark(tmp_path / "own.toml", *SELF_TAUGHT)
    words = (
        "train",
        "-m",
        "learner",
        "-b",
        file,
        "--plugin",
        TRAIN_PLUGIN,
        "--data",
        shapes,
        "-o",
        tmp_path / "t",
    )
    options = ("--steps", 2, "--batch", 2, "--size", 32, "--val-episodes", 0)
    assert run_command(*words, *options).exit_code == 0
    write_benchmark(file, ('title = "Shapes"', 'title = "Forms"'), text=file.read_text())
    again = run_command(*words, *options)
    assert again.exit_code == 2
    assert error_names(again.output, "benchmark")


@pytest.mark.parametrize("name", ["pascal5i", "coco20i-to-pascal5i", "coco20i:contiguous"])
def test_show_prints_what_is_read_as_the_same_benchmark(name: str, tmp_path: Path) -> None:
    done = run_command("show", name, "--toml")
    assert done.exit_code == 0, done.output
    (tmp_path / "b.toml").write_text(done.stdout)
    assert find_benchmark(tmp_path / "b.toml").benchmark == BENCHMARKS[name.partition(":")[0]]


def test_show_gives_the_file_of_a_run_or_plan_back(discs: Path, null: Any, tmp_path: Path) -> None:
    import fssbench

    (done,) = null.run("runs", fssbench.plan(discs, data=null.data, size=32))
    first = find_benchmark(discs).id
    discs.unlink()
    for target in (done.path, done.path / "plan.json"):
        shown = run_command("show", target, "--toml")
        assert shown.exit_code == 0, shown.output
        (tmp_path / "again.toml").write_text(shown.stdout)
        assert find_benchmark(tmp_path / "again.toml").id == first


def test_show_and_list_describe_files(discs: Path, null: Any) -> None:
    shown = json.loads(run_command("show", discs, "--json", "--plugin", NULL_PLUGIN).stdout)
    assert (shown["kind"], shown["measured as"]) == ("benchmark", find_benchmark(discs).id)
    assert str(discs) in shown["defined in"]
    assert shown["test classes"]["fold 1"] == "2 dot"
    rows = [json.loads(r) for r in run_command("list", "benchmarks", discs, "--json").stdout.splitlines()]
    assert [r["name"] for r in rows] == [*BENCHMARKS, find_benchmark(discs).id]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("show", "panet", "--toml"), ("panet", "method", "fssbench list benchmarks")),
        (("show", "none.toml"), ("none.toml", "cannot be read")),
        (("list", "methods", "a.toml"), ("a.toml", "methods", "benchmarks")),
        (("list", "benchmarks", "pascal5i"), ("pascal5i", "TOML")),
        (("run", "-m", "panet", "-b", "none.toml", "--data", "mini"), ("none.toml", "cannot be read")),
    ],
)
def test_what_is_no_file_of_a_benchmark_is_refused(words: tuple[str, ...], parts: tuple[str, ...]) -> None:
    done = run_command(*words)
    assert done.exit_code in {2, 3}
    assert error_names(done.output, *parts)


def test_new_writes_a_benchmark_that_passes_check(tmp_path: Path, mini: Path) -> None:
    written = run_command("new", "benchmark", "my-own", "-o", tmp_path)
    assert written.exit_code == 0, written.output
    file = tmp_path / "my-own.toml"
    assert error_names(written.output, file, "fssbench check", "fssbench run", "--benchmark")
    assert find_benchmark(file).id.startswith("my-own@")
    checked = run_command("check", file, "--data", mini)
    assert checked.exit_code == 0, checked.output
    for words, parts in [
        (("my-own",), ("my-own.toml", "exists")),
        (("pascal5i",), ("pascal5i", "taken")),
        (("other", "--package"), ("--package", "one file")),
    ]:
        refused = run_command("new", "benchmark", *words, "-o", tmp_path)
        assert refused.exit_code == 2
        assert error_names(refused.output, *parts)


def test_the_benchmark_of_a_data_set_is_printed_with_a_source_and_another_id(
    toy: object, tmp_path: Path
) -> None:
    done = run_command("show", "toy", "--toml")  # `toy` is also the data set
    assert done.exit_code == 0, done.output
    assert done.stdout == run_command("show", "toy", "--kind", "benchmark", "--toml").stdout
    (tmp_path / "toy.toml").write_text(done.stdout)
    resolved = find_benchmark(tmp_path / "toy.toml")
    assert resolved.id.startswith("my-toy@")
    assert resolved.folds == find_benchmark("toy").folds
    assert resolved.trained_on.dataset == "pascal"
