"""Checks of a benchmark file on data: each fault is met by the check that is named for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import run_command
from messages import error_names
from own_benchmarks import write_benchmark
from places import TOY_PLUGIN

from fssbench.contracts.datasets import Dataset, Pool
from fssbench.testing import CheckResult, check_benchmark

TOY_SOURCE = [('dataset = "pascal"', 'dataset = "toy"\nsplit = "test"'), ('"all"', '"others"')]
"""The toy data set is its own source, so that no other miniature is drawn."""


@pytest.fixture
def own_file(toy: type[Dataset], tmp_path: Path) -> Path:
    return write_benchmark(tmp_path / "shapes.toml", *TOY_SOURCE)


def failing(results: list[CheckResult]) -> dict[str, str]:
    return {r.check: r.reason for r in results if r.status == "fail"}


def test_a_sound_benchmark_passes_every_check(own_file: Path) -> None:
    results = check_benchmark(own_file, data="mini")
    assert {r.status for r in results} == {"pass"}, failing(results)
    assert len(results) == 6


def test_without_data_nothing_is_claimed(own_file: Path) -> None:
    assert {r.status for r in check_benchmark(own_file)} == {"skip"}


@pytest.mark.parametrize(
    ("old", "new", "check", "parts"),
    [
        ("shots = [1]", "shots = [1, 500]", "classes_have_enough_images", ("501 images", "disc (")),
        ("episodes = 6", "episodes = 1", "every_class_is_asked", ("1 of 2 classes", "square")),
        ('split = "test"\nfolds = [[', 'split = "val"\nfolds = [[', "target_has_the_split", ("'val'",)),
        ('"toy"\nsplit = "test"\nfolds = "o', '"toy"\nsplit = "trn"\nfolds = "o', "source_has_the_classes", ("'trn'",)),
    ],
)  # fmt: skip
def test_a_fault_is_found_by_its_check(
    own_file: Path, old: str, new: str, check: str, parts: tuple[str, ...]
) -> None:
    write_benchmark(own_file, (old, new), text=own_file.read_text())
    failed = failing(check_benchmark(own_file, data="mini"))
    assert error_names(failed[check], *parts)


def test_a_class_without_images_is_found(
    own_file: Path, toy: type[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = toy.pool

    def pool(self: Dataset, split: str) -> Pool:
        every = whole(self, split)
        return Pool(tuple(e for e in every.entries if e.class_id != 9), every.source)

    monkeypatch.setattr(toy, "pool", pool)
    failed = failing(check_benchmark(own_file, data="mini"))
    assert set(failed) == {
        *("classes_have_enough_images", "all_episodes_are_drawn", "every_class_is_asked"),
        "source_has_the_classes",
    }
    assert error_names(failed["classes_have_enough_images"], "wedge (0)", "2 images")


def test_the_command_checks_each_variant_and_ends_with_4_if_one_does_not_fit(own_file: Path) -> None:
    variants = """
[[variants]]
name = "first"
title = "two folds"

[[variants]]
name = "second"
title = "one class"
dataset_variant = "two"
folds = [["disc"], ["square"]]
source = { dataset = "toy", split = "test", folds = "others" }
"""
    own_file.write_text(own_file.read_text() + variants)
    done = run_command("check", own_file, "--plugin", TOY_PLUGIN, "--data", "mini")
    assert done.exit_code == 0, done.output
    assert error_names(done.output, "12 passed", "shapes.toml:first", "fssbench run", "--benchmark")
    own_file.write_text(own_file.read_text().replace("episodes = 6", "episodes = 1"))
    done = run_command("check", own_file, "--plugin", TOY_PLUGIN, "--data", "mini")
    assert done.exit_code == 4
    assert error_names(done.output, "does not fit the data", "1 of 12 checks")


def test_the_command_checks_the_members_of_a_suite(own_file: Path, tmp_path: Path) -> None:
    text = 'format = "fssbench-suite/1"\nid = "s"\nbenchmarks = ["shapes.toml"]'
    suite = write_benchmark(tmp_path / "suite.toml", text=text)
    done = run_command("check", suite, "--plugin", TOY_PLUGIN, "--data", "mini", "--json")
    assert done.exit_code == 0, done.output
    assert done.stdout.count('"kind": "benchmark"') == 6
