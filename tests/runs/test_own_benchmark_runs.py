"""Runs of a benchmark that a user defined in a file: nothing that is done with a run needs the file again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command import run_command
from fssbench.reports.content.model import build_report
from messages import error_names
from own_benchmarks import write_benchmark
from places import NULL_PLUGIN

import fssbench
from fssbench.analysis.collect import collect
from fssbench.analysis.results_file import read_results, write_results
from fssbench.benchmarks.catalogue import find_benchmark, find_plan_benchmark
from fssbench.contracts.checkpoint import TrainingManifest
from fssbench.contracts.marks import MarkKind
from fssbench.episodes.plan_file import write_plan
from fssbench.episodes.replay import Outcome, compare_with_drawn, prepare_given_plan
from fssbench.runs.early_marks import make_training_marks
from fssbench.runs.merge import merge
from fssbench.runs.store import read_run
from fssbench.verification.seals import check_seals

NULL = [
    ('"toy"', '"nulldata"'),
    ('folds = [["disc", "square"], ["wedge"]]', 'folds = [["disc", "bar"], ["dot"]]'),
    ('id = "my-shapes"', 'id = "my-discs"'),
]


@pytest.fixture
def own(null: Any, tmp_path: Path) -> Path:
    """A benchmark file over the null data set."""
    return write_benchmark(tmp_path / "discs.toml", *NULL)


def draw(own: Path, null: Any, **options: Any) -> fssbench.api.Plan:
    return fssbench.plan(own, data=null.data, size=32, **options)


def test_every_step_after_the_run_works_without_the_file(own: Path, null: Any, tmp_path: Path) -> None:
    plan, resolved = draw(own, null), find_benchmark(own)
    (whole,) = null.run("whole", plan)
    for part in (1, 2):
        null.run("shards", plan, shard=(part, 2))
    own.unlink()

    run = read_run(whole.path)
    assert run.plan.definition == resolved.benchmark
    assert run.manifest.block.benchmark == resolved.id
    assert run.manifest.context.benchmark_title == resolved.title
    assert run.manifest.context.folds == 2
    (merged,) = merge([null.folder / "shards"], null.folder / "merged")
    assert read_run(merged).identity == run.identity
    assert find_plan_benchmark(read_run(merged).plan).benchmark == resolved.benchmark

    findings, _ = check_seals(whole.path)
    assert {f.outcome for f in findings} == {"equal"}
    assert compare_with_drawn(run.plan, null.data, None).outcome == Outcome.EQUAL
    write_plan(run.plan, tmp_path / "plan.json")
    assert prepare_given_plan(tmp_path / "plan.json", null.data, None).definition == resolved.benchmark
    (again,) = null.run("whole", replace(run.plan, data=null.data))  # resumes: no episode is computed again
    assert (again.path, again.computed) == (whole.path, 0)


def test_the_definition_is_sealed(own: Path, null: Any) -> None:
    (done,) = null.run("runs", draw(own, null))
    path = done.path / "plan.json"
    content = json.loads(path.read_text())
    content["definition"]["pitfalls"] = ["none at all"]
    path.write_text(json.dumps(content))
    findings, _ = check_seals(done.path)
    assert any(f.check == "plan" and f.outcome == "differs" for f in findings)


def test_the_run_of_a_changed_file_is_another_run_and_shares_no_row(own: Path, null: Any) -> None:
    (first,) = null.run("runs", draw(own, null))
    own.write_text(own.read_text().replace('title = "Shapes"', 'title = "Shapes, again"'))
    (second,) = null.run("runs", draw(own, null))
    assert first.path != second.path
    assert first.identity != second.identity
    assert second.computed == 6
    results = collect([null.folder / "runs"], resamples=0)
    assert len(results.cells) == 2
    assert len({cell.benchmark for cell in results.cells}) == 2


def test_two_folds_of_one_file_are_one_row(own: Path, null: Any) -> None:
    for fold in (0, 1):
        null.run("runs", draw(own, null, fold=fold))
    (cell,) = collect([null.folder / "runs"], resamples=0).cells
    assert sorted(cell.folds) == [0, 1]
    assert not cell.missing


def test_a_results_file_keeps_the_definition(own: Path, null: Any, tmp_path: Path) -> None:
    null.run("runs", draw(own, null))
    results = collect([null.folder / "runs"], resamples=0)
    write_results(results, tmp_path / "results.json")
    (run,) = read_results(tmp_path / "results.json").runs
    assert run.definition == find_benchmark(own).benchmark


def test_the_rules_of_the_file_count(own: Path, null: Any) -> None:
    old = "episodes = 6"
    own.write_text(
        own.read_text().replace(
            old, f'{old}\nprotocol = "fssbench"\nabsent = "zero"\nscore_size = "original"'
        )
    )
    (done,) = null.run("runs", draw(own, null))
    block = read_run(done.path).manifest.block
    assert (block.protocol, block.absent, block.score_size) == ("fssbench/1", "zero", "original")
    (other,) = null.run("runs", draw(own, null, protocol="published"), score_size="input")
    block = read_run(other.path).manifest.block
    assert (block.protocol, block.absent, block.score_size) == ("published/1", "exclude", "input")


def test_a_report_shows_it_as_the_users_own_and_without_published_figures(null: Any, tmp_path: Path) -> None:
    text = run_command("show", "pascal5i", "--toml").stdout
    for old, new in [
        ('id = "pascal5i"', 'id = "my-5i"'),
        ('title = "PASCAL-5i"', 'title = "My PASCAL-5i"'),
        ('dataset = "pascal"\nsplit = "val"', 'dataset = "nulldata"\nsplit = "val"'),
        ('folds = "others"  # the classes of the other folds', 'folds = "all"'),
    ]:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    start = text.index("[target]")
    text = text[: text.index("folds", start)] + "folds = [[0, 1]]\n"
    (tmp_path / "mine.toml").write_text(text)
    plan = draw(tmp_path / "mine.toml", null, episodes=6)
    null.run("runs", plan, null.make_broken("pmnet"))  # a name that has published figures
    (tmp_path / "mine.toml").unlink()
    (section,) = build_report(collect([null.folder / "runs"], resamples=10)).sections
    assert section.title == f"My PASCAL-5i (own, {plan.benchmark})"
    assert "user's own benchmark" in dict(section.facts)["Definition"]
    assert section.pitfalls == find_benchmark("pascal5i").benchmark.pitfalls
    assert (section.published, section.comparisons) == ((), ())


def test_commands_name_the_file_to_be_given_again(own: Path, null: Any) -> None:
    plan = draw(own, null)
    options = ("--plugin", NULL_PLUGIN, "--data", null.data)
    failed = run_command("episodes", plan.benchmark, *options)
    assert failed.exit_code == 2
    assert error_names(failed.output, plan.benchmark, "defined in a file", "--toml")
    failed = run_command("episodes", own, "--fold", "7", *options)
    assert failed.exit_code == 2
    assert error_names(failed.output, "no fold 7", f"fssbench show {own}")
    told = run_command("episodes", own, *options)
    assert told.exit_code == 0, told.output
    assert plan.sha256 in told.output


def test_a_checkpoint_of_another_source_than_the_file_names_is_marked(own: Path, null: Any) -> None:
    for source, is_marked in (("pascal", False), ("coco", True)):
        plan = draw(write_benchmark(own, *NULL, ('"pascal"', f'"{source}"')), null)
        method = null.method()
        trained = TrainingManifest(dataset="pascal", classes=(0,), class_names=("aeroplane",))
        method.provenance = method.provenance.changed(training=trained)
        marks = make_training_marks(method, plan)
        assert any(mark.kind == MarkKind.OTHER_SOURCE for mark in marks) == is_marked
