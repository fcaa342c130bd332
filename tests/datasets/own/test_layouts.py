"""Every layout gives back the masks that were written, and real samples are read as their own readers read them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import own_folders
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from own_folders import LAYOUTS

from fssbench.api import Dataset
from fssbench.data.location import open_dataset
from fssbench.plugins.data_folders import call, make_class

FEW = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def adopt(root: Path, **choices: object) -> Dataset:
    """The data set of a folder after it was described and read again from its description."""
    call("finish", call("prepare", root, choices, again=False, from_scratch=True))
    return make_class(None, root)(root)


def read_masks(dataset: Dataset) -> dict[tuple[str, str], np.ndarray]:
    """The mask of each image and class by their names."""
    names = dataset.classes()
    entries = dataset.pool("test").entries
    return {(Path(e.item).stem, names[e.class_id]): dataset.mask(e.item, e.class_id) for e in entries}


@pytest.mark.parametrize("layout", LAYOUTS)
@FEW
@given(
    drawn=st.lists(arrays(np.uint8, (12, 10), elements=st.integers(0, 3)), min_size=2, max_size=4),
    data=st.data(),
)
def test_masks_are_read_as_they_were_written(
    layout: str, drawn: list[np.ndarray], data: st.DataObject, tmp_path: Path
) -> None:
    whole = [own_folders.draw_labels(number, 3) for number in (0, 1)]  # each class has two images in any case
    masks = [*whole, *drawn]
    if layout in {"index", "colours"}:
        masks[-1] = np.where(data.draw(arrays(np.bool_, (12, 10))), np.uint8(255), masks[-1])
    root = tmp_path / "folder"
    shutil.rmtree(root, ignore_errors=True)
    LAYOUTS[layout](root, masks)
    dataset = adopt(root)
    assert dataset.classes().keys() == {0, 1, 2}
    read = read_masks(dataset)
    written = {
        (str(number), name): labels
        for number, labels in enumerate(masks)
        for value, name in ((1, "one"), (2, "two"), (3, "three"))
        if (labels == value).any()
    }
    assert read.keys() == written.keys()
    for (number, name), labels in written.items():
        expected = (labels == {"one": 1, "two": 2, "three": 3}[name]).astype(np.uint8)
        if layout in {"index", "colours"}:
            expected[labels == 255] = 255
        if layout == "coco panoptic":
            expected[(labels == 0) | (labels == 255)] = 255  # without a segment
        assert np.array_equal(read[number, name], expected), (number, name)


@pytest.mark.parametrize(("value", "suffix"), [(255, ""), (1, ""), (255, "_mask")])
@FEW
@given(drawn=st.lists(arrays(np.uint8, (12, 10), elements=st.integers(0, 1)), min_size=1, max_size=4))
def test_masks_of_one_class_are_read_as_they_were_written(
    value: int, suffix: str, drawn: list[np.ndarray], tmp_path: Path
) -> None:
    masks = [*drawn, own_folders.draw_labels(0), own_folders.draw_labels(1)]
    root = tmp_path / "folder"
    shutil.rmtree(root, ignore_errors=True)
    own_folders.write_binary(root, masks, value=value, suffix=suffix)
    dataset = adopt(root, class_name="crack")
    read = read_masks(dataset)
    assert read.keys() == {(str(number), "crack") for number, labels in enumerate(masks) if labels.any()}
    for (number, _), mask in read.items():
        assert np.array_equal(mask, masks[int(number)])


def test_regions_of_two_classes_may_overlap(tmp_path: Path) -> None:
    import json

    labels = [own_folders.draw_labels(number, 3) for number in range(2)]
    own_folders.write_instances(tmp_path, labels)
    content = json.loads((tmp_path / "annotations.json").read_text())
    content["annotations"].append(
        {"id": 99, "image_id": 100, "category_id": 10, "segmentation": {"size": [12, 10], "counts": [0, 120]}}
    )
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    read = read_masks(adopt(tmp_path, name="mine"))
    assert read["0", "one"].all()
    assert np.array_equal(read["0", "two"], labels[0] == 2)


@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_polygons_are_drawn_as_pycocotools_draws_them(tmp_path: Path) -> None:
    import json

    tools = pytest.importorskip("pycocotools.mask")
    own_folders.write_instances(tmp_path, [own_folders.draw_labels(number) for number in range(2)])
    content = json.loads((tmp_path / "annotations.json").read_text())
    polygon = [1.5, 1.5, 8.5, 2.0, 7.0, 9.5]
    content["annotations"] = [
        {"id": n, "image_id": 100 + n, "category_id": 20, "segmentation": [polygon]} for n in range(2)
    ]
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    expected = tools.decode(tools.merge(tools.frPyObjects([polygon], 12, 10)))
    assert np.array_equal(read_masks(adopt(tmp_path, name="mine"))["1", "two"], expected)


# ---------------------------------------------------------------- real samples, against their own readers


def copy_some(
    source: Path, target: Path, names: list[str], folders: tuple[str, str], affix: str = ""
) -> None:
    for folder in folders:
        (target / folder).mkdir(parents=True)
    for name in names:
        stem, suffix = Path(name).stem, ".bmp" if "SUIM" in source.parts else ".png"
        for relative in (f"{folders[0]}/{name}", f"{folders[1]}/{stem}{affix}{suffix}"):
            (target / relative).symlink_to(source / relative) if False else shutil.copy(
                source / relative, target / relative
            )


def test_isic_as_a_folder_of_the_users_own(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "ISIC"
    folders = ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth")
    names = sorted(path.name for path in (source / folders[0]).glob("*.jpg"))[:4]
    copy_some(source, tmp_path / "skin", names, folders, "_segmentation")
    dataset, other = adopt(tmp_path / "skin"), open_dataset("isic2018", data=shared / "data")
    for name in names:
        item = f"{folders[0]}/{name}"
        assert np.array_equal(dataset.mask(item, 0), other.mask(item, 0))


def test_voc_as_a_folder_of_the_users_own(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "VOC2012"
    folders = ("JPEGImages", "SegmentationClassAug")
    names = sorted(path.name for path in (source / folders[0]).glob("*.jpg"))[:8]
    copy_some(source, tmp_path / "voc-own", names, folders)
    dataset, other = adopt(tmp_path / "voc-own"), open_dataset("pascal", data=shared / "data")
    read = dataset.pool("test").entries
    assert len(read) >= len(names)
    for entry in read:
        value = int(dataset.classes()[entry.class_id].removeprefix("label "))
        expected = other.mask(Path(entry.item).stem, value - 1)
        assert np.array_equal(dataset.mask(entry.item, entry.class_id), expected)


def test_suim_as_a_folder_of_the_users_own(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "SUIM"
    shutil.copytree(source, tmp_path / "sea")
    (tmp_path / "sea" / "palette.csv").write_text(
        "name,r,g,b\nwater,0,0,0\ndiver,0,0,255\nplant,0,255,0\nwreck,0,255,255\nrobot,255,0,0\nreef,255,0,255\n"
        "fish,255,255,0\nfloor,255,255,255\n"
    )
    dataset, other = adopt(tmp_path / "sea"), open_dataset("suim", data=shared / "data", variant="suim8")
    for item in sorted({entry.item for entry in dataset.pool("test").entries}):
        name = next(e.item for e in other.pool("test").entries if Path(e.item).stem == Path(item).stem)
        assert np.array_equal(dataset.label(item) - 1, other.label(name))


@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_coco_as_a_folder_of_the_users_own(shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO

    source = shared / "data" / "COCO2017"
    (tmp_path / "annotations").mkdir()
    shutil.copytree(source / "val2017", tmp_path / "val2017")
    shutil.copy(source / "annotations" / "instances_val2017.json", tmp_path / "annotations")
    dataset = adopt(tmp_path, name="things", title="Things")
    oracle = COCO(str(tmp_path / "annotations" / "instances_val2017.json"))
    categories = {oracle.cats[c]["name"]: c for c in oracle.cats}
    numbers = {image["file_name"]: number for number, image in oracle.imgs.items()}
    entries = dataset.pool("test").entries
    assert len(entries) > 100
    for entry in entries[::7]:
        records = oracle.loadAnns(
            oracle.getAnnIds(numbers[Path(entry.item).name], categories[dataset.classes()[entry.class_id]])
        )
        expected = np.bitwise_or.reduce([oracle.annToMask(record) for record in records])
        assert np.array_equal(dataset.mask(entry.item, entry.class_id), expected)


@pytest.mark.parametrize("with_suffix", [1, 3, 5])
def test_masks_of_which_only_some_have_a_suffix_are_read(with_suffix: int, tmp_path: Path) -> None:
    masks = [own_folders.draw_labels(number) for number in range(6)]
    own_folders.write_binary(tmp_path, masks)
    for number in range(with_suffix):
        path = tmp_path / "masks" / f"{number}.png"
        path.rename(path.with_stem(f"{number}_mask"))
    read = read_masks(adopt(tmp_path, name="mine"))
    assert len(read) == len(masks)
    for (stem, _), mask in read.items():
        assert np.array_equal(mask, masks[int(stem)] == 1)


def test_a_number_behind_the_name_is_no_suffix_of_some_masks(tmp_path: Path) -> None:
    own_folders.write_binary(tmp_path, [own_folders.draw_labels(number) for number in range(6)])
    path = tmp_path / "masks" / "5.png"
    path.rename(path.with_stem("5_2"))  # perhaps a second version, perhaps of another image
    dataset = adopt(tmp_path, name="mine")
    errors = {finding.path for finding in dataset.verify().findings if finding.level == "error"}
    assert errors == {"images/5.png", "masks/5_2.png"}
