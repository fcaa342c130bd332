"""`fssbench score`: scores again from stored counts, without data or method."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from click.testing import CliRunner
from messages import error_names

from fssbench.cli import main
from fssbench.runs.store import EpisodeRecord


def score(*arguments: object):
    return CliRunner().invoke(main, ["score", *map(str, arguments)])


def test_scores_equal_those_of_the_run_and_nothing_is_written(null):
    done = null.run("runs", null.plan(12), null.make_broken("a"), null.make_broken("b"))
    before = {p: p.read_bytes() for p in (null.folder / "runs").rglob("*") if p.is_file()}
    result = score(null.folder / "runs", "--json")
    assert result.exit_code == 0, result.stderr
    rows = null.parse_json_lines(result.stdout)
    assert [r["run"] for r in rows] == sorted(d.path.name for d in done)
    for row in rows:
        (run,) = (d for d in done if d.path.name == row["run"])
        assert (row["miou"], row["fb_iou"]) == (run.score.miou, run.score.fb_iou)
        assert row["per_class"] == dict(
            zip(("disc", "bar", "dot"), run.score.per_class.values(), strict=True)
        )
        assert (row["episodes"], row["planned"], row["status"]) == (12, 12, "complete")
    assert {p: p.read_bytes() for p in (null.folder / "runs").rglob("*") if p.is_file()} == before


def test_rule_for_absent_classes(null):
    plan = null.plan(3)
    (run,) = null.run("runs", plan)
    log = run.path / "episodes.jsonl"
    log.write_bytes(
        b"".join(
            EpisodeRecord(i, plan[i].class_id, (8, 0 if i else 4), (8, 0 if i else 8), 4).line()
            for i in range(3)
        )
    )
    rows = {
        rule: null.parse_json_lines(score(run.path, "--json", *(("--absent", rule) if rule else ())).stdout)[
            0
        ]
        for rule in ("zero", "exclude", "")
    }
    assert rows["zero"]["miou"] == pytest.approx(50 / 3)
    assert rows["exclude"]["miou"] == 50
    assert rows[""]["absent_rule"] == run_rule(run.path)
    assert rows["exclude"]["per_class"][rows_name(plan, 1)] is None
    assert sorted(rows["zero"]["absent"]) == sorted({plan[1].class_id, plan[2].class_id})


def run_rule(path) -> str:
    return json.loads((path / "manifest.json").read_text())["block"]["absent"]


def rows_name(plan, index: int) -> str:
    return dict(zip(plan.classes, plan.class_names, strict=True))[plan[index].class_id]


def test_table_in_a_pipe_is_tab_separated(null):
    null.run("runs", null.plan(4))
    lines = score(null.folder / "runs").stdout.splitlines()
    assert lines[0].split("\t") == ["run", "mIoU", "FB-IoU", "episodes", "queries", "protocol", "marks"]
    assert lines[1].split("\t")[3] == "4/4"


def test_incomplete_run_says_so(null):
    (run,) = null.run("runs", null.plan(6))
    log = run.path / "episodes.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:2]))
    (row,) = null.parse_json_lines(score(run.path, "--json").stdout)
    assert (row["episodes"], row["planned"], row["status"]) == (2, 6, "incomplete")


def test_no_runs_and_damaged_runs(null):
    result = score(null.folder / "none")
    assert result.exit_code == 3
    assert "no runs in" in result.stderr
    (run,) = null.run("runs", null.plan(3))
    (run.path / "plan.json").write_text("{}")
    result = score(run.path)
    assert result.exit_code == 3
    assert "plan.json" in result.stderr
    assert score(run.path, "--absent", "ignore").exit_code == 2


def test_a_log_that_was_exchanged_is_named(null):
    one, other = null.run("runs", null.plan(5), null.make_broken("a"), null.make_broken("b"))
    (other.path / "episodes.jsonl").write_bytes(
        (one.path / "episodes.jsonl").read_bytes().split(b"\n")[0] + b"\n"
    )
    result = score(null.folder / "runs")
    assert result.exit_code == 0
    assert error_names(result.stderr, str(other.path), "episodes.jsonl", "verify")
    assert str(one.path) not in result.stderr


def test_copies_are_scored_once_and_refused_where_they_disagree(null):
    plan = null.plan(5)
    (run,) = null.run("runs", plan)
    copy = shutil.copytree(run.path, null.folder / "elsewhere" / run.path.name)
    result = score("--json", run.path, copy)
    assert len(null.parse_json_lines(result.stdout)) == 1
    assert str(copy) in result.stderr
    log = copy / "episodes.jsonl"
    first, *rest = log.read_bytes().splitlines(keepends=True)
    record = EpisodeRecord.parse(first.rstrip(b"\n"))
    log.write_bytes(b"".join([replace(record, target=record.target + 1).line(), *rest]))
    refused = score(run.path, copy)
    assert refused.exit_code == 3
    assert not refused.stdout
    assert "1 of 5 episodes" in refused.stderr
    assert str(copy) in refused.stderr
    assert str(run.path) in refused.stderr
