"""Masks of examples from the files that people have: what is the object is certain, or the file is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from drawn_data import save_label
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from messages import error_names
from PIL import Image

from fssbench.api import DataError, UsageError
from fssbench.images.coco_regions import decode_region
from fssbench.prediction.coco_support import read_coco_mask
from fssbench.prediction.support_masks import read_support_mask

OBJECT = np.zeros((20, 30), np.uint8)
OBJECT[5:12, 8:25] = 1


def save_mode(mode: str, path) -> None:
    """Write the object in one of the forms that people have."""
    grey = Image.fromarray(OBJECT * 255)
    if mode == "0/1":
        Image.fromarray(OBJECT).save(path)
    elif mode == "0/1 in three channels":
        Image.fromarray(OBJECT).convert("RGB").save(path)
    elif mode == "palette 0/1 in VOC's colours":
        save_label(OBJECT, path)
    elif mode == "palette, black is 1":
        image = Image.fromarray(1 - OBJECT)
        image.putpalette([255, 255, 255, 0, 0, 0])
        image.save(path)
    else:
        grey.convert(mode).save(path)


@pytest.mark.parametrize(
    "mode", ["L", "1", "RGB", "RGBA", "LA", "0/1", "0/1 in three channels", "palette 0/1 in VOC's colours"]
)
def test_every_form_of_two_values_is_the_same_mask(mode, tmp_path):
    save_mode(mode, tmp_path / "mask.png")
    mask, doubts = read_support_mask(tmp_path / "mask.png", None, "refuse")
    np.testing.assert_array_equal(mask, OBJECT)
    assert doubts == []


def test_colours_of_a_black_and_white_palette_count_and_not_its_indices(tmp_path):
    save_mode("palette, black is 1", tmp_path / "mask.png")
    mask, _ = read_support_mask(tmp_path / "mask.png", None, "refuse")
    np.testing.assert_array_equal(mask, OBJECT)


@given(hnp.arrays(np.uint8, (6, 7), elements=st.sampled_from([0, 3, 15, 255])), st.sampled_from([3, 15, 255]))
@settings(max_examples=25)
def test_label_selects_its_pixels_and_255_is_unknown(tmp_path_factory, values, label):
    path = tmp_path_factory.mktemp("mask") / "index.png"
    save_label(values, path)
    if label not in values:
        with pytest.raises(DataError) as error:
            read_support_mask(path, label, "refuse")
        assert error_names(error.value, path, label, "--label")
        return
    mask, _ = read_support_mask(path, label, "refuse")
    np.testing.assert_array_equal(mask == 1, values == label)
    np.testing.assert_array_equal(mask == 255, (values == 255) & (label != 255))


@pytest.mark.parametrize("values", [[0, 3], [0, 1, 2], [0, 1, 255], [0, 1, 15, 255]])
@pytest.mark.parametrize("palette", [False, True])
def test_values_that_leave_a_choice_are_refused_and_named(values, palette, tmp_path):
    content = np.resize(np.array(values, np.uint8), (20, 30))
    path = tmp_path / "mask.png"
    save_label(content, path) if palette else Image.fromarray(content).save(path)
    with pytest.raises(DataError) as error:
        read_support_mask(path, None, "refuse")
    assert error_names(error.value, path, "--label", *[v for v in values if v])


@pytest.mark.parametrize("kind", ["photograph", "colours", "16 bits", "transparent", "JPEG of 0 and 1"])
def test_files_that_are_no_mask_are_refused(kind, tmp_path):
    path = tmp_path / ("mask.jpg" if "JPEG" in kind else "mask.png")
    rng = np.random.default_rng(0)
    if kind == "photograph":
        Image.fromarray(rng.integers(0, 255, (20, 30), dtype=np.uint8)).save(path)
    elif kind == "colours":
        Image.fromarray(np.stack([OBJECT * 255, OBJECT * 0, OBJECT * 0], 2)).save(path)
    elif kind == "16 bits":
        Image.fromarray(OBJECT.astype(np.uint16) * 65535).save(path)
    elif kind == "transparent":
        Image.fromarray(np.stack([OBJECT * 255] * 3 + [OBJECT * 255], 2)).save(path)
    else:
        Image.fromarray(OBJECT).save(path)
    with pytest.raises(DataError) as error:
        read_support_mask(path, None, "refuse")
    assert error_names(error.value, path)


@pytest.mark.parametrize("label", [None, 38])
@pytest.mark.parametrize("red", [128, 255])
def test_colours_are_refused_with_advice_that_works(red, label, tmp_path):
    Image.fromarray(np.stack([OBJECT * red, OBJECT * 0, OBJECT * 0], 2).astype(np.uint8)).save(
        tmp_path / "m.png"
    )
    with pytest.raises(DataError) as error:
        read_support_mask(tmp_path / "m.png", label, "refuse")
    assert error_names(error.value, "m.png", "RGB", "255")
    assert "--label" not in str(error.value)
    assert "published" not in str(error.value)


def test_a_jpeg_of_black_and_white_is_read_with_a_doubt(tmp_path):
    Image.fromarray((OBJECT * 255).astype(np.uint8)).resize((300, 200), 0).save(tmp_path / "m.jpg")
    mask, doubts = read_support_mask(tmp_path / "m.jpg", None, "refuse")
    assert mask.any()
    assert len(doubts) == 1
    assert error_names(doubts[0], "JPEG", "PNG")


def test_soft_edges_are_thresholded_with_a_doubt(tmp_path):
    grey = (OBJECT * 255).astype(np.uint8)
    grey[12:14, 8:25] = 140
    grey[3:5, 8:25] = 100
    Image.fromarray(grey).save(tmp_path / "mask.png")
    mask, doubts = read_support_mask(tmp_path / "mask.png", None, "refuse")
    np.testing.assert_array_equal(mask, grey >= 128)
    assert len(doubts) == 1


# ---------------------------------------------------------------- COCO JSON


def write_coco(path, **changes):
    runs = np.diff(np.flatnonzero(np.diff(np.r_[2, OBJECT.T.ravel(), 2]))).tolist()
    content = {
        "images": [{"id": 7, "file_name": "train/a.jpg", "width": 30, "height": 20}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "segmentation": {"size": [20, 30], "counts": runs}},
            {"id": 2, "image_id": 7, "category_id": 1, "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]]},
        ],
        **changes,
    }
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("category", ["dog", "3"])
def test_category_of_coco_is_drawn_by_name_or_id(category, tmp_path):
    mask = read_coco_mask(write_coco(tmp_path / "a.json"), "a.jpg", category, (30, 20))
    np.testing.assert_array_equal(mask, OBJECT)


def test_polygon_agrees_with_the_reader_of_data_sets(tmp_path):
    pytest.importorskip("pycocotools.mask")
    mask = read_coco_mask(write_coco(tmp_path / "a.json"), "a.jpg", "cat", (30, 20))
    np.testing.assert_array_equal(mask, decode_region([[0, 0, 4, 0, 4, 4, 0, 4]], 20, 30))


def test_crowd_is_unknown(tmp_path):
    runs = {"size": [20, 30], "counts": [0, 40, 560]}
    annotations = json.loads(write_coco(tmp_path / "a.json").read_text())["annotations"]
    annotations.append({"id": 3, "image_id": 7, "category_id": 3, "iscrowd": 1, "segmentation": runs})
    mask = read_coco_mask(write_coco(tmp_path / "a.json", annotations=annotations), "a.jpg", "dog", (30, 20))
    np.testing.assert_array_equal(mask == 1, OBJECT == 1)
    assert (mask[:, :2] == 255).all()


@pytest.mark.parametrize(
    ("name", "category", "size", "kind", "named"),
    [
        ("b.jpg", "dog", (30, 20), DataError, "a.jpg"),
        ("a.jpg", None, (30, 20), UsageError, "cat, dog"),
        ("a.jpg", "dgo", (30, 20), UsageError, "dog"),
        ("a.jpg", "dog", (20, 30), DataError, "30x20"),
    ],
)
def test_coco_of_another_image_or_category_is_refused(name, category, size, kind, named, tmp_path):
    with pytest.raises(kind) as error:
        read_coco_mask(write_coco(tmp_path / "a.json"), name, category, size)
    assert error_names(error.value, "a.json", named)


@pytest.mark.parametrize(
    "changes", [{"images": 3}, {"annotations": [1]}, {"categories": None}, {"annotations": []}]
)
def test_damaged_coco_is_refused(changes, tmp_path):
    with pytest.raises(DataError) as error:
        read_coco_mask(
            write_coco(tmp_path / "a.json", **changes),
            "a.jpg",
            "dog" if "categories" not in changes else None,
            (30, 20),
        )
    assert error_names(error.value, "a.json")
