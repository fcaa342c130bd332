"""What can be read in two ways, or is wrong, is refused by its name; what is doubtful is marked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import own_folders
import pytest
from messages import error_names
from PIL import Image

from fssbench.api import DataError, FssbenchError, UsageError
from fssbench.data.reader import Reader
from fssbench.plugins.data_folders import call, make_class


def prepare(root: Path, **choices: object) -> type:
    return call("prepare", root, choices, again=False, from_scratch=False)


def errors(root: Path, **choices: object) -> dict[str, str]:
    """The errors of a folder's files by path."""
    report = prepare(root, **choices)(root).verify()
    return {f.path: f.problem for f in report.findings if f.level == "error"}


def warnings(root: Path, **choices: object) -> dict[str, str]:
    report = prepare(root, **choices)(root).verify()
    assert report.ok, report.findings
    return {f.path: f.problem for f in report.findings}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six sound pairs of one class."""
    root = tmp_path / "My Images"
    own_folders.write_binary(root, [own_folders.draw_labels(number) for number in range(6)])
    return root


def change_mask(root: Path, number: int, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    path = root / "masks" / f"{number}.png"
    Image.fromarray(change(np.array(Image.open(path)))).save(path)
    return path


def test_a_sound_folder_has_no_finding_and_a_plain_name(folder: Path) -> None:
    cls = prepare(folder)
    report = cls(folder).verify()
    assert (report.findings, report.images, report.masks) == ([], 6, 6)
    assert cls.card.name == "my-images"


def spread_one_to_255(mask: np.ndarray) -> np.ndarray:
    labels = (mask > 0).astype(np.uint8)
    labels[:, 6] = 255
    return labels


def grey_area(mask: np.ndarray) -> np.ndarray:
    mask[8:, 5:] = 120
    return mask


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (spread_one_to_255, ("masks/2.png", "--encoding")),
        (grey_area, ("masks/2.png", "grey", "--encoding binary")),
        (lambda mask: mask // 255, ("masks/2.png", "0 and 1", "0 and 255", "masks/0.png")),
        (lambda mask: mask // 255 * 3, ("masks/2.png", "masks/0.png", "--encoding index")),
    ],
    ids=["0, 1 and 255", "grey area", "some 0 and 1", "some 0 and 3"],
)
def test_masks_that_can_be_read_in_two_ways_are_refused(
    folder: Path, change: Callable[[np.ndarray], np.ndarray], named: tuple[str, ...]
) -> None:
    change_mask(folder, 2, change)
    with pytest.raises(DataError) as error:
        prepare(folder)
    assert error_names(error.value, *named)


def test_all_masks_with_0_1_and_255_need_a_word_of_the_user(folder: Path) -> None:
    for number in range(6):
        change_mask(folder, number, spread_one_to_255)
    with pytest.raises(DataError):
        prepare(folder)
    cls = prepare(folder, encoding="index", ignored=255)
    mask = cls(folder).mask("images/2.png", 0)
    assert set(np.unique(mask)) == {0, 1, 255}


def test_soft_edges_that_the_user_accepts_are_marked(folder: Path) -> None:
    change_mask(folder, 2, grey_area)
    cls = prepare(folder, encoding="binary", foreground=255)
    assert {"soft"} == _doubts(cls, folder, "images/2.png")
    assert set() == _doubts(cls, folder, "images/1.png")


def _doubts(cls: type, root: Path, item: str) -> set[str]:
    from fssbench.contracts.episodes import Episode

    return set(Reader(cls(root)).doubts(Episode(0, 0, item, ())))


def test_jpeg_masks_are_marked_and_jpeg_labels_refused(folder: Path, tmp_path: Path) -> None:
    path = folder / "masks" / "3.png"
    Image.open(path).save(folder / "masks" / "3.jpg", quality=95)
    path.unlink()
    assert "JPEG" in warnings(folder, encoding="binary", foreground=255)["masks/3.jpg"]
    assert _doubts(prepare(folder, encoding="binary", foreground=255), folder, "images/3.png") == {"soft"}
    labels = tmp_path / "labels"
    own_folders.write_index(labels, [own_folders.draw_labels(number, 3) for number in range(3)])
    Image.open(labels / "masks" / "0.png").save(labels / "masks" / "0.jpg")
    (labels / "masks" / "0.png").unlink()
    assert "JPEG" in errors(labels)["masks/0.jpg"]


def test_masks_of_another_size_missing_partners_and_damaged_files_are_named(folder: Path) -> None:
    change_mask(folder, 1, lambda mask: mask[:-1])
    (folder / "masks" / "2.png").unlink()
    (folder / "images" / "3.png").unlink()
    whole = (folder / "images" / "4.png").read_bytes()
    (folder / "images" / "4.png").write_bytes(whole[: len(whole) // 2])
    found = errors(folder)
    assert error_names(found["masks/1.png"], "10x11", "10x12")
    assert "no mask" in found["images/2.png"]
    assert "no image" in found["masks/3.png"]
    assert "unreadable" in found["images/4.png"]


def test_faulty_files_are_left_out_on_demand_and_named_in_the_description(folder: Path) -> None:
    (folder / "masks" / "2.png").unlink()
    (folder / "images" / "3.png").unlink()
    change_mask(folder, 1, lambda mask: mask[:-1])
    cls = prepare(folder)
    cls = call("leave-out-faulty", cls, cls(folder).verify())
    call("finish", cls)
    again = make_class("my-images", folder)
    assert again.described.leave_out == ("images/1.png", "images/2.png", "masks/3.png")
    assert again(folder).verify().ok
    assert {e.item for e in again(folder).pool("test").entries} == {f"images/{n}.png" for n in (0, 4, 5)}


def test_an_image_that_is_there_twice_is_named(folder: Path) -> None:
    (folder / "images" / "7.png").write_bytes((folder / "images" / "2.png").read_bytes())
    (folder / "masks" / "7.png").write_bytes((folder / "masks" / "2.png").read_bytes())
    assert error_names(warnings(folder)["images/7.png"], "images/2.png", "marked")
    change_mask(folder, 7, lambda mask: np.roll(mask, 2, axis=0))
    assert error_names(errors(folder)["images/7.png"], "images/2.png", "another mask")


def test_files_of_systems_and_upper_case_endings_change_nothing(folder: Path) -> None:
    (folder / "images" / "0.png").rename(folder / "images" / "0.PNG")
    (folder / "masks" / "1.png").rename(folder / "masks" / "1.Png")
    for name in ("Thumbs.db", ".DS_Store", "._1.png", "desktop.ini"):
        (folder / "images" / name).write_bytes(b"x")
        (folder / "masks" / name).write_bytes(b"x")
    (folder / "__MACOSX" / "images").mkdir(parents=True)
    (folder / "__MACOSX" / "images" / "._0.png").write_bytes(b"x")
    assert warnings(folder) == {}
    dataset = prepare(folder)(folder)
    assert [e.item for e in dataset.pool("test").entries] == [f"images/{n}.png" for n in range(6)]
    assert dataset.mask("images/0.png", 0).any()


def test_an_image_without_the_class_is_counted_and_never_drawn(folder: Path) -> None:
    change_mask(folder, 5, np.zeros_like)
    found = prepare(folder)(folder).verify().findings
    assert any("1 image without a class" in f.problem and "images/5.png" in f.problem for f in found)
    assert len(prepare(folder)(folder).pool("test").entries) == 5


def test_colours_without_a_palette_are_listed(tmp_path: Path) -> None:
    own_folders.write_colours(tmp_path, [own_folders.draw_labels(n, 2) for n in range(3)])
    (tmp_path / "palette.csv").unlink()
    with pytest.raises(DataError) as error:
        prepare(tmp_path)
    assert error_names(error.value, "255,0,0", "0,200,0", "palette.csv", "RED,GREEN,BLUE,NAME")


def test_a_colour_that_is_no_class_is_refused_unless_it_is_near_enough(tmp_path: Path) -> None:
    own_folders.write_colours(tmp_path, [own_folders.draw_labels(n, 2) for n in range(3)])
    path = tmp_path / "masks" / "1.bmp"
    pixels = np.array(Image.open(path))
    pixels[0, 0] = (250, 4, 0)
    Image.fromarray(pixels).save(path)
    assert "250,4,0" in errors(tmp_path)["masks/1.bmp"]
    cls = prepare(tmp_path, tolerance=5)
    assert cls(tmp_path).verify().ok
    assert cls(tmp_path).mask("images/1.png", 0)[0, 0] == 1


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("one\ntwo\nthree\nfour\n", ("value 4", "background", "`1 one`")),
        ("1 one\ntwo\n", ("1 one", "value in every line")),
        ("1 one\n1 two\n", ("1", "twice")),
        ("1 one\n2 two\n", ("3", "classes.txt")),
    ],
)
def test_class_names_that_may_mean_other_values_are_refused(
    tmp_path: Path, text: str, named: tuple[str, ...]
) -> None:
    own_folders.write_index(tmp_path, [own_folders.draw_labels(n, 3) for n in range(3)])
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(DataError) as error:
        prepare(tmp_path)
    assert error_names(error.value, *named)


@pytest.mark.parametrize(
    "text", ["one\ntwo\nthree", "background\none\ntwo\nthree", "0 background\n3: three\n1,one\n2\ttwo"]
)
def test_every_form_of_class_names_means_the_same(tmp_path: Path, text: str) -> None:
    own_folders.write_index(tmp_path, [own_folders.draw_labels(n, 3) for n in range(3)])
    (tmp_path / "classes.txt").write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    values = {each.name: each.value for each in prepare(tmp_path).described.classes}
    assert values == {"one": 1, "two": 2, "three": 3}


def test_an_empty_folder_two_sets_and_two_readings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--images"):
        prepare(tmp_path)
    labels = [own_folders.draw_labels(n) for n in range(3)]
    own_folders.write_binary(tmp_path, labels)
    own_folders.write_instances(tmp_path, labels)
    with pytest.raises(DataError) as error:
        prepare(tmp_path)
    assert error_names(error.value, "--masks masks", "--annotations annotations.json")
    assert prepare(tmp_path, annotations=("annotations.json",)).described.layout == "coco instances"
    assert prepare(tmp_path, images="images", masks="masks").described.layout == "masks"


def test_a_wrong_record_of_annotations_is_named(tmp_path: Path) -> None:
    own_folders.write_instances(tmp_path, [own_folders.draw_labels(n) for n in range(3)])
    content = json.loads((tmp_path / "annotations.json").read_text())
    content["annotations"][1]["segmentation"]["counts"][0] += 1
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(DataError) as error:
        prepare(tmp_path)
    assert error_names(error.value, "annotations.json", "annotation 1", "121")


def test_an_image_of_another_size_than_its_record_is_named_and_can_be_left_out(tmp_path: Path) -> None:
    own_folders.write_instances(tmp_path, [own_folders.draw_labels(n) for n in range(4)])
    turned = tmp_path / "images" / "1.png"
    Image.open(turned).transpose(Image.Transpose.ROTATE_90).save(turned)
    draft = prepare(tmp_path)
    report = draft(tmp_path).verify()
    assert [(f.path, "transposed" in f.problem) for f in report.findings if f.level == "error"] == [
        ("images/1.png", True)
    ]
    assert call("leave-out-faulty", draft, report).described.leave_out == ("images/1.png",)


def test_an_object_without_a_region_takes_its_image_out_of_its_class(tmp_path: Path) -> None:
    own_folders.write_instances(tmp_path, [own_folders.draw_labels(n) for n in range(3)])
    content = json.loads((tmp_path / "annotations.json").read_text())
    content["annotations"].append({"id": 77, "image_id": 101, "category_id": 10, "bbox": [1, 1, 3, 3]})
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    dataset = prepare(tmp_path)(tmp_path)
    assert [e.item for e in dataset.pool("test").entries if e.class_id == 0] == [
        "images/0.png",
        "images/2.png",
    ]
    assert any("no region" in f.problem for f in dataset.verify().findings)


# ---------------------------------------------------------------- the description


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('layout = "masks"', 'layout = "maks"', ("layout", "maks")),
        ("class = 0", "klass = 0", ("parts.0.klass", "class")),
        ("class = 0", "class = 7", ("images", "class", "0")),
        ("foreground = 255", "foreground = 7", ("foreground", "7")),
        ("foreground = 255", "", ("foreground",)),
        ('rule = "all"', 'rule = "hash"', ("split", "test_percent")),
        ('rule = "all"', 'rule = "list"', ("split", "test")),
        ('images = "images"', 'images = "../images"', ("parts.0.images",)),
        ('name = "object"', 'name = "object"\nused = false', ("no class",)),
        ("format = 1", "format = 2", ("format", "2")),
        ("[split]", "[split", ("dataset.toml",)),
        ('encoding = "binary"', 'encoding = "index"', ("value",)),
    ],
)
def test_a_wrong_key_of_the_description_is_refused_by_its_name(
    folder: Path, old: str, new: str, named: tuple[str, ...]
) -> None:
    call("finish", prepare(folder))
    path = folder / "dataset.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError) as error:
        make_class(None, folder)
    assert error_names(error.value, *named)


def test_a_folder_that_changed_is_refused_until_it_is_described_again(folder: Path) -> None:
    call("finish", prepare(folder))
    own_folders.save(own_folders.draw_image(9), folder / "images" / "9.png")
    own_folders.save(Image.fromarray(own_folders.draw_labels(9) * np.uint8(255)), folder / "masks" / "9.png")
    cls = make_class(None, folder)
    with pytest.raises(DataError) as error:
        cls(folder).pool("test")
    assert error_names(error.value, "7 images", "described 6", "--again")
    assert any("described 6" in f.problem for f in cls(folder).verify().findings)
    with pytest.raises(UsageError, match="--again"):
        prepare(folder)
    call("finish", call("prepare", folder, {"title": "Mine"}, again=True, from_scratch=False))
    cls = make_class(None, folder)
    assert len(cls(folder).pool("test").entries) == 7
    assert cls.card.title == "Mine"


def test_a_mask_that_was_changed_is_noticed_though_its_size_and_time_are_those_of_before(
    folder: Path,
) -> None:
    """As after a copy that keeps times."""
    mask = folder / "masks" / "1.png"
    Image.open(mask).save(mask, compress_level=0)  # so every content has the same size
    call("finish", prepare(folder))
    assert make_class(None, folder)(folder).pool("test").entries
    before = mask.stat()
    Image.open(mask).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mask, compress_level=0)
    os.utime(mask, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert mask.stat().st_size == before.st_size
    with pytest.raises(DataError) as error:
        make_class(None, folder)(folder).pool("test")
    assert error_names(error.value, "content", "--again")


def test_what_can_change_a_figure_changes_the_population_in_the_source_of_the_pool(folder: Path) -> None:
    call("finish", prepare(folder))
    first = make_class(None, folder)(folder).pool("test").source
    path = folder / "dataset.toml"
    text = path.read_text()
    path.write_text(
        text.replace('title = "my-images"', 'title = "Other"').replace('name = "object"', 'name = "crack"')
    )
    assert make_class(None, folder)(folder).pool("test").source == first
    path.write_text(text.replace('rule = "all"', 'rule = "hash"\ntest_percent = 60'))
    assert make_class(None, folder)(folder).pool("test").source.rpartition(" ")[2] != first.rpartition(" ")[2]


def test_the_split_by_hash_keeps_the_use_of_each_image_when_images_are_added_or_renamed(
    tmp_path: Path,
) -> None:
    own_folders.write_binary(tmp_path, [own_folders.draw_labels(n) for n in range(40)])
    few, more = _uses_before_and_after(tmp_path)
    assert set(few.values()) == {"train", "test"}
    assert few.items() <= more.items()
    assert 5 <= sum(use == "test" for use in few.values()) <= 20


def _uses_before_and_after(root: Path) -> tuple[dict[str, str], dict[str, str]]:
    def read() -> dict[str, str]:
        dataset = prepare(root, split="hash:30")(root)
        return {dataset.content(name): use for name, use in dataset.uses.items()}

    before = read()
    own_folders.write_binary(root, [own_folders.draw_labels(n) for n in range(60)])
    for folder in ("images", "masks"):
        (root / folder / "3.png").rename(root / folder / "renamed.png")
    return before, read()


def test_the_split_by_list_names_lines_that_are_wrong(folder: Path) -> None:
    (folder / "test.txt").write_text("0\nimages/1.png\n2.png\n\n")
    (folder / "train.txt").write_text("3\n4\n")
    dataset = prepare(folder)(folder)
    assert [e.item for e in dataset.pool("test").entries] == [f"images/{n}.png" for n in range(3)]
    assert [e.item for e in dataset.pool("trn").entries] == [f"images/{n}.png" for n in (3, 4)]
    assert any("1 images are in no list" in f.problem for f in dataset.verify().findings)
    (folder / "train.txt").write_text("3\n0\n")
    assert any("train.txt" in p or "test.txt" in p for p in errors(folder).values())
    (folder / "train.txt").write_text("33\n")
    with pytest.raises(DataError, match="line 1: '33'"):
        prepare(folder)(folder).pool("trn")


def test_folders_called_train_and_test_are_a_split(tmp_path: Path) -> None:
    for use, numbers in (("train", range(3)), ("val", range(3, 5))):
        own_folders.write_binary(
            tmp_path / "x", [own_folders.draw_labels(n) for n in range(max(numbers) + 1)]
        )
        for folder in ("images", "masks"):
            for number in numbers:
                target = tmp_path / "set" / folder / use / f"{number}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / "x" / folder / f"{number}.png").rename(target)
    dataset = prepare(tmp_path / "set")(tmp_path / "set")
    assert [Path(e.item).stem for e in dataset.pool("trn").entries] == ["0", "1", "2"]
    assert [Path(e.item).stem for e in dataset.pool("test").entries] == [
        "3",
        "4",
    ]  # there is no other test folder
    assert dataset.verify().ok


def test_a_split_that_the_folder_does_not_have_is_named(folder: Path) -> None:
    dataset = prepare(folder)(folder)
    with pytest.raises(UsageError) as error:
        dataset.pool("trn")
    assert error_names(error.value, "trn", "test", "--split hash:30")


def test_a_class_that_is_left_out_is_background(tmp_path: Path) -> None:
    own_folders.write_index(tmp_path, [own_folders.draw_labels(n, 3) for n in range(3)])
    dataset = prepare(tmp_path, kept_classes=("three", "one"))(tmp_path)
    assert dataset.classes() == {0: "one", 2: "three"}
    assert dataset.shown_classes("images/0.jpg") == (0, 2)
    assert set(np.unique(dataset.label("images/0.jpg"))) == {0, 1, 3}
    with pytest.raises(UsageError, match="four"):
        prepare(tmp_path, kept_classes=("four",))


@pytest.mark.parametrize("name", ["pascal5i", "isic2018", "Über", "a b", "mini", ""])
def test_names_of_published_data_and_odd_names_are_refused(folder: Path, name: str) -> None:
    with pytest.raises(UsageError):
        make_class(name, folder)


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    (folder / "images" / "0.png").rename(secret)
    (folder / "images" / "0.png").symlink_to(secret)
    assert "leads out" in errors(folder)["images/0.png"]
    with pytest.raises(FssbenchError, match="leads out"):
        prepare(folder)(folder).pool("test")


@pytest.mark.parametrize("target", ["elsewhere", "."])
def test_a_linked_folder_is_named_and_not_listed(folder: Path, tmp_path: Path, target: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.png").write_bytes((folder / "images/0.png").read_bytes())
    (folder / "images" / "more").symlink_to(elsewhere if target == "elsewhere" else target)
    found = errors(folder)
    assert list(found) == ["images/more"]
    assert "link" in found["images/more"]


def test_folders_below_images_may_be_classes_or_not(tmp_path: Path) -> None:
    for name in ("north", "south"):
        own_folders.write_binary(tmp_path / "x", [own_folders.draw_labels(n) for n in range(3)])
        for folder in ("images", "masks"):
            (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / "x" / folder).rename(tmp_path / "set" / folder / name)
    with pytest.raises(DataError) as error:
        prepare(tmp_path / "set")
    assert error_names(error.value, "north", "CLASS/images", "--images images --masks masks")
    dataset = prepare(tmp_path / "set", images="images", masks="masks")(tmp_path / "set")
    assert dataset.classes() == {0: "object"}
    assert len(dataset.pool("test").entries) == 6


def test_masks_of_16_bits_are_named(folder: Path) -> None:
    for number in range(6):
        change_mask(folder, number, lambda mask: mask.astype(np.uint16))
    assert "16-bit" in errors(folder)["masks/0.png"]
