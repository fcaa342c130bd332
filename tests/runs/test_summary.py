"""summary.json: scores as a view of the counts, by each absent rule."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import fssbench
from fssbench.errors import DataError
from fssbench.runs.marks import make_run_marks
from fssbench.runs.store import EpisodeRecord, read_run
from fssbench.runs.summary import find_absent_rule, score_run, summarise


def rewrite(path, records) -> None:
    (path / "episodes.jsonl").write_bytes(b"".join(r.line() for r in records))


def test_hand_made_counts(null):
    plan = null.plan(6)
    (run,) = null.run("runs", plan)
    ids = [e.class_id for e in plan]
    records = [
        EpisodeRecord(i, ids[i], (100 + i, 10 * (ids[i] + 1) % 30), (200, 40 if ids[i] < 2 else 0), 1)
        for i in range(6)
    ]
    rewrite(run.path, records)
    score = summarise(run.path)
    assert score.per_class[0] == 25
    assert score.per_class[1] == 50
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["absent_rule"] == "exclude"
    assert summary["absent"] == [2]
    assert summary["miou"] == 37.5
    assert [c["iou"] for c in summary["classes"]] == [25, 50, None]
    assert [c["name"] for c in summary["classes"]] == ["disc", "bar", "dot"]
    assert [c["episodes"] for c in summary["classes"]] == [ids.count(c) for c in range(3)]
    back, front = sum(r.inter[0] for r in records), sum(r.inter[1] for r in records)
    assert summary["fb_iou"] == pytest.approx((back / 1200 + front / (40 * sum(c < 2 for c in ids))) * 50)
    assert score_run(read_run(run.path), absent="zero").miou == pytest.approx(25)


def test_summary_does_not_depend_on_the_order_of_the_log(null):
    plan = null.plan(10)
    (run,) = null.run("runs", plan)
    before = (run.path / "summary.json").read_bytes()
    records = read_run(run.path).records
    rewrite(run.path, [records[i] for i in (3, 1, 9, 0, 2, 8, 7, 4, 6, 5)])
    summarise(run.path)
    assert (run.path / "summary.json").read_bytes() == before


def test_no_episode_is_no_figure(null):
    (run,) = null.run("runs", null.plan(3))
    rewrite(run.path, [])
    summarise(run.path)
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["miou"] is None
    assert summary["status"] == "incomplete"
    assert summary["episodes"] == {"counted": 0, "planned": 3}
    assert "NaN" not in (run.path / "summary.json").read_text()


def test_counts_beyond_float_are_exact(null):
    plan = null.plan(3)
    (run,) = null.run("runs", plan)
    big = 2**53 + 1
    rewrite(run.path, [EpisodeRecord(i, plan[i].class_id, (big, 1), (big, 2), 1) for i in range(3)])
    summarise(run.path)
    summary = json.loads((run.path / "summary.json").read_text())
    assert sum(c["inter"][0] for c in summary["classes"]) == 3 * big


def test_rule_for_absent_classes_is_the_benchmarks_own(null, shared):
    plan = null.plan(2)
    assert find_absent_rule(plan) == "exclude"
    published = fssbench.plan("pascal5i", data=None, splits=shared / "golden" / "splits")
    assert find_absent_rule(published) == "zero"
    assert find_absent_rule(replace(published, protocol="fssbench/1")) == "exclude"


def published(null, episodes: int):
    """A null plan under a published protocol, whose classes come one after the other."""
    plan = null.plan(episodes)
    ordered = sorted(plan, key=lambda e: e.class_id)
    numbered = tuple(replace(e, index=i) for i, e in enumerate(ordered))
    return replace(plan, episodes=numbered)


@pytest.mark.parametrize("rule", ["zero", "exclude"])
@pytest.mark.parametrize("how", ["capped", "unfinished"])
def test_classes_that_no_episode_met_are_left_out_and_said(null, monkeypatch, rule, how):
    monkeypatch.setattr("fssbench.evaluation.method_run.find_absent_rule", lambda _: rule)
    plan = published(null, 24)
    first = [e.class_id for e in plan].count(plan[0].class_id)
    (whole,) = null.run("whole", plan)
    (part,) = null.run("part", plan.head(first) if how == "capped" else plan)
    if how == "unfinished":
        records = read_run(part.path).records
        rewrite(part.path, [records[i] for i in range(first)])
    score = summarise(part.path)
    mean = read_run(whole.path)
    assert score.miou == pytest.approx(score_run(mean).per_class[plan[0].class_id])
    assert (len(score.unmet), score.absent) == (2, ())
    summary = json.loads((part.path / "summary.json").read_text())
    assert summary["unmet"] == list(score.unmet)
    assert any("1 of 3 classes" in mark for mark in summary["marks"])
    assert score_run(mean).unmet == ()
    assert not any("classes" in mark for mark in make_run_marks(mean))


def test_a_class_that_was_met_counts_by_the_rule_though_it_shows_no_pixel(null, monkeypatch):
    monkeypatch.setattr("fssbench.evaluation.method_run.find_absent_rule", lambda _: "zero")
    plan = published(null, 24).head(15)
    (run,) = null.run("runs", plan)
    ids = [e.class_id for e in plan]
    met = sorted(set(ids))
    rewrite(
        run.path,
        [EpisodeRecord(i, c, (9, 5 * (c == met[0])), (9, 10 * (c == met[0])), 0) for i, c in enumerate(ids)],
    )
    score = summarise(run.path)
    assert score.miou == pytest.approx(50 / len(met))
    assert score.absent == tuple(met[1:])
    assert set(score.unmet) == {0, 1, 2} - set(met)


def test_unwritable_and_missing_folder(tmp_path):
    with pytest.raises(DataError, match="is missing"):
        summarise(tmp_path)
