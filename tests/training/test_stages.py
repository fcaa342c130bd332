"""Trainings in stages: what each trains, starts from and refuses."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as arrays
from small_backbone import register_small_backbone
from trainings import Stopped, same, stop_after

import fssbench
from fssbench.api import IGNORE, Dataset, DatasetCard
from fssbench.contracts.checkpoint import TrainingManifest
from fssbench.errors import DataError, UsageError
from fssbench.evaluation.feature_cache import FeatureCache
from fssbench.evaluation.inputs import Inputs
from fssbench.files.hashing import hash_weights_file
from fssbench.files.state_dicts import read_safetensors
from fssbench.loading import checkpoints
from fssbench.plugins.registry import METHODS
from fssbench.training.curves import read_curve
from fssbench.training.stages import choose_start_weights, list_seen_pictures, load_start
from fssbench.training.trainer import CURVE, LAST_STEP

SMALL = {"backbone": "small", "weights": "random"}
"""Four convolutions, so that a state takes no time to store."""


@pytest.fixture
def staged(training):
    """Train the staged learner."""
    register_small_backbone()
    return partial(training, name="staged", config=SMALL)


@pytest.fixture
def sorting(staged):
    """Train its first stage."""

    def run(out="sorting", **settings):
        return staged(stage="sorting", out=out, **settings)

    return run


def test_a_stage_trains_its_part_and_the_backbone_and_nothing_else(sorting, tmp_path):
    before = fssbench.load_method("staged", **SMALL, untrained=True).state_dict()
    method, done = sorting()
    moved = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    assert {name for name in moved if not name.startswith("backbone.")} == {"sort.weight", "sort.bias"}
    assert any(name.startswith("backbone.") for name in moved)
    assert not [name for name in moved if name.startswith("embed.")]
    losses = [point.loss for point in read_curve(tmp_path / "sorting" / CURVE)]
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    manifest = checkpoints.read_header(done.checkpoint).manifest
    assert (manifest.stage, manifest.start, manifest.selection) == ("sorting", None, LAST_STEP)
    assert done.best is None


def test_the_last_training_starts_with_the_stage_before_and_leaves_it_alone(sorting, staged):
    _, first = sorting()
    method, last = staged(start=first.checkpoint)
    start, end = (read_safetensors(done.checkpoint)[0] for done in (first, last))
    assert start.keys() == end.keys()
    moved = {name for name in start if not torch.equal(start[name], end[name])}
    assert "embed.weight" in moved
    assert moved <= {"embed.weight", "embed.bias"}
    manifest = checkpoints.read_header(last.checkpoint).manifest
    assert manifest.stage is None
    assert manifest.start_sha256 == hash_weights_file(first.checkpoint)
    assert manifest.start_training == checkpoints.read_header(first.checkpoint).manifest.training
    loaded = fssbench.load_method("staged", **SMALL, checkpoint=last.checkpoint)
    assert all(torch.equal(value, end[name]) for name, value in loaded.state_dict().items())
    assert loaded.provenance.weights_sha256 == method.backbone.weights_sha256
    assert (
        loaded.provenance.weights_sha256
        != fssbench.load_method("staged", **SMALL, untrained=True).provenance.weights_sha256
    )


@pytest.mark.parametrize("stop", [4, 11])
def test_a_stage_stopped_anywhere_ends_at_the_same_bits(sorting, tmp_path, stop):
    sorting(out="whole")
    with pytest.raises(Stopped):
        sorting(watch=stop_after(stop))
    _, done = sorting()
    assert done.computed < 12
    assert same(tmp_path / "sorting", tmp_path / "whole")


def test_nothing_is_evaluated_with_the_checkpoint_of_a_stage(sorting):
    _, done = sorting(steps=1)
    for force in (False, True):
        with pytest.raises(
            DataError, match=f"of stage 'sorting'.*train --method staged --start {done.checkpoint}"
        ):
            fssbench.load_method("staged", **SMALL, checkpoint=done.checkpoint, force=force)


def test_starts_that_do_not_fit_are_refused(sorting, staged, training, tmp_path):
    _, first = sorting(steps=1)
    _, last = staged(out="last", start=first.checkpoint, steps=1, val_episodes=0)
    for settings, error, words in (
        ({}, UsageError, "starts from a checkpoint of its stage 'sorting'.*--stage sorting"),
        ({"start": tmp_path / "none.safetensors"}, DataError, "none.safetensors, does not exist"),
        ({"start": last.checkpoint}, DataError, "is of the last training.*not of its stage 'sorting'"),
        ({"start": first.checkpoint, "stage": "sorting"}, UsageError, "starts from the seed.*leave it out"),
        ({"start": first.checkpoint, "stage": "sortin"}, UsageError, "sorting"),
        ({"stage": "sorting", "select_on_test": True}, UsageError, "selects nothing"),
    ):
        with pytest.raises(error, match=words):
            staged(out="refused", **settings)
    with pytest.raises(UsageError, match="'learner' is trained in one go"):
        training(stage="sorting", out="refused")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": (0, 1), "class_names": ("red", "green")}, r"other classes of shapes: blue \(id 2\)"),
        ({"classes": (0, 1, 2, 9), "class_names": ("red", "green", "blue", "novel")}, r"novel \(id 9\)"),
        ({"dataset": "pascal"}, "was trained on pascal, and this training is on shapes"),
    ],
)
def test_a_base_network_of_other_classes_is_refused(sorting, staged, tmp_path, change, words):
    """Such as that of another fold, which has seen test classes of this one."""
    method, done = sorting(steps=1)
    manifest = checkpoints.read_header(done.checkpoint).manifest.changed(**change)
    checkpoints.save(method, tmp_path / "other.safetensors", manifest)
    with pytest.raises(DataError, match=words):
        staged(start=tmp_path / "other.safetensors")


def test_a_start_that_brings_the_backbone_replaces_weights(shapes, tmp_path):
    cls = METHODS.get("staged")
    assert choose_start_weights(cls, None, "file.pth") == "file.pth"
    assert choose_start_weights(cls, tmp_path / "start", None) == "random"
    with pytest.raises(UsageError, match=r"--weights names file.pth.*leave --weights out"):
        choose_start_weights(cls, tmp_path / "start", "file.pth")


def test_pictures_of_the_stage_before_count_as_seen(shapes):
    class Before:
        manifest = TrainingManifest(image_ids=("b", "c"), content_ids=("z",))

    assert list_seen_pictures(None, ["b", "a"], []) == {"image_ids": ("b", "a"), "content_ids": ()}
    seen = list_seen_pictures(Before(), ["a", "b"], ["y"])
    assert seen == {"image_ids": ("a", "b", "c"), "content_ids": ("y", "z")}


def test_no_start_is_loaded_where_none_is_named(shapes):
    assert load_start(fssbench.load_method("learner", untrained=True), None, None) is None


class Labelled(Dataset):
    """One image, whose label map is drawn by the test: class c has value c + 1, and 255 is unknown."""

    card = DatasetCard(
        name="labelled",
        title="Labelled",
        domain="none",
        folders=("labelled",),
        url="none",
        licence="none",
        citation="none",
        layout="none",
    )
    drawn: np.ndarray

    def classes(self):
        return {c: str(c) for c in range(6)}

    def pool(self, split):
        raise NotImplementedError

    def files(self, item):
        return ()

    def image(self, item):
        raise NotImplementedError

    def label(self, item):
        return self.drawn

    def mask(self, item, class_id):
        mask = (self.drawn == class_id + 1).astype(np.uint8)
        mask[self.drawn == IGNORE] = IGNORE
        return mask

    def shown_classes(self, item):
        return tuple(int(v) - 1 for v in np.unique(self.drawn) if v not in (0, IGNORE))

    def verify(self):
        raise NotImplementedError

    @classmethod
    def miniature(cls, data, seed):
        raise NotImplementedError


VALUES = [*range(7), IGNORE]


@given(
    label=arrays.arrays(np.uint8, (8, 8), elements=st.sampled_from(VALUES)),
    base=st.sets(st.integers(0, 5), min_size=1),
    listed=st.sets(st.integers(0, 5)),
    other=st.sampled_from(VALUES),
)
def test_no_pixel_of_a_novel_class_reaches_a_base_learner(label, base, listed, other):
    """Whatever lists name: its pixels are left out, and what stands there makes no difference."""

    def teach(drawn, named):
        dataset = Labelled(None)
        dataset.drawn = drawn
        inputs = Inputs(dataset, 8, torch.device("cpu"), FeatureCache(0))
        inputs.reader._check_size = lambda item, size: None  # there is no image to compare with
        numbers = {class_id: i for i, class_id in enumerate(sorted(base), start=1)}
        return *inputs.numbered("only", named & set(dataset.shown_classes("only")), numbers), numbers

    label[0, 0] = min(base) + 1  # a query shows its class
    labels, ignored, numbers = teach(label, listed)
    novel = np.isin(label, [c + 1 for c in range(6) if c not in base])
    assert ignored[novel].all()
    assert not labels[novel].any()
    assert np.array_equal(ignored, novel | (label == IGNORE))
    for class_id, number in numbers.items():
        assert np.array_equal(labels == number, label == class_id + 1)
    if other == IGNORE or other - 1 not in {-1, *base}:
        again, left_out, _ = teach(np.where(novel, other, label).astype(np.uint8), listed)
        assert np.array_equal(again, labels)
        assert np.array_equal(left_out, ignored)
