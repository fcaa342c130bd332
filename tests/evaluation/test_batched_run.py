"""Runs of several episodes at once: marked with their effect, and independent of interrupts, shards and order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings, strategies as st
from null_harness import score_episodes
from small_backbone import register_small_backbone

import fssbench
from fssbench.analysis.collect import collect
from fssbench.analysis.comparisons import compare_pairs
from fssbench.analysis.matching import Refusal, match_cells
from fssbench.analysis.row_keys import column_key
from fssbench.api import Episode
from fssbench.cli import main
from fssbench.contracts.marks import MarkKind
from fssbench.errors import FssbenchError, PluginError, UsageError
from fssbench.evaluation.batches import order_batches_for_reuse, select_batch
from fssbench.evaluation.episode_order import order_for_reuse
from fssbench.evaluation.rounding import EPISODES, choose_rounding_episodes
from fssbench.files.append_log import seal
from fssbench.runs.merge import merge
from fssbench.runs.rounding_probes import BATCH_1, measure_rounding_effect
from fssbench.runs.store import read_run
from fssbench.verification.rounding import name_count_check, name_file_check
from fssbench.verification.seals import Outcome
from fssbench.verification.stored_run import VerificationInputs, verify_run

FILE = BATCH_1.log.file


@pytest.fixture(scope="module")
def recurring() -> Sequence[Episode]:
    """Some episodes with images that recur."""
    return [
        Episode(index=i, class_id=1, query=f"q{i * 7 % 11}", supports=(f"q{i * 5 % 13}",)) for i in range(40)
    ]


def follow_neighbours(self, query, support, support_mask):
    """An answer that depends on the other episodes of the batch, as no sound method's does, so that they show."""
    fg = support_mask.mean(dim=1) - 0.5
    mixed = fg + 3 * query.mean(dim=1) * (fg - fg.mean(dim=0))
    return torch.stack([-mixed, mixed], dim=1)


def mixing(null):
    return null.make_broken("mixing", logits=follow_neighbours)


def watch_batches(null, batches: list[int], name: str = "watched"):
    def logits(self, query, support, support_mask):
        batches.append(len(query))
        return null.base.logits(self, query, support, support_mask)

    return null.make_broken(name, logits=logits)


def mark_of(run: Path) -> str:
    (mark,) = (m for m in json.loads((run / "summary.json").read_text())["marks"] if m.startswith("batch ("))
    return mark


def counts(run: Path) -> dict[int, tuple]:
    return {i: (r.inter, r.union, r.target) for i, r in read_run(run).records.items()}


def test_a_sound_method_is_counted_as_at_batch_1_and_marked(null):
    plan = null.plan(22)
    (alone,) = null.run("alone", plan)
    batches: list[int] = []
    (together,) = null.run("together", plan, watch_batches(null, batches), batch=8)
    assert batches[:3] == [8, 8, 6]
    assert batches[3:] == [1] * EPISODES  # what was compared with batch 1
    (together.path / FILE).unlink()
    again: list[int] = []
    null.run("together", plan, watch_batches(null, again), batch=8)
    assert sorted(again) == [1] * EPISODES + [6, 8, 8]  # another process has no masks of these
    assert counts(alone.path) == counts(together.path)
    assert (alone.path / "episodes.jsonl").read_bytes() == (together.path / "episodes.jsonl").read_bytes()
    assert read_run(together.path).manifest.block.batch == 8
    assert alone.identity != together.identity
    assert not (alone.path / FILE).exists()
    assert not any(mark.kind == MarkKind.BATCH for mark in alone.marks)
    (mark,) = (mark for mark in together.marks if mark.kind == MarkKind.BATCH)
    assert mark == mark_of(together.path)
    assert "8 episodes" in mark
    assert f"mIoU +0.00 against batch 1 on {EPISODES} episodes" in mark


@pytest.mark.parametrize("shot", [1, 3])
def test_the_mark_has_the_effect_that_two_runs_show(null, shot):
    plan = null.plan(12, shot=shot)
    (alone,) = null.run("alone", plan, mixing(null), save_masks=True)
    (together,) = null.run("together", plan, mixing(null), save_masks=True, batch=5)
    runs = [read_run(run.path) for run in (together, alone)]
    effect = measure_rounding_effect(runs[0], BATCH_1)
    indices = sorted(BATCH_1.log.read(together.path))
    assert effect is not None
    assert effect.episodes == len(indices) == 12
    figures = [score_episodes(run, plan, indices) for run in runs]
    assert [effect.miou, effect.exact_miou] == figures
    assert effect.differing > 0
    assert counts(alone.path) == {
        **counts(alone.path),
        **{
            i: (p.inter, p.union, runs[1].records[i].target)
            for i, p in BATCH_1.log.read(together.path).items()
        },
    }


def test_an_interrupted_run_goes_on_with_the_same_batches(null):
    plan = null.plan(14)
    (whole,) = null.run("whole", plan, mixing(null), batch=4)
    method = mixing(null)

    def stop_at_9(label: str, done: int, planned: int) -> None:
        if done >= 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fssbench.evaluate(method, plan, out=null.folder / "cut", batch=4, watch=stop_at_9, progress=False)
    path = null.find_run("cut")
    assert 0 < len(counts(path)) < 14
    # a crash in the middle of a batch leaves some of its episodes
    lines = (path / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    (path / "episodes.jsonl").write_bytes(b"".join(lines[:6]))
    (path / "checksums.json").unlink(missing_ok=True)
    (again,) = null.run("cut", plan, mixing(null), batch=4)
    assert again.computed == 8
    assert null.read_results(again.path) == null.read_results(whole.path)
    assert (again.path / FILE).read_bytes() == (whole.path / FILE).read_bytes()


def test_shards_join_to_the_run_without_shards(null):
    plan = null.plan(31)
    (whole,) = null.run("whole", plan, mixing(null), batch=4)
    for part in (1, 2, 3):
        null.run("shards", plan, mixing(null), batch=4, shard=(part, 3))
    (joined,) = merge([null.folder / "shards"], null.folder / "joined")
    assert null.read_results(joined) == null.read_results(whole.path)
    assert (joined / FILE).read_bytes() == (whole.path / FILE).read_bytes()


def test_the_same_command_computes_nothing_and_measures_what_is_missing(null):
    plan = null.plan(12)
    (run,) = null.run("runs", plan, mixing(null), batch=4)
    results, probes = null.read_results(run.path), (run.path / FILE).read_bytes()
    batches: list[int] = []
    (run.path / FILE).write_bytes(b"".join(probes.splitlines(keepends=True)[:2]))
    null.run("runs", plan, mixing(null), batch=4)
    assert (run.path / FILE).read_bytes() == probes
    assert null.read_results(run.path) == results
    null.run("other", plan, watch_batches(null, batches), batch=4)
    batches.clear()
    null.run("other", plan, watch_batches(null, batches), batch=4)
    assert batches == []


@pytest.mark.parametrize("how", ["nan", "raise"])
def test_a_failing_episode_of_a_batch_is_named(null, how):
    plan = null.plan(12)
    calls: list[int] = []
    given_masks: list[torch.Tensor] = []

    def keep(self, query, support, support_mask):
        given_masks.extend(support_mask.clone())
        return null.base.logits(self, query, support, support_mask)

    null.run("first", plan, null.make_broken("keeps", logits=keep))

    def logits(self, query, support, support_mask):
        answer = null.base.logits(self, query, support, support_mask)
        calls.append(len(query))
        wrong = [b for b in range(len(query)) if torch.equal(support_mask[b], marked)]
        if wrong and how == "raise":
            raise ValueError("no")
        answer[wrong] = float("nan")
        return answer

    unlike = next(i for i in range(4, 12) if sum(torch.equal(m, given_masks[i]) for m in given_masks) == 1)
    marked = given_masks[unlike]
    with pytest.raises(PluginError, match=f"episode {unlike} ") as caught:
        null.run("runs", plan, null.make_broken("faulty", logits=logits), batch=4)
    assert ("NaN" in str(caught.value)) == (how == "nan")
    assert 1 in calls
    stored = counts(null.find_run("runs"))
    assert set(stored) == set(range(unlike - unlike % 4))


def test_a_method_that_takes_no_batches_is_refused_by_name(null):
    def logits(self, query, support, support_mask):
        if len(query) > 1:
            raise ValueError("one at a time")
        return null.base.logits(self, query, support, support_mask)

    with pytest.raises(PluginError, match="single.*episodes 0 to 3.*--batch"):
        null.run("runs", null.plan(8), null.make_broken("single", logits=logits), batch=4)


def test_full_memory_names_the_option_and_blames_no_episode(null):
    calls = []

    def logits(self, query, support, support_mask):
        calls.append(len(query))
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(PluginError, match="--batch"):
        null.run("runs", null.plan(8), null.make_broken("hungry", logits=logits), batch=4)
    assert calls == [4]


def test_a_method_that_writes_to_its_input_or_keeps_state_is_noticed(null):
    def write(self, query, support, support_mask):
        support_mask.zero_()
        return null.base.logits(self, query, support, support_mask)

    with pytest.raises(PluginError, match="episode 0 .*in place"):
        null.run("written", null.plan(8), null.make_broken("writes", logits=write), batch=4)
    seen = []

    def remember(self, query, support, support_mask):
        seen.append(0)
        return null.base.logits(self, query, support, support_mask) * (1 if len(seen) < 3 else -1)

    with pytest.raises(PluginError, match="computed again"):
        null.run("state", null.plan(8), null.make_broken("keeps", logits=remember), batch=4, repeated=3)
    assert not counts(null.find_run("state"))


def test_a_method_that_adapts_is_run_at_batch_1_with_a_note(null, mini, tmp_path):
    plan = fssbench.plan("pascal-to-chestxray", shot=1, data=mini, episodes=3, size=64)
    adapting = fssbench.load_method("repri", weights="random", backbone=register_small_backbone())
    assert adapting.steps
    with pytest.warns(UserWarning, match="repri.*batch 1"):
        done = fssbench.evaluate(adapting, plan, out=tmp_path, batch=2, progress=False)
    block = read_run(done.path).manifest.block
    assert block.batch == 1
    assert not any(mark.kind == MarkKind.BATCH for mark in done.marks)


def test_several_methods_and_methods_of_others_go_together(null):
    plan = null.plan(10)
    batches: dict[str, list[int]] = {"one": [], "two": []}
    methods = [watch_batches(null, batches[name], name) for name in batches]
    done = null.run("runs", plan, *methods, batch=4, isolate=None)
    assert [run.score.episodes for run in done] == [10, 10]
    assert all(each[:3] == [4, 4, 2] for each in batches.values())


def test_isolate_and_batch_exclude_each_other(null, tmp_path):
    with pytest.raises(UsageError, match="--isolate.*--batch 4.*null"):
        fssbench.run("null", "nulldata", data=null.data, out=tmp_path, shot=1, batch=4, isolate=True)
    done = fssbench.run("null", "nulldata", data=null.data, out=tmp_path, shot=1, batch=4, episodes=4)
    assert any("null" in note and "process" in note for note in done.notes)


def test_an_inspected_episode_is_marked(null):
    inspected = []
    null.run("runs", null.plan(5), batch=4, inspect=inspected.append)
    assert [each.episode.index for each in inspected] == [0, 1, 2, 3, 4]
    assert all(any(mark.kind == MarkKind.BATCH for mark in each.marks) for each in inspected)
    assert inspected[1].query.shape[0] == inspected[1].support_mask.shape[0] == 1


def test_masks_of_their_own_sizes_are_predicted_by_size(null, mini, tmp_path):
    plan = fssbench.plan("pascal-to-chestxray", shot=1, data=mini, episodes=5, size=64)
    loaded = fssbench.load_method("panet", weights="random", backbone=register_small_backbone())
    runs = [
        fssbench.evaluate(loaded, plan, out=tmp_path / str(b), batch=b, score_size="original", progress=False)
        for b in (1, 3)
    ]
    pixels = [{i: inter[0] + union[1] for i, (inter, union, _) in counts(run.path).items()} for run in runs]
    assert pixels[0] == pixels[1]


def outcomes(null, run: Path, share: float = 1.0) -> dict[str, Outcome]:
    return {f.check: f.outcome for f in verify_run(run, VerificationInputs(data=null.data, share=share))}


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_verify_computes_in_the_same_batches_and_alone(null, share):
    check, counted = name_file_check(BATCH_1), name_count_check(BATCH_1)
    (run,) = null.run("runs", null.plan(8), batch=4, sensitivity=3)
    sound = outcomes(null, run.path, share)
    names = (check, counted, "counts", "summary", "identity", "support probes")
    assert {sound[each] for each in names} == {Outcome.EQUAL}
    first, *others = (run.path / FILE).read_bytes().splitlines(keepends=True)
    record = json.loads(first)
    del record["crc"]
    for lie, expected in (({"differing": 10**6}, check), ({"index": 99}, check)):
        (run.path / FILE).write_bytes(seal({**record, **lie}) + b"".join(others))
        assert outcomes(null, run.path)[expected] == Outcome.DIFFERS
    (right, wrong_f), (union_b, union_f) = record["inter"], record["union"]
    possible = {"inter": [right - 1, wrong_f], "union": [union_b, union_f + 1], "differing": 1}
    (run.path / FILE).write_bytes(seal({**record, **possible}) + b"".join(others))
    assert outcomes(null, run.path)[counted] == Outcome.DIFFERS
    (run.path / FILE).unlink()
    assert outcomes(null, run.path)[check] == Outcome.NOT_CHECKED


def test_figures_of_different_batches_are_never_compared(null):
    plan = null.plan(12)
    null.run("runs", plan)
    null.run("runs", plan, mixing(null), batch=4)
    results = collect([null.folder / "runs"], resamples=20)
    assert len(set(map(column_key, results.runs))) == 2
    assert not compare_pairs(results)
    (refusal,) = match_cells(results, shared=True, methods=None)
    assert isinstance(refusal, Refusal)
    assert (refusal.shareable, "batch" in refusal.reason) == (False, True)


def test_a_configuration_file_takes_the_batch(null, tmp_path):
    config = tmp_path / "run.toml"
    config.write_text('batch = 2\nmethod = ["null"]\nbenchmark = ["nulldata"]\nshot = [1]\n')
    words = ["run", "--config", str(config), "--data", str(null.data), "--episodes", "3", "--json", "-q"]
    result = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "runs")])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout.splitlines()[0])
    assert any(mark.startswith("batch (2 episodes") for mark in record["marks"])
    refused = CliRunner().invoke(main, ["run", "-m", "null", "-b", "nulldata", "--batch", "0"])
    assert refused.exit_code == UsageError("").exit_code
    with pytest.raises(FssbenchError, match="batch"):
        fssbench.evaluate(null.method(), null.plan(2), out=tmp_path / "no", batch=0)


@settings(max_examples=30, deadline=None)
@given(total=st.integers(1, 40), size=st.integers(1, 9), room=st.integers(0, 12), data=st.data())
def test_the_order_keeps_batches_together_and_batch_1_as_it_was(recurring, total, size, room, data):
    plan = recurring[:total]
    chosen = sorted(data.draw(st.sets(st.integers(0, total - 1))))
    todo = [plan[i] for i in chosen]
    ordered = order_batches_for_reuse(todo, size, room)
    assert sorted(e.index for e in ordered) == chosen
    numbers = [e.index // size for e in ordered]
    assert len(list(dict.fromkeys(numbers))) == sum(
        a != b for a, b in zip(numbers, [None, *numbers], strict=False)
    )
    assert order_batches_for_reuse(todo, 1, room) == order_for_reuse(todo, room)


def test_the_episodes_that_are_computed_alone_too_fill_few_batches(null):
    plan = null.plan(200)
    for size in (2, 3, 8, 32, 500):
        chosen = choose_rounding_episodes(plan, size)
        assert len(chosen) == EPISODES
        assert len({i // size for i in chosen}) <= -(-EPISODES // size) + 1
        assert all(plan[i] in select_batch(plan, i, size) for i in chosen)
