"""Methods that encode images: once per image in this process, with the counts of an encoding per episode."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from counting_backbone import Counting, feature_method, inputs
from torch.nn import functional

from fssbench.api import EncodingMethod, FeatureMethod, ImageMethod, MethodConfig, Taps
from fssbench.contracts.encoded import Encoded
from fssbench.efficiency.loops import compare_loops
from fssbench.errors import PluginError
from fssbench.evaluation import precision
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.feature_cache import FeatureCache
from fssbench.evaluation.inputs import Inputs
from fssbench.evaluation.settings import Settings


class OnPixels(EncodingMethod, ImageMethod):
    """Compares what a convolution makes of pixels; `calls` has the number of images of each call of `encode`."""

    def __init__(self, config, backbone=None):
        super().__init__(config, backbone)
        self.conv = torch.nn.Conv2d(3, 16, 3, stride=2, padding=1)
        with torch.no_grad():
            self.conv.weight.copy_(torch.linspace(-1, 1, self.conv.weight.numel()).view_as(self.conv.weight))
        self.calls = []

    def encode(self, images):
        self.calls.append(len(images))
        return {"small": self.conv(images)}

    def match(self, query, support, support_mask):
        assert query.keys() == support.keys() == {"small"}
        size = support_mask.shape[-2:]
        near = (query["small"] - support["small"].mean(1)).abs().mean(1, keepdim=True)
        fg = support_mask.mean(dim=1, keepdim=True) - 0.02 * functional.interpolate(near, size)
        return torch.cat([-fg, fg], dim=1)


class OnFeatures(OnPixels, FeatureMethod):
    """The same from the features of a backbone."""

    @property
    def taps(self):
        return Taps(("half",), ("half",))

    def encode(self, images):
        return super().encode(images["half"])


def make(null, cls=OnPixels, *, name="encodes", backbone=None, **attributes):
    card = null.base.card.model_copy(update={"name": name, "backbone": "counting" if backbone else "none"})
    return type(name.title(), (cls,), {"card": card, **attributes})(MethodConfig(), backbone)


def list_images(plan):
    return {item for episode in plan for item in (episode.query, *episode.supports)}


@pytest.mark.parametrize("shot", [1, 3])
@pytest.mark.parametrize("on_features", [False, True])
def test_an_image_is_encoded_once_and_the_counts_are_those_of_every_episode_by_itself(
    null, shot, on_features
):
    plan, backbone = null.plan(20, shot=shot), Counting() if on_features else None
    method = make(null, OnFeatures if on_features else OnPixels, backbone=backbone)
    (once,) = null.run("once", plan, method, isolate=False)
    assert method.calls == [1] * len(list_images(plan))
    method.calls.clear()
    (bare,) = null.run("bare", plan, method, isolate=False, cache_mb=0)
    assert method.calls == [1] * len(plan) * (1 + shot)
    method.calls.clear()
    (apart,) = null.run("apart", plan, method, isolate=True)  # the other process encodes in each episode
    assert method.calls == []
    assert null.read_results(once.path) == null.read_results(bare.path) == null.read_results(apart.path)
    assert 0 < once.score.miou < 100


@pytest.mark.parametrize("on_features", [False, True])
def test_in_bfloat16_a_process_of_its_own_reads_and_matches_the_same(null, on_features, monkeypatch):
    """What `encode` reads and `match` reads has the same types, and so the masks are the same to the pixel."""
    monkeypatch.setattr(precision, "_cpu_computes_bfloat16", lambda: True)

    seen: set[str] = set()

    def encode(self, images):
        maps = images["half"] if on_features else images
        fine = (997 * maps).sin()  # moves by much if its input is rounded
        assert maps.dtype == torch.float32
        return {"small": self.conv(maps) + self.conv(fine)}

    def match(self, query, support, support_mask):
        seen.add(str(query["small"].dtype))
        waves = (997 * (query["small"] - support["small"].mean(1))).sin().mean(1, keepdim=True)
        fg = functional.interpolate(waves, support_mask.shape[-2:]) + 0.1 * support_mask.mean(1, keepdim=True)
        return torch.cat([-fg, fg], dim=1)

    cls, backbone = (OnFeatures, Counting()) if on_features else (OnPixels, None)
    method = make(null, cls, backbone=backbone, encode=encode, match=match)
    plan = null.plan(8, shot=2)
    here, apart = (
        null.run(str(isolate), plan, method, isolate=isolate, precision="bf16", save_masks=True)[0]
        for isolate in (False, True)
    )
    assert null.read_results(here.path) == null.read_results(apart.path)
    masks = [sorted(path.read_bytes() for path in (run.path / "masks").iterdir()) for run in (here, apart)]
    assert masks[0] == masks[1]
    assert len(set(masks[0])) > 1
    assert seen == {"torch.bfloat16", "torch.float32"}, "the run, and its episodes in float32"


def test_what_is_encoded_is_not_extracted_twice_for_another_method(null):
    plan, backbone = null.plan(30), Counting()
    method, plain = make(null, OnFeatures, backbone=backbone), feature_method(null, "plain", backbone, "half")
    for methods in ((method, plain), (plain, method)):
        null.run(methods[0].card.name, plan, *methods, isolate=False)
    assert backbone.images == 2 * len(list_images(plan))
    assert method.calls == 2 * [1] * len(list_images(plan))


def test_only_what_is_encoded_is_held_if_nothing_else_is_read(null):
    plan, cache, backbone = null.plan(10), FeatureCache(1 << 20), Counting()
    method = make(null, OnFeatures, backbone=backbone)
    evaluate_all([method], plan, Settings(out=null.folder / "runs", panels=0, isolate=False), cache=cache)
    assert {tuple(held.maps) for held in cache._cached.values()} == {("small",)}
    assert len(cache._cached) == len(list_images(plan))
    evaluate_all(
        [method], null.plan(10, shot=2), Settings(out=null.folder / "more", isolate=False), cache=cache
    )
    assert backbone.images == len(list_images(plan) | list_images(null.plan(10, shot=2)))


def test_other_weights_encode_anew(null):
    plan, cache, method = null.plan(10), FeatureCache(1 << 20), make(null)
    evaluate_all([method], plan, Settings(out=null.folder / "first", isolate=False), cache=cache)
    with torch.no_grad():
        method.conv.weight.mul_(-1)
    evaluate_all([method], plan, Settings(out=null.folder / "second", isolate=False), cache=cache)
    assert len(method.calls) == 2 * len(list_images(plan))


def test_a_method_that_adapts_gets_images(null):
    plan = null.plan(4)
    seen = []

    def adapt(self, query, support, support_mask, *, generator, steps):
        seen.append(isinstance(query, torch.Tensor))
        return self.logits

    method = make(null, steps=property(lambda _: 1), adapt=adapt)
    null.run("runs", plan, method, isolate=False, repeated=0)
    assert seen == [True] * len(plan)


def test_batches_hold_what_was_encoded(null):
    plan, method = null.plan(11, shot=2), make(null)
    (one,) = null.run("one", plan, method, isolate=False)
    encoded = len(method.calls)
    (many,) = null.run("many", plan, method, batch=4)
    assert [r.inter for r in null_records(one)] == [r.inter for r in null_records(many)]
    assert max(method.calls[encoded : 2 * encoded]) == 1


def null_records(run):
    from fssbench.runs.store import read_run

    return [record for _, record in sorted(read_run(run.path).records.items())]


def test_inputs_give_encodings_by_name_in_the_shapes_of_features(null):
    plan, method = null.plan(2, shot=3), make(null)
    dataset = inputs(null).dataset
    given = Inputs(dataset, 16, torch.device("cpu"), FeatureCache(1 << 20), encoding=[method])
    given.expect([method], plan.episodes)
    query, support, mask = given.of(method, plan[0])
    assert isinstance(query, Encoded)
    assert query["small"].shape == (1, 16, 8, 8)
    assert support["small"].shape == (1, 3, 16, 8, 8)
    images = inputs(null)
    images.expect([method], plan.episodes)
    plain = images.of(method, plan[0])
    assert torch.equal(method.match(query, support, mask), method.logits(*plain))


def raises(self, images):
    raise ValueError("lost")


def writes(self, images):
    images.mul_(2)
    return {"small": images}


SHAPES = iter(range(2, 100))
FAULTS = [
    (raises, "raised ValueError: lost"),
    (writes, "changed its input in place"),
    (lambda self, images: images, "returned Tensor, expected maps by name"),
    (
        lambda self, images: {"small": images[0]},
        r"returned \(3, 16, 16\) as 'small', expected \(1, C, h, w\)",
    ),
    (lambda self, images: {"small": None}, "returned NoneType as 'small'"),
    (
        lambda self, images: {"small": images.new_zeros(1, next(SHAPES), 4, 4)},
        "for another image of this size",
    ),
]


@pytest.mark.parametrize(
    ("encode", "reason"), FAULTS, ids=["raises", "writes", "tensor", "rank", "none", "shapes"]
)
def test_a_faulty_encoding_ends_its_method_alone_and_names_the_image(null, encode, reason):
    plan = null.plan(5)
    bad = make(null, name="bad", encode=encode)
    done, failed = evaluate_all([bad, null.method()], plan, Settings(out=null.folder / "runs", isolate=False))
    ((method, error),) = failed
    assert method is bad
    assert isinstance(error, PluginError)
    assert len(done) == 1
    with pytest.raises(PluginError, match=rf"episode \d+: method 'bad', image '.*': .*{reason}"):
        raise error


def test_an_inspected_method_gets_images(null):
    plan, seen = null.plan(2), []
    null.run("runs", plan, make(null), isolate=False, inspect=lambda shown: seen.append(shown.query))
    assert [isinstance(each, torch.Tensor) for each in seen] == [True, True]


def test_encodings_of_a_deleted_method_are_not_taken_for_those_of_another(null):
    plan, cache = null.plan(3), FeatureCache(1 << 20)
    for weight in (1.0, -1.0):
        method = make(null)
        with torch.no_grad():
            method.conv.weight.fill_(weight)
        out = null.folder / str(weight)
        evaluate_all([method], replace(plan), Settings(out=out, isolate=False), cache=cache)
        assert len(method.calls) == len(list_images(plan))


def test_the_floor_counts_an_encoding_once_per_image(null):
    plan = null.plan(12, shot=2)
    each = compare_loops(
        make(null), plan, Settings(out=null.folder / "runs", isolate=False), plain_episodes=2
    )
    convolution = 2 * 8 * 8 * 16 * 3 * 3 * 3
    assert each.images == len(list_images(plan)) < 36
    assert each.floor_seconds * each.peak * len(plan) == pytest.approx(each.images * convolution)
    assert each.different_pixels == 0


class Resuming(Counting):
    """A backbone whose last stage is one convolution."""

    def resume(self, features, after, taps):
        return {tap: functional.conv2d(features, torch.ones(4, 3, 1, 1)) for tap in taps}


class OnObjects(FeatureMethod):
    """Runs the last stage of its backbone on the object of one support, as PFENet does for its prior mask."""

    @property
    def taps(self):
        return Taps(("half",), ("half",))

    def logits(self, query, support, support_mask):
        objects = support["half"][:, 0] * functional.avg_pool2d(support_mask[:, :1], 2)
        fg = self.backbone.resume(objects, "half", ("quarter",))["quarter"].mean(dim=1, keepdim=True)
        return torch.cat([-fg, fg], dim=1)


def test_the_floor_counts_what_the_backbone_does_in_a_head_once_per_episode(null):
    plan = null.plan(12)
    method = make(null, OnObjects, name="resumes", backbone=Resuming())
    each = compare_loops(method, plan, Settings(out=null.folder / "runs", isolate=False), plain_episodes=2)
    convolution = 2 * 8 * 8 * 4 * 3
    assert each.floor_seconds * each.peak * len(plan) == pytest.approx(len(plan) * convolution)
