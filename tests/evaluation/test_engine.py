"""The engine on null runs: end to end, poison, peeking, reuse, speed."""

from __future__ import annotations

import gc
import json
import os
import random
import resource
import time
import timeit
import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from manifests import make_manifest
from null_harness import null_dataset, right
from PIL import ImageFile

import fssbench
from fssbench.api import Dataset, Plan
from fssbench.data.reader import Target
from fssbench.errors import LockedError, PluginError
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.feature_cache import FeatureCache
from fssbench.evaluation.inputs import Inputs
from fssbench.evaluation.settings import Settings
from fssbench.metrics import count
from fssbench.runs.identity import make_run_slug
from fssbench.runs.store import read_run

# --- end to end ---------------------------------------------------------------------------------


def test_five_lines_of_python(null):
    plan = null.plan(30)
    run = fssbench.evaluate(null.method(), plan, out=null.folder / "runs")
    assert (run.planned, run.computed, run.score.episodes) == (30, 30, 30)
    # every number again, from the data set itself
    dataset = null_dataset(null)
    inter, union = np.zeros((3, 2), np.int64), np.zeros((3, 2), np.int64)
    for episode in plan:
        truth, guess = (dataset.mask(item, 0)[::2, ::2] == 1 for item in (episode.query, episode.supports[0]))
        for kind, (t, g) in enumerate(((~truth, ~guess), (truth, guess))):
            inter[episode.class_id, kind] += (t & g).sum()
            union[episode.class_id, kind] += (t | g).sum()
    assert run.score.miou == pytest.approx((100 * inter[:, 1] / union[:, 1]).mean(), abs=1e-12)
    assert run.score.fb_iou == pytest.approx((100 * inter.sum(0) / union.sum(0)).mean(), abs=1e-12)
    summary = json.loads((run.path / "summary.json").read_text())
    assert [c["inter"] for c in summary["classes"]] == inter.tolist()
    assert [c["union"] for c in summary["classes"]] == union.tolist()
    assert summary["miou"] == run.score.miou
    assert summary["status"] == "complete"


def test_same_call_again_computes_nothing_and_changes_no_byte(null):
    plan = null.plan(10)
    (first,) = null.run("runs", plan)
    before = {p: p.read_bytes() for p in first.path.rglob("*") if p.is_file() and p.name != ".lock"}
    calls = null.count_calls()
    (again,) = null.run("runs", plan)
    assert (again.computed, again.score.episodes, again.identity) == (0, 10, first.identity)
    assert again.score == first.score
    assert null.count_calls() == calls
    assert {p: p.read_bytes() for p in first.path.rglob("*") if p.is_file() and p.name != ".lock"} == before


def test_summary_is_written_again_where_a_kill_left_none(null):
    plan = null.plan(6)
    (first,) = null.run("runs", plan)
    before = null.read_results(first.path)
    (first.path / "summary.json").unlink()
    null.run("runs", plan)
    assert null.read_results(first.path) == before


def test_watch_sees_every_episode(null):
    seen = []
    fssbench.evaluate(
        null.method(), null.plan(4), out=null.folder / "runs", watch=lambda *step: seen.append(step)
    )
    assert seen == [("null", done, 4) for done in (1, 2, 3, 4)]


def test_cap_and_shots_and_seeds_are_other_runs(null):
    full = fssbench.plan("nulldata", data=null.data)
    small = replace(full, size=16)
    capped = small.head(5)
    (run,) = null.run("runs", capped)
    assert capped.marks == ("capped (5 of 600 episodes)",)
    assert json.loads((run.path / "summary.json").read_text())["marks"] == list(capped.marks)
    others = [null.run("runs", null.plan(5, shot=5))[0], null.run("runs", null.plan(5, seed=1))[0]]
    assert len({run.identity, *(o.identity for o in others)}) == 3
    assert all(o.score.episodes == 5 for o in others)


def test_original_size_counts_at_the_querys_own(null):
    plan = null.plan(6, size=8)
    (small,) = null.run("runs", plan)
    (own,) = null.run("runs", plan, score_size="original")
    assert own.identity != small.identity
    for run, pixels in ((small, 8 * 8), (own, 32 * 32)):
        for record in read_run(run.path).records.values():
            # every pixel is in the union of one of the two, or in both where they disagree
            assert sum(record.union) - (pixels - sum(record.inter)) == pixels
            assert record.target == pixels // 4


def test_ignored_pixels_count_for_nothing(null, monkeypatch):
    dataset = null_dataset(null)
    plain = type(dataset).mask

    def with_void(self, item, class_id):
        mask = plain(self, item, class_id).copy()
        mask[:4] = 255
        return mask

    monkeypatch.setattr(type(dataset), "mask", with_void)
    (run,) = null.run("runs", null.plan(4, size=32))
    for record in read_run(run.path).records.values():
        assert sum(record.union) - (28 * 32 - sum(record.inter)) == 28 * 32
    truth = plain(dataset, "0/0001", 0)
    assert truth.max() == 1


# --- poison -------------------------------------------------------------------------------------


def poison_seeds(q, s, m):
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    torch.rand(3), np.random.rand(3), random.random()


def poison_settings(q, s, m):
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(3)
    torch.backends.cudnn.benchmark = True
    ImageFile.LOAD_TRUNCATED_IMAGES = True


POISONS = {
    "seeds": poison_seeds,
    "settings": poison_settings,
    "default device": lambda q, s, m: torch.set_default_device("meta"),
    "grad mode": lambda q, s, m: torch.set_grad_enabled(True),
    "chdir": lambda q, s, m: os.chdir("/"),
    "warnings": lambda q, s, m: warnings.simplefilter("ignore"),
    "query by numpy": lambda q, s, m: q.numpy().fill(0),
    "support by data": lambda q, s, m: s.data.zero_(),
    "masks by numpy": lambda q, s, m: m.numpy().fill(1),
    "query by storage": lambda q, s, m: q.untyped_storage().fill_(0),
}


def victim(self, q, s, m):
    """Depends on pixels, on all generators, on the default dtype, and keeps nothing."""
    noise = torch.rand(m[:, 0].shape) + random.random() + float(np.random.rand())
    fg = q.mean(dim=1) + s.mean(dim=(1, 2)) + m.mean(dim=1) - 0.7 * noise.float() + torch.tensor(0.1).float()
    assert torch.get_default_dtype() == torch.float32
    assert not torch.is_grad_enabled()
    return torch.stack([-fg, fg], dim=1)


ALONE = []
"""Results of the victim by itself, which one test computes for all."""


@pytest.mark.parametrize("poison", POISONS)
def test_poison_does_not_reach_another_method(null, poison, monkeypatch):
    monkeypatch.chdir(null.folder)
    plan, threads = null.plan(12), torch.get_num_threads()
    beside, after = (null.make_broken("victim", logits=victim) for _ in range(2))
    if not ALONE:
        (clean,) = null.run("alone", plan, null.make_broken("victim", logits=victim))
        ALONE.append(null.read_results(clean.path))

    def logits(self, q, s, m):
        answer = right(q, s, m)
        POISONS[poison](q, s, m)
        return answer

    with warnings.catch_warnings():
        poisoner = null.make_broken("poisoner", logits=logits)
        done = null.run("beside", plan, poisoner, beside)
        null.run("first", plan, poisoner)
        (late,) = null.run("after", plan, after)
    assert [null.read_results(done[1].path), null.read_results(late.path)] == 2 * ALONE
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_default_device() == torch.device("cpu")
    assert torch.get_num_threads() == threads
    assert not torch.backends.cudnn.benchmark
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    assert Path.cwd() == null.folder
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("which", [0, 1, 2])
def test_input_changed_in_place_is_an_error(null, which):
    def logits(self, *given):
        answer = right(*given)
        given[which].mul_(2)
        return answer

    with pytest.raises(PluginError, match=r"episode 0 .*changed its input in place"):
        null.run("runs", null.plan(2), null.make_broken("odd", logits=logits))


def test_method_with_a_memory_changes_nobody_else(null):
    seen = []

    def logits(self, q, s, m):
        seen.append(q)  # keeps every input it was ever given
        if len(seen) > 1:
            seen[-2].data.fill_(9)
        return right(q, s, m)

    plan = null.plan(12)
    (clean,) = null.run("alone", plan, null.make_broken("victim", logits=victim))
    methods = null.make_broken("odd", logits=logits), null.make_broken("victim", logits=victim)
    assert null.read_results(null.run("both", plan, *methods)[1].path) == null.read_results(clean.path)


def test_order_shards_and_resume_do_not_change_a_random_method(null):
    plan = null.plan(9)
    (clean,) = null.run("alone", plan, null.make_broken("victim", logits=victim))
    whole = read_run(clean.path).records
    for part in (3, 1, 2):
        null.run("parts", plan, null.make_broken("victim", logits=victim), shard=(part, 3))
    parts = {}
    for path in sorted((null.folder / "parts").iterdir()):
        parts |= read_run(path).records
    assert parts == whole


def test_caller_keeps_random_state_and_settings(null):
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    null.run("runs", null.plan(3), null.make_broken("odd", logits=lambda self, q, s, m: right(q, s, m)))
    with pytest.raises(PluginError):
        null.run("runs", null.plan(3), null.make_broken("bad", logits=lambda self, q, s, m: None))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]


def test_query_mask_is_out_of_reach(null):
    """Nothing that can be walked to from what `logits` is given leads to truth, plan, data or names."""
    forbidden = (Dataset, Plan, Inputs, Target, FeatureCache, np.ndarray, Path)
    skipped = (type, type(os), type(right), type(sys_frame()))
    reached = []

    def logits(self, q, s, m):
        todo, seen = [q, s, m, vars(self)], set()
        while todo and len(seen) < 20_000:
            thing = todo.pop()
            if id(thing) in seen or isinstance(thing, skipped):
                continue
            seen.add(id(thing))
            reached.append(type(thing))
            assert not isinstance(thing, forbidden), thing
            assert not (isinstance(thing, str) and "/00" in thing), "an item's name"
            todo.extend(gc.get_referents(thing))
            todo.extend(getattr(thing, "__dict__", {}).values())
        for tensor in (q, s, m):
            for holder in gc.get_referrers(tensor):
                assert not isinstance(holder, forbidden)
        return right(q, s, m)

    null.run("runs", null.plan(3), null.make_broken("spy", logits=logits))
    assert torch.Tensor in reached


def sys_frame():
    import sys

    return sys._getframe()


# --- several methods, one extraction -------------------------------------------------------------


def test_each_image_is_read_once_for_two_methods(null, monkeypatch):
    cls, opened = type(null_dataset(null)), []
    plain = cls.image
    monkeypatch.setattr(cls, "image", lambda self, item: opened.append(item) or plain(self, item))
    plan = null.plan(40)
    images = {i for e in plan for i in (e.query, *e.supports)}
    null.run("runs", plan, null.make_broken("a"), null.make_broken("b"), panels=0)
    assert len(opened) == len(images)
    opened.clear()
    null.run("more", plan, null.make_broken("a"), null.make_broken("b"), panels=0, cache_mb=0)
    assert len(opened) == 2 * sum(1 + len(e.supports) for e in plan)


def test_budget_of_the_cache_moves_no_number(null):
    plan = null.plan(30)
    runs = [
        null.run(f"mb{mb}", plan, null.make_broken("v", logits=victim), cache_mb=mb)[0] for mb in (0, 1, 64)
    ]
    assert len({null.read_results(run.path) for run in runs}) == 1


def test_methods_keep_going_where_one_has_less_to_do(null):
    plan = null.plan(10)
    a, b = null.make_broken("a"), null.make_broken("b")
    null.run("runs", plan, a)
    done = null.run("runs", plan, a, b)
    assert [d.computed for d in done] == [0, 10]


# --- folders and locks --------------------------------------------------------------------------


def test_same_method_twice_in_one_call_is_refused(null):
    with pytest.raises(LockedError, match=f"process {os.getpid()}"):
        null.run("runs", null.plan(2), null.method(), null.method())


def test_slugs_are_plain_short_and_distinct():
    names = [
        "a",
        "A",
        "../../etc/passwd",
        "日本",
        "ü",
        "a b",
        "a#b",
        "a\nb",
        "-x",
        "x.",
        "CON",
        "n" * 300,
        "💥",
    ]
    slugs = [make_run_slug(make_manifest(benchmark="b:v", method=name)) for name in names]
    assert len(set(slugs)) == len(names)
    for slug in slugs:
        assert slug.isascii()
        assert len(slug) <= 140
        assert not set(slug) - set("abcdefghijklmnopqrstuvwxyz0123456789._-")
        assert "/" not in slug
        assert not slug.startswith((".", "-"))
    assert "shard2of7" in make_run_slug(make_manifest(shard=(2, 7)))


@pytest.mark.parametrize("name", ["with space", "ü日本💥", "a#b%c", "new\nline", "x" * 150, "-dash", "dot."])
def test_out_folders_of_any_name(null, name):
    plan = null.plan(2)
    (first,) = null.run(null.folder / name, plan)
    (again,) = null.run(null.folder / name, plan)
    assert (first.computed, again.computed) == (2, 0)
    assert first.path.parent.name == name


def test_reading_and_the_shared_backbone_are_no_time_of_the_method_that_runs_first(null, monkeypatch):
    read = Inputs.of

    def read_slowly(self, method, *episode, **options):
        time.sleep(0.05 if method.card.name == "null" else 0)
        return read(self, method, *episode, **options)

    monkeypatch.setattr(Inputs, "of", read_slowly)
    first, second = null.run("runs", null.plan(4), null.method(), null.make_broken("other"))
    (of_first,), (of_second,) = (read_run(run.path).sessions() for run in (first, second))
    assert of_first.seconds > 0.2
    assert of_first.prediction_seconds < 0.1
    assert 0 <= of_second.prediction_seconds <= of_second.seconds < 0.2


def test_data_folder_is_not_written_to(null):
    null.data.joinpath("nulldata").chmod(0o555)
    null.data.chmod(0o555)
    try:
        null.run("runs", null.plan(2))
        assert not any(null.data.joinpath("nulldata").iterdir())
        assert [p.name for p in null.data.iterdir()] == ["nulldata"]
    finally:
        null.data.chmod(0o755)


# --- speed --------------------------------------------------------------------------------------


def rss() -> int:
    """Resident bytes now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


FULL = torch.ones(400, 400, dtype=torch.bool)


def timed_run(null, episodes: int) -> tuple[list[float], float]:
    """CPU seconds of each tenth of a run at the published size, and growth in MB from its first tenth to its end."""
    plan = null.plan(episodes, size=400)
    times, sizes = [time.process_time()], []

    def watch(_: str, done: int, planned: int) -> None:
        if done % (planned // 10) == 0:
            times.append(time.process_time())
            sizes.append(rss())

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _, failed = evaluate_all([null.method()], plan, Settings(out=null.folder / "timed"), watch=watch)
    finally:
        torch.set_num_threads(threads)
    assert not failed
    times[-1] = time.process_time()
    return [after - before for before, after in pairwise(times)], (rss() - sizes[0]) / 2**20


def test_a_thousand_episodes_are_cheap(null, monkeypatch):
    monkeypatch.delenv("NULL_CALLS")
    tenths, growth = timed_run(null, 1000)
    quickest = min(tenths) / 100  # other programs make the others slower
    unit = min(timeit.repeat(lambda: count(FULL, FULL), timer=time.process_time, number=100)) / 100
    assert quickest < 45 * unit, f"{1e3 * quickest:.2f} ms an episode, {1e3 * unit:.3f} ms a counted mask"
    assert growth < 25


@pytest.mark.nightly
def test_ten_thousand_episodes_in_fifteen_seconds(null, monkeypatch):
    monkeypatch.delenv("NULL_CALLS")
    tenths, growth = timed_run(null, 10_000)
    assert sum(tenths) < 15, f"{sum(tenths) / 10_000 * 1000:.2f} ms an episode"
    assert growth < 50


def test_counts_are_those_of_the_public_function(null):
    plan = null.plan(5)
    (run,) = null.run("runs", plan)
    dataset, records = null_dataset(null), read_run(run.path).records
    for episode in plan:
        inter, union = count(
            dataset.mask(episode.supports[0], 0)[::2, ::2], dataset.mask(episode.query, 0)[::2, ::2]
        )
        assert records[episode.index].inter == tuple(inter)
        assert records[episode.index].union == tuple(union)
