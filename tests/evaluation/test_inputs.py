"""What methods are given: pixels or features, masks, targets; each image extracted once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from counting_backbone import Counting, feature_method, inputs

from fssbench.errors import DataError
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.feature_cache import FeatureCache
from fssbench.evaluation.inputs import Inputs
from fssbench.evaluation.settings import Settings
from fssbench.images.reading import to_input
from fssbench.plugins.child_process import can_fork
from fssbench.plugins.registry import DATASETS
from fssbench.runs.store import read_run


def test_each_image_is_extracted_once_for_all_methods_of_a_backbone(null):
    backbone, plan = Counting(), null.plan(40)
    methods = (
        feature_method(null, "one", backbone, "half"),
        feature_method(null, "two", backbone, "half", "quarter"),
    )
    done = null.run("both", plan, *methods)
    images = {i for e in plan for i in (e.query, *e.supports)}
    assert backbone.images == len(images)
    assert backbone.asked == {("half", "quarter")}
    # the same bytes alone, and without a cache
    for method, together in zip(methods, done, strict=True):
        (alone,) = null.run("alone", plan, method)
        (bare,) = null.run("bare", plan, method, cache_mb=0)
        assert (
            null.read_results(alone.path) == null.read_results(together.path) == null.read_results(bare.path)
        )


def test_without_a_budget_every_request_is_computed(null):
    backbone, plan = Counting(), null.plan(10, shot=3)
    null.run("runs", plan, feature_method(null, "one", backbone, "half"), cache_mb=0)
    assert backbone.images == 10 * 4


def test_backbones_of_other_weights_do_not_share(null):
    plan = null.plan(10)
    first, second = Counting(1.0), Counting(2.0)
    null.run(
        "runs", plan, feature_method(null, "one", first, "half"), feature_method(null, "two", second, "half")
    )
    images = {i for e in plan for i in (e.query, *e.supports)}
    assert first.images == second.images == len(images)


def test_cache_of_several_plans_mixes_no_sizes_and_keeps_its_budget(null):
    backbone, plan = Counting(), null.plan(30)
    method, cache = feature_method(null, "one", backbone, "half"), FeatureCache(1 << 24)
    settings = Settings(out=null.folder / "runs", panels=0)
    plans = plan, null.plan(30, shot=2), replace(plan, size=32), plan.head(20)
    for number, each in enumerate(plans):
        before = backbone.images
        ((shared,), _) = evaluate_all([method], each, settings, cache=cache)
        assert backbone.images - before <= len({i for e in each for i in (e.query, *e.supports)})
        assert cache.held <= cache.budget
        (own,) = null.run(f"own{number}", each, method)
        assert null.read_results(own.path) == null.read_results(shared.path)


def test_broken_feature_method_leaves_the_others_numbers_alone(null):
    backbone, plan = Counting(), null.plan(20)
    good = feature_method(null, "good", backbone, "half")
    (clean,) = null.run("clean", plan, good)
    bad = feature_method(null, "bad", backbone, "half")
    calls = []

    def logits(query, support, mask):
        calls.append(1)
        query["half"].numpy().fill(7)
        if len(calls) == 4:
            raise ValueError
        return torch.zeros(1, 2, 4, 4)

    bad.logits = logits
    done, failed = evaluate_all([bad, good], plan, Settings(out=null.folder / "both", panels=0))
    assert len(failed) == 1
    assert null.read_results(done[0].path) == null.read_results(clean.path)


def test_pixels_masks_and_shapes(null):
    given, method = inputs(null), null.method()
    plan = null.plan(1, shot=2)
    given.expect([method], plan)
    query, support, mask = given.of(method, plan[0])
    assert (query.shape, support.shape, mask.shape) == ((1, 3, 16, 16), (1, 2, 3, 16, 16), (1, 2, 16, 16))
    assert query.dtype == support.dtype == mask.dtype == torch.float32
    assert torch.equal(query[0], to_input(given.dataset.image(plan[0].query), 16))
    for k, item in enumerate(plan[0].supports):
        assert torch.equal(support[0, k], to_input(given.dataset.image(item), 16))
        assert torch.equal(mask[0, k], torch.from_numpy(given.dataset.mask(item, 0)[::2, ::2]).float())
    assert set(mask.unique().tolist()) <= {0.0, 1.0}


def test_an_image_method_on_a_backbone_is_given_pixels(null):
    method = null.base(null.base.Config())
    method.backbone = Counting()
    plan, given = null.plan(1), inputs(null)
    given.expect([method], plan.episodes)
    query, support, _ = given.of(method, plan.episodes[0])
    assert query.shape == (1, 3, 16, 16)
    assert support.shape[2:] == (3, 16, 16)
    assert method.backbone.images == 0


def test_ignored_pixels_are_background_in_a_support_and_void_in_a_query(null, monkeypatch):
    cls = DATASETS.get("nulldata")
    plain = cls.mask

    def void(self, item, class_id):
        mask = plain(self, item, class_id).copy()
        mask[:6] = 255
        return mask

    monkeypatch.setattr(cls, "mask", void)
    given, method, plan = inputs(null), null.method(), null.plan(1)
    given.expect([method], plan)
    mask = given.of(method, plan[0])[2]
    assert not mask[0, 0, :3].any()
    for original, rows, side in ((False, 3, 16), (True, 6, 32)):
        target = given.target(plan[0], original=original)
        assert target.foreground.shape == (side, side)
        assert target.ignored is not None
        assert target.ignored[:rows].all()
        assert not target.ignored[rows:].any()
        assert not (target.foreground & target.ignored).any()
        assert target.pixels == np.count_nonzero(target.foreground)


def test_target_without_void_has_none(null):
    given, plan = inputs(null), null.plan(1)
    target = given.target(plan[0], original=False)
    assert target.ignored is None
    assert target.pixels == 64


@pytest.mark.parametrize("error", [DataError("lost"), OSError("gone"), MemoryError("much")])
def test_errors_name_episode_and_item(null, monkeypatch, error):
    def image(self, item):
        raise error

    monkeypatch.setattr(DATASETS.get("nulldata"), "image", image)
    given, method, plan = inputs(null), null.method(), null.plan(1)
    given.expect([method], plan)
    with pytest.raises(DataError, match=f"episode 0: .*{error}"):
        given.of(method, plan[0])


@pytest.mark.parametrize("size", [16, 300])  # copies, and pages that are renewed
@pytest.mark.parametrize("shot", [1, 2])
def test_what_is_written_to_inputs_reaches_nobody_else(null, size, shot):
    given, plan = inputs(null, size, 8 << 20), null.plan(1, shot=shot, size=size)
    method, other = null.method(), null.method("copy-mask")
    given.expect([method, other], [plan[0]] * 3)
    first = given.of(method, plan[0])
    kept = [t.clone() for t in first]
    for reader in (method, other, method):
        for tensor in given.of(method, plan[0]):
            tensor.numpy().fill(5)
            tensor.mul_(3)
        assert all(torch.equal(a, b) for a, b in zip(given.of(reader, plan[0]), kept, strict=True))


@pytest.mark.skipif(not can_fork(), reason="pages are renewed on Linux")
def test_a_large_image_that_recurs_is_lent_to_methods_of_others(null):
    given, plan = inputs(null, 300, 8 << 20), null.plan(1, size=300)
    method = null.method()
    given.expect([method], [plan[0]] * 2)
    places = [[tensor.data_ptr() for tensor in given.of(method, plan[0])[:2]] for _ in range(2)]
    held = [given.cache._cached[key].maps["pixels"].data_ptr() for key in given.cache._cached]
    assert places[0] == places[1] == held


def test_a_built_in_method_reads_a_single_image_where_it_is_held(null):
    given, plan = inputs(null), null.plan(1, shot=2)
    method = null.method("copy-mask")
    one = replace(plan[0], supports=plan[0].supports[:1])
    given.expect([method], [one, one, plan[0]])
    places = [[tensor.data_ptr() for tensor in given.of(method, one)[:2]] for _ in range(2)]
    assert places[0] == places[1]
    query, support, _ = given.of(method, plan[0])
    assert query.data_ptr() == places[0][0]
    assert support.data_ptr() != places[0][1]
    assert torch.equal(support[0, 1], to_input(given.dataset.image(plan[0].supports[1]), 16))


def test_counts_at_both_sizes_agree_with_the_stored_target(null):
    plan = null.plan(4)
    for original in (False, True):
        (run,) = null.run("runs", plan, score_size="original" if original else "input")
        given = inputs(null)
        for episode in plan:
            stored = read_run(run.path).records[episode.index]
            assert stored.target == given.target(episode, original=original).pixels


def test_numbered_classes_leave_out_others_and_unknown_pixels(mini):
    """Against the raw label maps of the miniature, where class c has value c + 1 and 255 is unknown."""
    from fssbench.data.location import open_dataset
    from fssbench.images.reading import resize_mask

    dataset = open_dataset("pascal", data=mini)
    entries = dataset.pool("trn").entries
    items = {e.item for e in entries}
    present = {i: sorted({e.class_id for e in entries if e.item == i}) for i in items}
    inputs = Inputs(dataset, 48, torch.device("cpu"), FeatureCache(0))
    left_out = 0
    for item in sorted(items)[:12]:
        raw = resize_mask(np.asarray(dataset.label(item)), 48, 48)
        trained = present[item][:1]
        labels, ignored = inputs.numbered(item, present[item], {trained[0]: 7})
        assert np.array_equal(labels == 7, (raw == trained[0] + 1))
        assert np.array_equal(labels != 7, labels == 0)
        others = (raw != 0) & (raw != trained[0] + 1)  # small objects that no list names among them
        assert np.array_equal(ignored, others)
        left_out += int(others.sum())
    assert left_out > 0


def test_memory_that_runs_out_names_device_image_and_what_to_do(null, monkeypatch):
    def exhausted(self, images, taps):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Counting, "forward", exhausted)
    plan = null.plan(2)
    with pytest.raises(DataError) as caught:
        evaluate_all(
            [feature_method(null, "a", Counting(), "half")], plan, Settings(out=null.folder / "runs")
        )
    assert all(word in str(caught.value) for word in ("cpu", repr(plan[0].query), "--cache-mb", "--size"))
