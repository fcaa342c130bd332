"""Test classes and images that a checkpoint's training has met."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from fssbench.contracts.checkpoint import TrainingManifest
from fssbench.loading.contamination import (
    count_seen_images as seen_images_of,
    find_seen_classes as seen_classes_of,
    make_image_ids,
)
from fssbench.plugins.registry import DATASETS

VOC = [*DATASETS.get("pascal")(None).classes().values()]


def seen_classes(stored: dict[str, Any], *test: Any) -> tuple[int, ...]:
    return seen_classes_of(TrainingManifest.read_stored(stored), *test)


def seen_images(stored: dict[str, Any], *test: Any) -> int:
    return seen_images_of(TrainingManifest.read_stored(stored), *test)


def test_within_a_data_set_ids_decide():
    assert seen_classes({"dataset": "pascal", "classes": [0, 3]}, "pascal", [3, 4], ["boat", "bottle"]) == (
        3,
    )


def test_between_voc_and_coco_twins_decide_both_ways():
    everything = {"dataset": "coco", "classes": list(range(80))}
    assert seen_classes(everything, "pascal", range(20), VOC) == tuple(range(20))
    odd = {"dataset": "coco", "classes": [4]}
    assert seen_classes(odd, "pascal", range(20), VOC) == (0,)
    assert seen_classes({"dataset": "pascal", "classes": [0, 6]}, "coco", [2, 3, 4], ["car", "m", "a"]) == (
        2,
        4,
    )


def test_elsewhere_names_decide():
    manifest = {"dataset": "pascal", "classes": [17], "class_names": ["Potted Plant", "cow"]}
    assert seen_classes(manifest, "fss1000", [800, 801], ["potted_plant", "cowboy hat"]) == (800,)


@pytest.mark.parametrize(
    "manifest",
    [
        {},
        {"dataset": 3, "classes": "all", "class_names": 5},
        {"dataset": "pascal", "classes": None},
        {"dataset": "pascal", "classes": ["0", [1], None]},
        {"class_names": [None, 4]},
    ],
)
def test_malformed_manifests_say_nothing(manifest):
    assert seen_classes(manifest, "pascal", [0, 1], ["aeroplane", "bicycle"]) == ()
    assert seen_images({"image_ids": manifest.get("classes"), **manifest}, "pascal", ["a"]) == 0


def test_queries_that_were_trained_on_are_counted():
    assert make_image_ids(["2007_000032"]) == [hashlib.sha256(b"2007_000032").hexdigest()[:8]]
    manifest = {"dataset": "pascal", "image_ids": make_image_ids(["b", "a", "c"])}
    assert manifest["image_ids"] == sorted(manifest["image_ids"])
    assert seen_images(manifest, "pascal", ["a", "x", "a", "c"]) == 3
    assert seen_images(manifest, "coco", ["a", "x", "a", "c"]) == 0


def test_a_malformed_field_is_kept_as_it_was_and_its_sound_items_are_read():
    stored = {
        "dataset": "pascal",
        "classes": [3, "x", True],
        "steps": "many",
        "method": "m",
        "later": {"a": [1]},
    }
    manifest = TrainingManifest.read_stored(stored)
    assert (manifest.classes, manifest.steps, manifest.method) == ((3,), None, "m")
    assert manifest.as_stored() == stored
    assert seen_classes(stored, "pascal", [3, 4], ["boat", "bottle"]) == (3,)
