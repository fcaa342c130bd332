"""The training itself: resume, selection, features, manifests and marks."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from trainings import FILES, Stopped, same, stop_after

import fssbench
from fssbench.contracts.checkpoint import TrainingManifest
from fssbench.contracts.methods import collect_method_weights
from fssbench.contracts.provenance import Provenance
from fssbench.errors import PluginError
from fssbench.files.state_dicts import read_safetensors, read_state_dict
from fssbench.loading import checkpoints
from fssbench.loading.contamination import make_image_ids
from fssbench.runs.early_marks import make_training_marks
from fssbench.training.curves import read_curve
from fssbench.training.episodes import collect_training_set
from fssbench.training.trainer import CHECKPOINT, CURVE, HELD_OUT_IMAGES, PICTURE


def test_loss_falls_and_the_checkpoint_is_the_best(training, tmp_path):
    method, done = training(steps=40, val_every=5)
    points = read_curve(tmp_path / "out" / CURVE)
    assert [p.step for p in points] == list(range(1, 41))
    assert points[-1].loss < points[0].loss / 4
    validated = {p.step: p.val_miou for p in points if p.val_miou is not None}
    assert sorted(validated) == list(range(5, 41, 5))
    assert done.best == max(validated.values()) == validated[done.best_step]
    assert done.best > 80
    assert (done.steps, done.computed, done.selection) == (40, 40, HELD_OUT_IMAGES)
    assert not method.training
    assert (tmp_path / "out" / PICTURE).exists()


def test_the_manifest_says_what_it_was_trained_on(training, tmp_path):
    _, done = training(seed=3)
    manifest = checkpoints.read_header(done.checkpoint).manifest.as_stored()
    expected = {
        "benchmark": "shapes",
        "dataset": "shapes",
        "split": "trn",
        "classes": [0, 1, 2],
        "class_names": ["red", "green", "blue"],
        "images": 90,
        "batch": 4,
        "episodes": 4 * done.best_step,
        "steps": done.best_step,
        "steps_planned": 12,
        "seed": 3,
        "selection": HELD_OUT_IMAGES,
        "validation_miou": done.best,
        "backbone": None,
    }
    assert {k: manifest[k] for k in expected} == expected
    assert len(manifest["data_sha256"]) == 64
    assert manifest["recipe"]["optimizer"] == "adam"


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_stopped_anywhere_it_ends_at_the_same_bits(training, tmp_path, average):
    """With an average before, at and after steps that store and validate; the slow case stops after each step."""
    same_options = {"config": {"norm": True, "dropout": 0.3}, "average": average}
    training(out="whole", **same_options)
    for stop in (1, 3, 4, 6, 8, 11) if average else range(1, 12):
        out = f"stopped{stop}"
        with pytest.raises(Stopped):
            training(out=out, **same_options, watch=stop_after(stop))
        _, done = training(out=out, **same_options)
        assert done.computed < 12 if stop >= 3 else done.computed == 12
        assert same(tmp_path / out, tmp_path / "whole"), stop


def test_the_average_of_the_weights_is_validated_and_kept(training, tmp_path):
    """Against averages written down from outside, after each step."""
    kept = []
    method, done = training(
        average=0.6,
        val_episodes=0,
        steps=8,
        watch=lambda _: kept.append(head_of(tmp_path / "out" / "state.safetensors")),
        save_every=1,
    )
    start = fssbench.load_method("learner", untrained=True, seed=0)
    expected = {k: v.clone() for k, v in collect_method_weights(start).items()}
    for step, weights in enumerate(kept, start=1):
        decay = min(0.6, step / (step + 9))
        expected = {k: decay * v + (1 - decay) * weights[k] for k, v in expected.items()}
    stored, _ = read_safetensors(done.checkpoint)
    assert stored.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(stored[name], value)
        assert not torch.equal(stored[name], collect_method_weights(method)[name]), "not the last weights"
    assert checkpoints.read_header(done.checkpoint).manifest.average == 0.6


def head_of(state):
    tensors, _ = read_safetensors(state)
    return {k.removeprefix("head."): v for k, v in tensors.items() if k.startswith("head.")}


def test_again_after_the_end_changes_nothing(training, tmp_path):
    _, first = training()
    before = {name: (tmp_path / "out" / name).read_bytes() for name in FILES}
    _, again = training()
    assert again == replace(first, computed=0)
    assert before == {name: (tmp_path / "out" / name).read_bytes() for name in FILES}


def test_seeds_differ(training, tmp_path):
    training(out="a", seed=0)
    training(out="b", seed=1)
    one, other = (read_state_dict(tmp_path / o / CHECKPOINT) for o in "ab")
    assert not torch.equal(one["embed.0.weight"], other["embed.0.weight"])


@pytest.mark.parametrize("split", [{"batch": 2, "accumulate": 2}, {"batch": 1, "accumulate": 4}])
def test_accumulated_parts_follow_the_whole_batch(training, tmp_path, split):
    training(out="whole", batch=4)
    training(out="parts", **split)
    one, other = (read_curve(tmp_path / o / CURVE) for o in ("whole", "parts"))
    assert [p.loss for p in one] == pytest.approx([p.loss for p in other], rel=1e-4)


def test_the_caller_keeps_its_generators(training):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    training(steps=2, val_episodes=0, config={"dropout": 0.5})
    assert torch.equal(torch.rand(1), expected)


def test_without_validation_the_last_step_is_kept(training, tmp_path):
    method, done = training(val_episodes=0)
    assert (done.best, done.selection) == (None, "last step")
    stored = read_state_dict(tmp_path / "out" / CHECKPOINT)
    assert all(torch.equal(v, stored[k]) for k, v in method.state_dict().items())


def test_epochs_count_image_class_pairs(training, shapes):
    pairs = collect_training_set("shapes", data=shapes).pairs
    _, done = training(epochs=1, batch=8, val_episodes=0)
    assert done.steps == math.ceil(pairs / 8) > 8


def test_bfloat16_trains_too(training, tmp_path):
    _, done = training(amp=True, steps=30)
    assert read_curve(tmp_path / "out" / CURVE)[-1].loss < 0.4
    assert checkpoints.read_header(done.checkpoint).manifest.amp is True


def test_half_precision_is_of_the_checkpoint_alone(training, tmp_path):
    method, done = training(val_episodes=0, half=True)
    whole = dict(method.named_parameters())
    stored = read_state_dict(done.checkpoint)
    assert {v.dtype for k, v in stored.items() if k in whole} == {torch.float16}
    assert all(torch.equal(stored[k], v.detach().half()) for k, v in whole.items())
    training(out="other", val_episodes=0)
    state = "state.safetensors"
    assert (tmp_path / "out" / state).read_bytes() == (tmp_path / "other" / state).read_bytes()


def test_optimiser_and_schedule_may_be_chosen(training, tmp_path):
    _, done = training(optimizer="sgd", schedule="poly", learning_rate=0.5, val_episodes=0)
    recipe = checkpoints.read_header(done.checkpoint).manifest.recipe
    assert (recipe["optimizer"], recipe["schedule"], recipe["learning_rate"]) == ("sgd", "poly", 0.5)
    rates = [p.learning_rate for p in read_curve(tmp_path / "out" / CURVE)]
    assert rates[0] == 0.5
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.1


# --- marks ---


def test_selection_on_test_episodes_marks_every_run(training, shapes, tmp_path):
    _, done = training(select_on_test=True)
    manifest = checkpoints.read_header(done.checkpoint).manifest
    assert manifest.selection == done.selection == "test episodes"
    loaded = fssbench.load_method("learner", checkpoint=done.checkpoint)
    plan = fssbench.plan("shapes", data=shapes, episodes=3)
    assert make_training_marks(loaded, plan) == ["selected on test", "trained on test classes (3)"]
    result = fssbench.evaluate(loaded, plan, out=tmp_path / "runs")
    context = json.loads((result.path / "manifest.json").read_text())["context"]
    assert context["marks"][-2:] == ["selected on test", "trained on test classes (3)"]
    met = checkpoints.read_header(done.checkpoint).manifest.image_ids
    assert len(met) == done.images
    training_of_it = loaded.provenance.training
    more = training_of_it.changed(image_ids=(*met, *make_image_ids({e.query for e in plan.episodes[:2]})))
    loaded.provenance = loaded.provenance.changed(training=more)
    (mark,) = make_training_marks(loaded, plan)[2:]
    shown = sum(e.query in {e.query for e in plan.episodes[:2]} for e in plan.episodes)
    assert mark == f"trained on test images ({shown} of {len(plan.episodes)} queries)"


def test_selection_on_held_out_images_never_reads_a_test_image(training, monkeypatch):
    from fssbench.plugins.registry import DATASETS

    cls, seen = DATASETS.get("shapes"), []
    plain = cls.image
    monkeypatch.setattr(cls, "image", lambda self, item: seen.append(item) or plain(self, item))
    training()
    assert seen
    assert all(item.startswith("trn/") for item in seen)


# --- features ---


def test_features_are_computed_once_an_image_and_kept_on_disk(training, tmp_path, monkeypatch):
    from fssbench.backbones import efficientnet

    backbone = efficientnet.EfficientNetLite0
    calls, plain = [], backbone.forward
    monkeypatch.setattr(backbone, "forward", lambda self, *a: calls.append(1) or plain(self, *a))
    config = {"backbone": "efficientnet-lite0", "weights": "random"}
    _, done = training("onfeatures", "a", config=config, steps=20)
    cached = len(calls)
    assert cached <= done.images
    calls.clear()
    training("onfeatures", "b", config=config, steps=20, cache_mb=0)
    assert len(calls) > 2 * cached
    assert read_curve(tmp_path / "a" / CURVE) == read_curve(tmp_path / "b" / CURVE)
    disk = {"feature_cache": tmp_path / "features", "config": config, "steps": 4}
    training("onfeatures", "c", **disk)
    calls.clear()
    training("onfeatures", "d", **disk)
    assert not calls
    assert same(tmp_path / "c", tmp_path / "d")


def test_a_classifier_is_told_the_numbers_of_all_classes(training):
    """Colours by class id: red 1, green 2, blue 3; nothing to leave out."""
    method, done = training(name="sorter", steps=4, val_episodes=0)
    assert done.loss > 0
    for query, target, ignore in method.loss_inputs:
        assert target.dtype == torch.int64
        assert not ignore.any()
        for image, numbers in zip(query, target, strict=True):
            (number,) = numbers[numbers > 0].unique().tolist()
            inside = image[:, numbers == number].mean(dim=1)
            assert int(inside.argmax()) == number - 1


def test_an_episode_comes_with_the_number_of_its_class(training):
    method, _ = training(name="rememberer", steps=4, val_episodes=0)
    for query, target, numbers in method.loss_inputs:
        colours = [
            int(image[:, mask].mean(dim=1).argmax()) for image, mask in zip(query, target, strict=True)
        ]
        assert numbers.tolist() == [colour + 1 for colour in colours]


def test_a_labelled_loss_is_told_the_mask_and_all_classes_of_the_query(training):
    method, _ = training(name="labeller", steps=3, val_episodes=0)
    for target, numbers, labels in method.loss_inputs:
        assert target.dtype == torch.bool
        for mask, number, classes in zip(target, numbers, labels, strict=True):
            assert torch.equal(classes == number, mask)
            assert 0 <= classes.min() <= classes.max() <= 3


def test_a_method_that_reads_the_class_name_is_told_it_in_training_and_validation(training):
    method, _ = training(name="prompted", steps=2, val_episodes=4)
    names = {"red", "green", "blue"}
    assert {is_training for is_training, _ in method.told} == {True, False}
    for is_training, told in method.told:
        assert set(told) <= names
        assert len(told) == (4 if is_training else 1)


def test_what_a_loss_remembers_is_resumed_and_is_in_no_checkpoint(training, tmp_path, monkeypatch):
    """Stopped by an error inside a loss, after the loss has remembered it."""
    whole, _ = training(name="rememberer", out="whole", val_episodes=0)
    monkeypatch.setenv("TRAIN_NAN", "6")
    with pytest.raises(PluginError, match="step 6"):
        training(name="rememberer", val_episodes=0)
    monkeypatch.delenv("TRAIN_NAN")
    again, done = training(name="rememberer", val_episodes=0)
    assert done.computed == 12 - 5
    assert torch.equal(again.met, whole.met)
    assert same(tmp_path / "out", tmp_path / "whole")
    assert not [name for name in read_state_dict(done.checkpoint) if "met" in name]


def test_parts_learn_at_their_own_rates(training):
    first = fssbench.load_method("sorter", untrained=True, seed=0).state_dict()
    method, _ = training(name="sorter", steps=1, val_episodes=0)
    moved = {k: float((v - first[k]).abs().max()) for k, v in method.state_dict().items()}
    assert all(change == 0 for name, change in moved.items() if name.startswith("embed."))
    assert moved["sort.weight"] == pytest.approx(2 * 0.02, rel=1e-3)  # Adam's first step is the rate


def test_the_manifest_knows_pictures_by_content(training):
    _, done = training()
    manifest = checkpoints.read_header(done.checkpoint).manifest
    assert manifest.content_ids == (), "these pictures have neither id nor file"
    assert len(manifest.image_ids) == done.images


def trained_with(manifest):
    """The attributes of a method that `make_training_marks` reads."""
    return SimpleNamespace(provenance=Provenance(training=TrainingManifest.read_stored(manifest)))


def test_what_a_training_set_differs_in_is_part_of_the_mark(shapes):
    plan = fssbench.plan("shapes", data=shapes, episodes=3)
    for facts, told in (
        (["sample (9 of 90 entries)"], ""),
        (
            [
                "sample (9 of 90 entries)",
                "other lists (pascal trn fold 1: 3 entries, the reference has 3,425)",
            ],
            "; other lists (pascal trn fold 1: 3 entries, the reference has 3,425)",
        ),
        (["other population (13,681 entries, published 13,680)", 5], "; other population (13,681 entries,"),
    ):
        manifest = {"steps": 7, "images": 9, "marks": facts}
        (mark,) = make_training_marks(trained_with(manifest), plan)
        assert mark.startswith(f"part-trained (7 steps on 9 images{told}")
    for odd in ([], None, "text", 4):
        manifest = {"steps": 7, "images": 9, "marks": odd}
        assert make_training_marks(trained_with(manifest), plan) == []
