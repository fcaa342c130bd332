"""Which weights a prediction takes if the user names none."""

from __future__ import annotations

import pytest
from colour_method import NeedsTraining
from messages import error_names

from fssbench.api import DataError, UsageError
from fssbench.loading.weights_choice import MINI_BACKBONE
from fssbench.plugins.registry import METHODS
from fssbench.prediction import method_choice
from fssbench.prediction.method_choice import MethodRequest, choose_backbone, load_requested_method


def test_shipped_checkpoint_of_the_most_classes_is_taken_with_its_size_and_marks():
    loaded = load_requested_method(MethodRequest("pmnet"))
    assert len(loaded.method.provenance.training.classes) == 20
    assert loaded.size == loaded.method.provenance.training.size
    assert any(mark.kind == "part-trained" for mark in loaded.marks)


def test_settings_that_the_shipped_weights_lack_are_refused():
    assert load_requested_method(
        MethodRequest("pmnet", config={"affinity": "cosine"})
    ).method.provenance.training
    with pytest.raises(DataError) as error:
        load_requested_method(MethodRequest("hsnet", config={"width": "32"}))
    assert error_names(error.value, "hsnet", "--checkpoint")
    with pytest.raises(UsageError) as error:
        load_requested_method(MethodRequest("hsnet", config={"widht": "32"}))
    assert error_names(error.value, "width")


def test_method_without_training_takes_its_own_backbone_or_the_one_at_hand_and_says_so(monkeypatch):
    lacking: set[str] = set()

    def explain(backbone, weights):
        return f"{backbone} is missing" if backbone in lacking else None

    monkeypatch.setattr(method_choice, "explain_missing_weights", explain)
    request = MethodRequest("panet", weights=None)
    assert choose_backbone(METHODS.get("panet"), request) == "vgg16"
    lacking.add("vgg16")
    loaded = load_requested_method(request)
    assert loaded.method.provenance.backbone == MINI_BACKBONE
    assert any("vgg16" in note and MINI_BACKBONE in note for note in loaded.notes)


def test_method_that_needs_training_and_ships_none_is_refused():
    with pytest.raises(DataError) as error:
        load_requested_method(MethodRequest(NeedsTraining))
    assert error_names(error.value, "needs-training", "--untrained")
    assert "untrained" in load_requested_method(MethodRequest(NeedsTraining, untrained=True)).marks
