"""What a data set plugin may hand over, and that its faults are never blamed on a method."""

from __future__ import annotations

import numpy as np
import pytest
from messages import error_names
from PIL import Image

from fssbench.api import DataError, Entry, Episode, FssbenchError, PluginError
from fssbench.data.reader import Reader
from fssbench.errors import DatasetContractError
from fssbench.evaluation.engine import evaluate_all
from fssbench.evaluation.feature_cache import FeatureCache
from fssbench.evaluation.settings import Settings
from fssbench.images.judgements import note_doubt
from fssbench.plugins.registry import DATASETS
from fssbench.testing import check_dataset

SIDE = 32


@pytest.fixture
def boxes(null, monkeypatch):
    """The null data set, whose answers a test replaces."""
    cls = DATASETS.get("nulldata")

    def replace(**answers):
        for name, answer in answers.items():
            monkeypatch.setattr(cls, name, lambda self, *arguments, answer=answer: answer(*arguments))
        return cls(null.data / "nulldata")

    return replace


def box(values=1, dtype=np.uint8, shape=(SIDE, SIDE)):
    mask = np.zeros(shape, dtype)
    mask[4:12, 4:12] = values
    return mask


BROKEN_MASKS = {
    "bool": box(dtype=bool),
    "int64": box(dtype=np.int64),
    "float": box(dtype=np.float32),
    "a value of 7": box(7),
    "a value of 254": box(254),
    "one channel": box()[..., None],
    "one dimension": box()[0],
    "half the size": box()[::2, ::2],
    "transposed": box(shape=(SIDE, 16)),
    "empty": np.zeros((0, 0), np.uint8),
    "a matrix": box().view(np.matrix),
    "a masked array": np.ma.masked_array(box(), box() == 0),
    "a list": box().tolist(),
    "a picture": Image.fromarray(box()),
    "nothing": None,
}


@pytest.mark.parametrize("mask", BROKEN_MASKS.values(), ids=BROKEN_MASKS)
def test_a_mask_that_breaks_the_contract_names_the_data_set(null, boxes, mask):
    boxes(mask=lambda item, class_id: mask)
    with pytest.raises(DatasetContractError, match=r"data set 'nulldata', item '\d/\d+'") as caught:
        null.run("runs", null.plan(2), panels=0)
    assert "method" not in str(caught.value)
    assert isinstance(caught.value, PluginError)


@pytest.mark.parametrize("image", [np.zeros((SIDE, SIDE, 3), np.uint8), Image.new("L", (SIDE, SIDE)), None])
def test_an_image_that_is_no_rgb_picture_names_the_data_set(null, boxes, image):
    boxes(image=lambda item: image)
    with pytest.raises(DatasetContractError, match=r"data set 'nulldata', item"):
        null.run("runs", null.plan(2), panels=0)


def test_a_broken_data_set_is_blamed_on_no_method_of_several(null, boxes):
    boxes(mask=lambda item, class_id: box(7))
    methods = [null.method(), null.make_broken("second")]
    with pytest.raises(DatasetContractError):
        evaluate_all(methods, null.plan(4), Settings(out=null.folder / "runs", panels=0))


@pytest.mark.parametrize("values", [0, 255])
@pytest.mark.parametrize("role", ["query", "support"])
def test_an_item_without_its_class_is_an_error_with_item_class_and_value(null, boxes, values, role):
    plan = null.plan(1)
    bare = plan[0].query if role == "query" else plan[0].supports[0]
    answers = {
        "mask": lambda item, class_id: box(values if item == bare else 1),
        "label": lambda item: box(99),
    }
    boxes(**answers)
    for size in ("input", "original"):
        with pytest.raises(DataError) as caught:
            null.run(size, plan, panels=0, score_size=size)
        for text in (bare, f"class {plan[0].class_id}", "99", "fssbench data verify nulldata"):
            assert text in str(caught.value)


def test_an_object_that_vanishes_at_the_size_of_the_network_is_scored_as_published(null, boxes):
    dot = np.zeros((SIDE, SIDE), np.uint8)
    dot[1, 1] = 1
    boxes(mask=lambda item, class_id: dot)
    (run,) = null.run("runs", null.plan(3), panels=0)
    assert run.score.episodes == 3


def test_an_image_with_an_orientation_is_refused_whatever_the_plugin_did_with_it(null, boxes):
    image = Image.new("RGB", (SIDE, SIDE))
    exif = Image.Exif()
    exif[0x0112] = 8
    image.info["exif"] = exif.tobytes()
    boxes(image=lambda item: image)
    with pytest.raises(DataError, match="orientation 8"):
        null.run("runs", null.plan(1), panels=0)


def test_files_of_two_sizes_are_the_data_s_fault_and_a_reader_s_own_size_the_plugin_s(null, boxes):
    root = null.data / "nulldata"
    Image.new("RGB", (SIDE, SIDE)).save(root / "image.png")
    Image.new("L", (16, SIDE)).save(root / "mask.png")
    files = {"files": lambda item: (root / "image.png", root / "mask.png")}
    dataset = boxes(mask=lambda item, class_id: box(shape=(SIDE, 16)), **files)
    with pytest.raises(DataError) as caught:
        Reader(dataset).mask("0/0000", 0)
    assert error_names(caught.value, "mask.png", "16x32", "32x32")
    dataset = boxes(mask=lambda item, class_id: box(shape=(SIDE, 8)), **files)
    with pytest.raises(DatasetContractError, match="the mask is 8x32, but the image is 32x32"):
        Reader(dataset).mask("0/0000", 0)


def test_a_release_that_has_other_sizes_is_read_and_doubted(null, boxes):
    dataset = boxes(mask=lambda item, class_id: box(shape=(SIDE, 16)), resizes_mask=lambda item: True)
    reader = Reader(dataset)
    assert reader.mask("0/0000", 0).shape == (SIDE, 16)
    assert reader.doubts(Episode(0, 0, "0/0000", ("0/0001",))) == ("resized",)


def test_check_and_run_agree_on_masks(null, boxes, monkeypatch):
    """A data set class passes the check of its pairs if and only if its masks can be run."""
    cls = DATASETS.get("nulldata")
    monkeypatch.setattr(cls, "pool", lambda self, split: _pool())
    for mask in (box(), *BROKEN_MASKS.values(), box(0)):
        boxes(mask=lambda item, class_id, mask=mask: mask, label=lambda item: box())
        (verdict,) = [r for r in check_dataset(cls) if r.check == "images_and_masks_agree"]
        try:
            Reader(cls(null.data / "nulldata")).mask("0/0000", 0)
            refused = False
        except FssbenchError:
            refused = True
        assert (verdict.status == "fail") == refused


def _pool():
    from fssbench.api import Pool

    return Pool(tuple(Entry(f"0/{n:04}", 0) for n in range(8)), "made up")


def test_doubts_reach_every_episode_that_uses_the_item(null, boxes):
    """With caches, without, of a second plan that shares the cache, and of each part of a run that is resumed."""
    plan = null.plan(30)
    odd = {plan[3].query, plan[7].supports[0]}

    def image(item):
        if item in odd:
            note_doubt("soft")
        return Image.new("RGB", (SIDE, SIDE))

    def mask(item, class_id):
        if item in odd:
            note_doubt("full")
        return box()

    boxes(image=image, mask=mask)
    expected = {e.index: ("full", "soft") if odd & {e.query, *e.supports} else () for e in plan}
    assert 2 <= sum(map(bool, expected.values())) < 30

    def doubts(path):
        from fssbench.runs.store import read_run

        return {i: r.doubts for i, r in read_run(path).records.items()}

    (whole,) = null.run("whole", plan, panels=5)
    assert doubts(whole.path) == expected
    (bare,) = null.run("bare", plan, cache_mb=0, panels=0)
    assert null.read_results(bare.path) == null.read_results(whole.path)
    cache = FeatureCache(1 << 24)
    evaluate_all([null.method()], plan, Settings(out=null.folder / "first", panels=0), cache=cache)
    ((second,), _) = evaluate_all(
        [null.method()], plan, Settings(out=null.folder / "second", panels=0), cache=cache
    )
    assert doubts(second.path) == expected
    log = whole.path / "episodes.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:4]))
    (again,) = null.run("whole", plan, panels=5)
    assert (again.path, log.read_bytes()) == (whole.path, b"".join(lines))


def test_only_a_data_set_that_judges_its_files_may_hand_over_a_mask_without_background(boxes, monkeypatch):
    dataset = boxes(mask=lambda item, class_id: np.ones((SIDE, SIDE), np.uint8))
    entry = dataset.pool("test").entries[0]
    episode = Episode(0, entry.class_id, entry.item, ())
    assert Reader(dataset).doubts(episode) == ("full",)
    monkeypatch.setattr(type(dataset), "judges_files", True, raising=False)
    assert Reader(dataset).doubts(episode) == ()
    heir = type("Heir", (type(dataset),), {})
    assert Reader(heir(dataset.root)).doubts(episode) == ("full",), "a subclass states it again"


def test_every_built_in_data_set_states_that_it_judges_its_files():
    built_in = [name for name in DATASETS.names() if DATASETS.plugin(name).origin.startswith("fssbench ")]
    assert len(built_in) == 7
    assert all(vars(DATASETS.get(name)).get("judges_files") is True for name in built_in)
