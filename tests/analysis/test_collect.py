"""The table model from stored runs, every number computed again in plain Python from the logs."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from fssbench.reports.content.model import build_report
from messages import error_names

from fssbench.analysis.collect import collect
from fssbench.errors import DataError
from fssbench.files.canonical_json import digest
from fssbench.runs.mark_legend import mark_kind


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()]


def by_hand(run: Path, classes=(0, 1, 2)) -> tuple[float, float, dict[int, float]]:
    """mIoU, FB-IoU and IoU by class in percent, classes without a pixel left out."""
    rows = lines(run)
    per_class = {}
    for c in classes:
        inter = sum(r["inter"][1] for r in rows if r["c"] == c)
        union = sum(r["union"][1] for r in rows if r["c"] == c)
        if union:
            per_class[c] = 100 * inter / union
    sides = [sum(r["inter"][s] for r in rows) / sum(r["union"][s] for r in rows) for s in (0, 1)]
    return sum(per_class.values()) / len(per_class), 50 * sum(sides), per_class


def noisy(null, name: str, noise: float):
    """A method that is right but for some noise."""

    def logits(self, q, s, m):
        fg = m.mean(dim=1) - 0.5 + noise * torch.randn(m[:, 0].shape)
        return torch.stack([-fg, fg], dim=1)

    return null.make_broken(name, logits=logits)


def as_fold(run: Path, fold: int, folds: int) -> Path:
    """The run, as if it were one fold of several: null data has but one."""
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["block"]["fold"] = fold
    manifest["context"]["folds"] = folds
    manifest["identity"] = digest(manifest["block"])
    (run / "manifest.json").write_text(json.dumps(manifest))
    plan = json.loads((run / "plan.json").read_text())
    plan["fold"] = fold
    (run / "plan.json").write_text(json.dumps(plan))
    return run.rename(run.with_name(f"{run.name}-fold{fold}"))


def same(a: float, b: float) -> bool:
    return a == pytest.approx(b, abs=1e-9)


def test_every_number_of_a_run(null):
    plan = null.plan(60, shot=2, size=32)
    (run,) = null.run("runs", plan, null.method(bias=0.1), panels=3)
    results = collect([null.folder / "runs"])
    (result,) = results.runs
    miou, fb_iou, per_class = by_hand(run.path)
    rows = lines(run.path)
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert same(result.miou.value, miou)
    assert same(result.fb_iou.value, fb_iou)
    assert all(same(result.per_class[c], per_class[c]) for c in range(3))
    assert result.miou.low <= result.miou.value <= result.miou.high
    assert result.fb_iou.low <= result.fb_iou.value <= result.fb_iou.high
    assert result.class_ids.tolist() == [r["c"] for r in rows]
    assert result.inter.tolist() == [r["inter"] for r in rows]
    assert result.union.tolist() == [r["union"] for r in rows]
    assert result.target.tolist() == [r["target"] for r in rows]
    assert result.indices.tolist() == list(range(60))
    assert result.queries == tuple(plan[i].query for i in range(60))
    assert (result.benchmark, result.method, result.label) == ("nulldata", "null", "null (bias=0.1)")
    assert (result.fold, result.shot, result.seed, result.planned, result.episodes) == (0, 2, 0, 60, 60)
    assert (result.backbone, result.weights, result.protocol) == ("own", "own", "published/1")
    assert (result.identity, result.plan_sha256) == (manifest["identity"], plan.sha256)
    assert {"schema": 1, **result.manifest.as_stored()} == manifest
    assert [p.index for p in result.panels] == sorted({round((k + 0.5) * 20 - 0.5) for k in range(3)})
    assert result.absent == ()
    assert result.seconds > 0
    (cell,) = results.cells
    assert (cell.miou, cell.fb_iou) == (result.miou, result.fb_iou)
    assert (cell.episodes, cell.missing, cell.best, cell.tied) == (60, (), False, False)
    assert results.notes == ()


def test_collecting_twice_gives_the_same_and_the_seed_moves_intervals_only(null):
    null.run("runs", null.plan(30), noisy(null, "a", 0.5))
    first, again, other = (collect([null.folder / "runs"], seed=s) for s in (0, 0, 1))
    assert first.cells[0].miou == again.cells[0].miou
    assert first.cells[0].miou.value == other.cells[0].miou.value
    assert first.cells[0].miou.low != other.cells[0].miou.low


def test_folds_become_one_cell_and_missing_ones_are_said(null):
    for fold in (0, 1, 3):
        (run,) = null.run(f"f{fold}", null.plan(12 + fold), noisy(null, "a", 0.4))
        (null.folder / "runs").mkdir(exist_ok=True)
        shutil.move(str(as_fold(run.path, fold, 4)), null.folder / "runs")
    results = collect([null.folder / "runs"])
    (cell,) = results.cells
    assert cell.missing == (2,)
    assert [mark for mark in cell.marks if mark_kind(mark) == "folds"] == [
        "folds (mean over 0, 1, 3; 2 not run)"
    ]
    assert build_report(results).legend[-1].wordings == ("folds (mean over 0, 1, 3; 2 not run)",)
    assert sorted(cell.folds) == [0, 1, 3]
    assert cell.episodes == 12 + 13 + 15
    each = [by_hand(r.path) for r in cell.folds.values()]
    assert same(cell.miou.value, sum(e[0] for e in each) / 3)
    assert same(cell.fb_iou.value, sum(e[1] for e in each) / 3)
    shutil.rmtree(next(r.path for f, r in cell.folds.items() if f == 3))
    (cell,) = collect([null.folder / "runs"]).cells
    assert cell.missing == (2, 3)


def test_shots_seeds_and_settings_are_cells_of_their_own(null):
    for shot, seed, bias in ((1, 0, 0.0), (5, 0, 0.0), (1, 1, 0.0), (1, 0, 0.3)):
        null.run("runs", null.plan(6, shot=shot, seed=seed), null.method(bias=bias))
    cells = collect([null.folder / "runs"]).cells
    assert [(c.shot, c.seed, c.label) for c in cells] == [
        (1, 0, "null (bias=0.0)"),
        (1, 0, "null (bias=0.3)"),
        (1, 1, "null (bias=0.0)"),
        (5, 0, "null (bias=0.0)"),
    ]
    assert all(len(c.folds) == 1 for c in cells)


def test_best_and_what_is_not_significantly_worse(null):
    plan = null.plan(60, size=32)
    # `near` differs from `best` in its name only
    null.run("runs", plan, noisy(null, "best", 0.2), noisy(null, "near", 0.2), noisy(null, "worse", 2.0))
    cells = {c.method: c for c in collect([null.folder / "runs"]).cells}
    ranked = {name: by_hand(next(iter(c.folds.values())).path)[0] for name, c in cells.items()}
    assert ranked["best"] == ranked["near"] > ranked["worse"] + 5
    assert [c.best for c in cells.values()].count(True) == 1
    top = next(c for c in cells.values() if c.best)
    assert top.miou.value == max(ranked.values())
    other = cells["near" if top.method == "best" else "best"]
    assert other.tied
    assert not other.best
    assert not top.tied
    assert not cells["worse"].tied
    assert not cells["worse"].best


def test_with_too_few_queries_nobody_is_best_or_tied(null):
    null.run("runs", null.plan(12), noisy(null, "good", 0.2), noisy(null, "worse", 3.0))
    cells = collect([null.folder / "runs"]).cells
    assert not any(cell.best or cell.tied for cell in cells)
    for cell in cells:
        assert np.isnan([cell.miou.low, cell.miou.high, cell.fb_iou.low, cell.fb_iou.high]).all()
        assert cell.miou.shortage == cell.fb_iou.shortage
        assert cell.miou.shortage.startswith("too few queries (1")
    # the same episodes again are no other queries
    null.run("often", null.plan(120), noisy(null, "good", 0.2), noisy(null, "worse", 3.0))
    assert any(cell.best for cell in collect([null.folder / "often"]).cells)


def test_one_method_alone_is_not_best(null):
    null.run("runs", null.plan(6))
    (cell,) = collect([null.folder / "runs"]).cells
    assert not cell.best


def test_methods_on_other_episodes_are_not_compared_as_pairs(null):
    null.run("runs", null.plan(30), noisy(null, "a", 0.2))
    null.run("runs", null.plan(31), noisy(null, "b", 0.2))
    cells = collect([null.folder / "runs"]).cells
    assert not any(c.best or c.tied for c in cells)


def test_the_best_on_other_episodes_takes_nothing_from_those_on_these(null):
    plan = null.plan(60)
    null.run("runs", plan, noisy(null, "good", 0.2), noisy(null, "worse", 2.0))
    null.run("runs", null.plan(61), noisy(null, "elsewhere", 0.0))
    cells = {c.method: c for c in collect([null.folder / "runs"]).cells}
    assert cells["elsewhere"].miou.value > cells["good"].miou.value
    assert {name for name, c in cells.items() if c.best} == {"good"}


def test_capped_runs_are_not_compared_with_whole_ones(null):
    plan = null.plan(20)
    null.run("runs", plan, noisy(null, "a", 0.2))
    null.run("runs", plan.head(10), noisy(null, "b", 0.2))
    cells = {c.method: c for c in collect([null.folder / "runs"]).cells}
    assert not cells["a"].best
    assert not cells["b"].best
    assert cells["b"].marks == ("capped (10 of 20 episodes)",)


def test_shards_empty_and_damaged_runs_are_left_out_with_a_note(null):
    plan = null.plan(6)
    (good,) = null.run("runs", plan)
    (shard,) = null.run("runs", plan, shard=(1, 2))
    (empty,) = null.run("runs", null.plan(5))
    (empty.path / "episodes.jsonl").write_bytes(b"")
    (bad,) = null.run("runs", null.plan(4))
    (bad.path / "episodes.jsonl").write_bytes(b"junk\n")
    (newer,) = null.run("runs", null.plan(3))
    manifest = json.loads((newer.path / "manifest.json").read_text())
    (newer.path / "manifest.json").write_text(json.dumps({**manifest, "schema": 99}))
    (edited,) = null.run("runs", null.plan(7))
    manifest = json.loads((edited.path / "manifest.json").read_text())
    manifest["block"]["shot"] = 5
    (edited.path / "manifest.json").write_text(json.dumps(manifest))
    results = collect([null.folder / "runs"])
    assert [r.path for r in results.runs] == [good.path]
    assert len([note for note in results.notes if note.startswith("left out: ")]) == 5
    for text in (
        f"{shard.path.name} is a shard; join the shards with `fssbench merge`",
        f"{empty.path.name} holds no episode",
        f"{bad.path}/episodes.jsonl, line 1 is damaged",
        "has schema 99, but this version of fssbench reads schemas up to 1",
        f"{edited.path}/manifest.json was changed",
    ):
        assert any(n.startswith("left out: ") and text in n for n in results.notes), text


def test_incomplete_runs_are_marked(null):
    (run,) = null.run("runs", null.plan(10))
    kept = (run.path / "episodes.jsonl").read_bytes().splitlines(keepends=True)[:7]
    (run.path / "episodes.jsonl").write_bytes(b"".join(kept))
    results = collect([null.folder / "runs"])
    (cell,) = results.cells
    assert cell.marks == ("incomplete (7 of 10 episodes)",)
    assert not results.runs[0].whole
    assert cell.episodes == 7
    assert same(cell.miou.value, by_hand(run.path)[0])


def test_copy_of_a_run_is_counted_once(null):
    (run,) = null.run("runs", null.plan(8))
    shutil.copytree(run.path, null.folder / "elsewhere" / run.path.name)
    kept = (run.path / "episodes.jsonl").read_bytes().splitlines(keepends=True)[:3]
    (run.path / "episodes.jsonl").write_bytes(b"".join(kept))
    results = collect([null.folder / "runs", null.folder / "elsewhere"])
    (result,) = results.runs
    assert result.episodes == 8, "the fuller one"
    assert len(results.cells) == 1
    (note,) = (note for note in results.notes if "same measurement" in note)
    assert str(run.path) in note


def test_a_class_that_was_renamed_between_two_runs_is_named_with_both_names(null):
    """As after an edit of `dataset.toml`: the counts stay, but one of the names is wrong for one of the runs."""
    plan = null.plan(8)
    null.run("runs", plan)
    (other,) = null.run("runs", plan, noisy(null, "noisy", 0.5))
    assert collect([null.folder / "runs"]).notes == ()
    stored = json.loads((other.path / "plan.json").read_text())
    first, second, *rest = stored["class_names"]
    stored["class_names"] = [second, first, *rest]
    (other.path / "plan.json").write_text(json.dumps(stored))
    notes = [note for note in collect([null.folder / "runs"]).notes if "were renamed between" in note]
    assert len(notes) == 1
    assert error_names(notes[0], "class 0 is", "class 1 is", first, second, other.path.name)


def test_class_without_a_pixel_is_absent(null):
    from fssbench.runs.store import EpisodeRecord, read_run

    plan = null.plan(9)
    (run,) = null.run("runs", plan)
    records = read_run(run.path).records
    (run.path / "episodes.jsonl").write_bytes(
        b"".join(
            (EpisodeRecord(i, 1, (9, 0), (9, 0), 0) if records[i].class_id == 1 else records[i]).line()
            for i in range(9)
        )
    )
    (result,) = collect([null.folder / "runs"]).runs
    assert result.absent == (1,)
    assert math.isnan(result.per_class[1])
    assert same(result.miou.value, by_hand(run.path)[0])


def empty(m: torch.Tensor) -> torch.Tensor:
    return torch.stack([m[:, 0] + 1, -m[:, 0]], dim=1)


def test_all_classes_absent_breaks_nothing(null):
    from fssbench.runs.store import EpisodeRecord

    plan = null.plan(60)
    for name in ("a", "b"):
        (run,) = null.run("runs", plan, null.make_broken(name))
        (run.path / "episodes.jsonl").write_bytes(
            b"".join(EpisodeRecord(i, plan[i].class_id, (9, 0), (9, 0), 0).line() for i in range(60))
        )
    null.run(
        "runs", plan, null.make_broken("real"), null.make_broken("low", logits=lambda self, q, s, m: empty(m))
    )
    cells = {c.method: c for c in collect([null.folder / "runs"]).cells}
    assert math.isnan(cells["a"].miou.value)
    assert cells["real"].best
    assert not cells["a"].best


def test_time_per_episode_is_that_of_the_predictions_over_all_sessions(null):
    (run,) = null.run("runs", null.plan(4))
    (run.path / "sessions.jsonl").write_text(
        '{"episodes": 3, "seconds": 60.0, "prediction_seconds": 6.0}\n{"torn\n'
        '{"episodes": 1, "seconds": 4.5, "prediction_seconds": 4.0}\n'
        '{"episodes": 0, "seconds": 0.0, "command": "a"}\n'
    )
    assert collect([run.path]).runs[0].seconds == 2.5
    (run.path / "sessions.jsonl").unlink()
    assert np.isnan(collect([run.path]).runs[0].seconds)


def test_runs_stored_before_predictions_were_timed_apart_are_read_without_a_time(null):
    (run,) = null.run("runs", null.plan(4))
    (timed,) = collect([run.path]).runs
    old = '{"episodes": 3, "seconds": 6.0, "peak_mb": 812, "command": "a"}\n'
    (run.path / "sessions.jsonl").write_text(old)
    (untimed,) = collect([run.path]).runs
    assert np.isnan(untimed.seconds)
    assert (untimed.miou, untimed.identity) == (timed.miou, timed.identity)
    new = '{"episodes": 1, "seconds": 9.0, "prediction_seconds": 0.5}\n'
    (run.path / "sessions.jsonl").write_text(old + new)
    assert collect([run.path]).runs[0].seconds == 0.5, "the time that contains the inputs is not mixed in"


def test_nothing_to_collect(null):
    with pytest.raises(DataError, match=r"no runs found in .*nowhere"):
        collect([null.folder / "nowhere"])
    (run,) = null.run("runs", null.plan(2), shard=(1, 2))
    with pytest.raises(DataError, match="is a shard"):
        collect([run.path])
