"""Files that users really have and that gave a figure without a word: `verify` and `run` say the same about them."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from places import NULL_PLUGIN

from fssbench.api import DataError
from fssbench.cli import main
from fssbench.data.location import open_dataset
from fssbench.runs.store import find_run_folders, read_run

REFUSED = 3
PLUGIN = NULL_PLUGIN


class Checked:
    """The two verbs on one data folder."""

    def __init__(self, data: Path, out: Path) -> None:
        self.data, self.out = data, out

    def verify(self, name: str) -> tuple[int, list[dict[str, str]]]:
        """Exit code and findings of `fssbench data verify`."""
        result = CliRunner().invoke(main, ["data", "verify", name, "--data", str(self.data), "--json"])
        return result.exit_code, json.loads(result.stdout)["findings"]

    def run(self, benchmark: str, *options: str, episodes: int = 8, fold: int = 0) -> tuple[int, str]:
        """Exit code and output of `fssbench run` with the null method."""
        arguments = (
            f"run --plugin {PLUGIN} -m null -b {benchmark} -f {fold} --shot 1 --episodes {episodes} --size 64"
        )
        arguments += f" --panels 2 --data {self.data} --out {self.out} -q --json"
        result = CliRunner().invoke(main, [*arguments.split(), *options])
        assert "Traceback" not in result.output
        return result.exit_code, result.output

    def marks(self, benchmark: str, *options: str, **counts: int) -> list[str]:
        """Marks of a run that succeeds."""
        code, output = self.run(benchmark, *options, **counts)
        assert code == 0, output
        return list(json.loads(output.splitlines()[-1])["marks"])

    def both_refuse(self, name: str, benchmark: str, *texts: str) -> None:
        code, findings = self.verify(name)
        errors = [f"{f['path']}: {f['problem']}" for f in findings if f["level"] == "error"]
        assert code == REFUSED
        assert any(all(text in error for text in texts) for error in errors), errors
        code, output = self.run(benchmark)
        assert code == REFUSED, output
        assert all(text in output for text in texts), output
        assert "Next:" in output


@pytest.fixture
def checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checked:
    monkeypatch.setenv("FSSBENCH_CACHE", str(tmp_path / "cache"))
    return Checked(tmp_path / "data", tmp_path / "runs")


def rewrite(folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Store what `change` makes of the values of each file in a folder."""
    for path in folder.iterdir():
        with Image.open(path) as image:
            values = np.asarray(image)
        Image.fromarray(change(values)).save(path)


OTHER_SIZES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "half": (lambda mask: mask[:, : mask.shape[1] // 2], "24x48"),
    "one pixel narrower": (lambda mask: mask[:, 1:], "47x48"),
    "one pixel lower": (lambda mask: mask[:-1], "48x47"),
    "one pixel larger": (lambda mask: np.pad(mask, ((0, 1), (0, 1))), "49x49"),
    "twice": (lambda mask: mask.repeat(2, 0).repeat(2, 1), "96x96"),
}


@pytest.mark.parametrize("change", OTHER_SIZES)
def test_a_mask_of_another_size_is_refused(checked, drawn, change):
    """F3: the mask was drawn on another copy; transposed ones are below."""
    _, masks = drawn.draw_isic(checked.data)
    made, size = OTHER_SIZES[change]
    rewrite(masks, made)
    checked.both_refuse(
        "isic2018", "pascal-to-isic2018", "_segmentation.png", f"mask is {size}", "image is 48x48"
    )


WRONG_MODES = {
    "grey values of the palette": (lambda label: label.convert("L"), "unknown label values 38"),
    "colours of the palette": (lambda label: label.convert("RGB"), "8-bit"),
    "colours and transparency": (lambda label: label.convert("RGBA"), "8-bit"),
    "one bit": (lambda label: label.convert("L").point(lambda v: 255 * (v > 0), "1"), "8-bit"),
    "sixteen bits": (lambda label: Image.fromarray(np.asarray(label).astype(np.uint16)), "16"),
}


@pytest.mark.parametrize("mode", WRONG_MODES)
def test_label_maps_of_another_mode_are_refused(checked, drawn, mode):
    """A palette that an image program has replaced by its colours or its brightness."""
    _, masks = drawn.draw_voc(checked.data)
    change, said = WRONG_MODES[mode]
    palette = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, *([200] * (252 * 3))]
    for path in masks.iterdir():
        label = Image.frombytes("P", (drawn.SIDE, drawn.SIDE), np.asarray(Image.open(path)).tobytes())
        label.putpalette(palette)
        change(label).save(path)
    checked.both_refuse("pascal", "pascal5i", ".png", said)


def test_unknown_labels_are_refused_by_value(checked, drawn):
    """F4 (a): a border of 254 would be background."""
    _, masks = drawn.draw_voc(checked.data)
    for path in masks.iterdir():
        label = np.asarray(Image.open(path))
        drawn.save_label(np.where(label == 255, 254, label).astype(np.uint8), path)
    checked.both_refuse("pascal", "pascal5i", ".png", "unknown label values 254")


def test_one_class_that_was_renumbered_does_not_leave_the_pool(checked, drawn):
    """F4 (b): six of eight bicycles would vanish without a word; a remembered scan must not hide it either."""
    _, masks = drawn.draw_voc(checked.data)
    assert open_dataset("pascal", data=checked.data).pool("val").entries  # remembered as sound
    for number in (11, 16, 21, 26, 31, 36):
        path = masks / f"2007_{number:06}.png"
        label = np.asarray(Image.open(path))
        drawn.save_label(np.where(label == 2, 38, label).astype(np.uint8), path)
    for _ in range(2):
        with pytest.raises(DataError, match=r"2007_000011\.png: .* unknown label values 38"):
            open_dataset("pascal", data=checked.data).pool("val")
    checked.both_refuse("pascal", "pascal5i", "2007_000011.png", "38")


def test_coco_labels_beyond_80_are_refused_while_listing(checked, drawn):
    for folder in ("val2017", "annotations/val2017"):
        (checked.data / "COCO2017" / folder).mkdir(parents=True)
    for number, value in enumerate((1, 2, 3, 255)):
        image, mask = drawn.draw_pair(number)
        Image.fromarray(image).save(checked.data / f"COCO2017/val2017/{number:012}.jpg")
        label = np.where(mask > 0, value, 0).astype(np.uint8)
        Image.fromarray(label).save(checked.data / f"COCO2017/annotations/val2017/{number:012}.png")
    with pytest.raises(DataError, match=r"0{11}3\.png: .* unknown label values 255"):
        open_dataset("coco", data=checked.data).pool("val")
    assert checked.verify("coco")[0] == REFUSED


def test_masks_stored_as_0_and_1_are_refused(checked, drawn):
    """F5 (a): read with the threshold, no pixel would be foreground."""
    _, masks = drawn.draw_isic(checked.data)
    rewrite(masks, lambda mask: (mask > 127).astype(np.uint8))
    checked.both_refuse("isic2018", "pascal-to-isic2018", "_segmentation.png", "highest value is 1")


@pytest.mark.parametrize("depth", [np.uint16, np.int32, np.float32])
def test_images_of_more_than_8_bits_are_refused(checked, drawn, depth):
    """F6: 12-bit radiographs would be white pictures."""
    images, _ = drawn.draw_lungs(checked.data)
    for path in images.iterdir():
        Image.fromarray(np.asarray(Image.open(path)).astype(depth) * 16).save(path, format="TIFF")
    bits = {np.uint16: "16-bit", np.int32: "32-bit integer", np.float32: "32-bit float"}[depth]
    checked.both_refuse("chestxray", "pascal-to-chestxray", "CXR_png", bits)


def test_a_colour_png_of_16_bits_is_refused_though_it_is_decoded_as_8(checked, drawn):
    images, _ = drawn.draw_lungs(checked.data)
    for path in images.iterdir():
        grey = np.asarray(Image.open(path)).astype(np.uint16) * 16
        drawn.write_png(path, np.stack([grey] * 3, 2), 16)
        assert Image.open(path).mode == "RGB"
    checked.both_refuse("chestxray", "pascal-to-chestxray", "CXR_png", "16-bit")


@pytest.mark.parametrize("variant", ["suim7", "suim8"])
def test_colour_codes_stored_as_0_and_1_are_refused(checked, drawn, variant):
    """F9: in suim8 the whole picture would be open water, in suim7 the images would leave the pool."""
    _, masks = drawn.draw_suim(checked.data)
    for number in range(6, 12):
        Image.fromarray(drawn.make_stripes()).save(masks / f"im_{number:02}.bmp")
    checked.both_refuse(f"suim:{variant}", f"pascal5i-to-suim:{variant}", "im_06.bmp", "highest value is 1")


def test_fss_as_released_is_marked_with_a_count(checked, drawn):
    """F17: one photograph and one mask of another size, which the reference thresholds and resizes."""
    root = drawn.draw_fss(checked.data)
    photograph = np.random.default_rng(0).integers(0, 255, (130, 200, 3), dtype=np.uint8)
    Image.fromarray(photograph).save(root / "class_001/8.png")
    Image.open(root / "class_002/8.png").resize((131, 129), 0).save(root / "class_002/8.png")
    shutil.copy(root / "class_000/10.jpg", root / "class_000/10.jpeg")
    code, findings = checked.verify("fss1000")
    assert code == 0
    told = {f["path"]: f["problem"] for f in findings if "as released" in f["problem"]}
    assert {*told} == {"class_001/8.png", "class_002/8.png"}
    marks = checked.marks("fss1000", episodes=30)
    run = read_run(next(find_run_folders(checked.out)))
    for kind, words in (("photograph", "picture in place of the mask"), ("resized", "mask of another size")):
        count = sum(kind in record.doubts for record in run.records.values())
        assert count
        assert any(f"({count} of 30 episodes: " in mark and words in mark for mark in marks), marks
    drawn_items = {item for e in run.plan for item in (e.query, *e.supports)}
    assert {"class_001/8.jpg", "class_002/8.jpg"} <= drawn_items


@pytest.mark.parametrize("fault", ["cropped", "0 and 1", "hole", "deep"])
def test_other_faults_of_fss_masks_stop(checked, drawn, fault):
    root = drawn.draw_fss(checked.data)
    for path in root.glob("class_001/*.png"):
        mask = np.asarray(Image.open(path))
        if fault == "cropped":
            Image.fromarray(mask[:, :20]).save(path)
        elif fault == "0 and 1":
            Image.fromarray(mask // 255).save(path)
        elif fault == "deep":
            Image.fromarray(mask.astype(np.uint16) * 257).save(path)
        else:
            image = Image.fromarray(mask).convert("RGBA")
            image.putalpha(Image.fromarray(mask))
            image.save(path)
    assert checked.verify("fss1000")[0] == REFUSED
    code, output = checked.run("fss1000", episodes=30)
    assert code == REFUSED
    assert "class_001" in output


def test_suim_masks_of_another_size_are_marked_with_a_count(checked, drawn):
    _, masks = drawn.draw_suim(checked.data)
    for number in (0, 1):
        path = masks / f"im_{number:02}.bmp"
        Image.open(path).resize((40, 40), 0).save(path)
    code, findings = checked.verify("suim")
    assert code == 0
    assert (
        sum("as released: the mask is 40x40, but the image is 48x48" in f["problem"] for f in findings) == 2
    )
    marks = checked.marks("pascal5i-to-suim", episodes=20)
    assert any("mask of another size" in mark and "of 20 episodes" in mark for mark in marks), marks


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
@pytest.mark.parametrize("place", [0, 1])
def test_exif_orientation_of_image_or_mask_is_refused(checked, drawn, orientation, place):
    """F22: the image would be turned and the mask not; 180 degrees keep the size."""
    for path in drawn.draw_isic(checked.data)[place].iterdir():
        drawn.set_orientation(path, orientation)
    checked.both_refuse("isic2018", "pascal-to-isic2018", "ISIC_", f"orientation {orientation}")


def test_an_upright_tag_changes_nothing(checked, drawn):
    images, _ = drawn.draw_isic(checked.data)
    before = [np.asarray(Image.open(path)) for path in sorted(images.iterdir())]
    for path in images.iterdir():
        drawn.set_orientation(path, 1)
    assert checked.verify("isic2018")[0] == 0
    assert not any("doubtful" in mark for mark in checked.marks("pascal-to-isic2018"))
    assert len(before) == 8


@pytest.mark.parametrize("harm", ["label", "transposed"])
def test_voc_with_foreign_labels_or_turned_masks_gives_no_number(checked, drawn, harm, mini):
    """F06 of the attacks."""
    shutil.copytree(mini / "VOC2012", checked.data / "VOC2012")
    for path in sorted((checked.data / "VOC2012/SegmentationClassAug").glob("*.png")):
        label = np.asarray(Image.open(path)).copy()
        if harm == "label":
            label[: len(label) // 3] = 38
        else:
            label = np.ascontiguousarray(label.T)
        path.unlink()  # it may be one file with VOC's original
        drawn.save_label(label, path)
    texts = ("unknown label values 38",) if harm == "label" else ("mask is ", "transposed")
    checked.both_refuse("pascal", "pascal5i", ".png", *texts)


def test_masks_that_are_foreground_everywhere_are_marked(checked, drawn):
    _, masks = drawn.draw_isic(checked.data)
    for path in sorted(masks.iterdir())[:2]:
        Image.new("L", (drawn.SIDE, drawn.SIDE), 255).save(path)
    code, findings = checked.verify("isic2018")
    assert code == 0
    assert sum("every pixel is foreground" in f["problem"] for f in findings) == 2
    marks = checked.marks("pascal-to-isic2018", episodes=20)
    assert any("of 20 episodes: every pixel is foreground" in mark for mark in marks), marks


def test_soft_edges_are_marked_from_five_percent_on(checked, drawn):
    _, masks = drawn.draw_isic(checked.data)
    rewrite(masks, lambda mask: np.where(np.arange(48)[:, None] < 4, 100, mask).astype(np.uint8))
    assert checked.verify("isic2018")[0] == 0
    assert any("8 of 8 episodes: soft edges" in mark for mark in checked.marks("pascal-to-isic2018"))


@pytest.mark.parametrize("label", [1, 2, 15])
def test_labels_with_ignored_pixels_are_no_grey_values(checked, drawn, label):
    """Of 0, 1 and 255 the threshold would read the border that is to be ignored, and nothing else."""

    def relabel(mask):
        label_map = np.where(mask > 0, label, 0).astype(np.uint8)
        label_map[np.flatnonzero(mask.any(1)).max() + 1] = 255
        return label_map

    _, masks = drawn.draw_isic(checked.data)
    rewrite(masks, relabel)
    checked.both_refuse(
        "isic2018", "pascal-to-isic2018", "_segmentation.png", f"0, {label} and 255", "labels"
    )


@pytest.mark.parametrize("values", [(0, 255, 254), (0, 255, 1), (3, 255, 3), (0, 250, 1, 9, 251)])
def test_noise_near_black_and_white_is_no_label(checked, drawn, values):
    """A few odd pixels, a grey background or the noise of a compression leave a mask what it is."""
    _, masks = drawn.draw_isic(checked.data)

    def disturb(mask):
        noisy = np.where(mask > 0, values[1], values[0]).astype(np.uint8)
        noisy[-1, : len(values) - 2] = values[2:]
        return noisy

    rewrite(masks, disturb)
    code, findings = checked.verify("isic2018")
    assert code == 0, findings
    assert not any("doubtful" in mark for mark in checked.marks("pascal-to-isic2018"))


def test_inverted_masks_are_marked(checked, drawn):
    _, masks = drawn.draw_isic(checked.data)
    rewrite(masks, lambda mask: 255 - mask)
    code, findings = checked.verify("isic2018")
    assert code == 0
    assert sum("all four edges" in f["problem"] for f in findings) == 8
    assert any("8 of 8 episodes: foreground along" in mark for mark in checked.marks("pascal-to-isic2018"))


def test_land_that_surrounds_other_land_is_not_marked(checked, mini):
    shutil.copytree(mini / "Deepglobe", checked.data / "Deepglobe")
    for path in (checked.data / "Deepglobe/1/test/groundtruth").iterdir():
        mask = np.full_like(np.asarray(Image.open(path)), 255)
        mask[5:-5, 5:-5] = 0
        Image.fromarray(mask).save(path)
    assert not [f for f in checked.verify("deepglobe")[1] if "edges" in f["problem"]]
    assert not any("doubtful" in mark for mark in checked.marks("pascal-to-deepglobe"))


@pytest.mark.parametrize("orientation", [3, 6])
def test_the_orientation_of_a_tiff_counts_though_its_decoder_drops_it(checked, drawn, orientation):
    images, _ = drawn.draw_lungs(checked.data)
    for path in images.iterdir():
        image = Image.open(path)
        image.load()
        image.save(path, format="TIFF", tiffinfo={274: orientation})
    checked.both_refuse("chestxray", "pascal-to-chestxray", "CHNCXR", f"orientation {orientation}")


@pytest.mark.parametrize(("kind", "value"), [(2, b"abc\0"), (7, b"\1\2\0\0"), (11, b"\0\0\xc0\x7f")])
def test_an_orientation_that_is_no_number_names_its_file(checked, drawn, kind, value):
    images, _ = drawn.draw_isic(checked.data)
    count = {2: 4, 7: 2, 11: 1}[kind]
    tags = b"Exif\0\0II*\0" + struct.pack("<IHHHI", 8, 1, 0x0112, kind, count) + value + bytes(4)
    for path in images.iterdir():
        content = path.read_bytes()
        path.write_bytes(content[:2] + b"\xff\xe1" + struct.pack(">H", len(tags) + 2) + tags + content[2:])
    checked.both_refuse("isic2018", "pascal-to-isic2018", "ISIC_", "orientation")


def test_a_link_that_leads_to_itself_hides_no_other_file(checked, drawn):
    _, masks = drawn.draw_isic(checked.data)
    first, second = sorted(masks.iterdir())[:2]
    first.unlink()
    first.symlink_to(first.name)
    second.unlink()
    code, findings = checked.verify("isic2018")
    assert code == REFUSED
    errors = {f["path"] for f in findings if f["level"] == "error"}
    assert {Path(path).name for path in errors} == {first.name, second.name}


def test_a_small_grey_area_beside_the_object_is_marked(checked, drawn):
    """Two objects in two greys: the threshold reads one, and both are less than 5 % of the picture."""
    _, masks = drawn.draw_isic(checked.data)

    def two(mask):
        areas = np.zeros_like(mask)
        areas[4:10, 4:10], areas[4:10, 14:20] = 100, 255
        return areas

    rewrite(masks, two)
    code, findings = checked.verify("isic2018")
    assert code == 0
    assert sum("soft edges" in f["problem"] for f in findings) == 8
    assert any("8 of 8 episodes: soft edges" in mark for mark in checked.marks("pascal-to-isic2018"))


def test_transposed_masks_are_never_as_released(checked, drawn):
    _, masks = drawn.draw_suim(checked.data)
    for path in masks.iterdir():
        coded = np.asarray(Image.open(path))[:, :36]
        Image.fromarray(np.ascontiguousarray(coded.transpose(1, 0, 2))).save(path)
    for path in (masks.parent / "images").iterdir():
        Image.open(path).crop((0, 0, 36, 48)).save(path)
    checked.both_refuse("suim:suim8", "pascal5i-to-suim:suim8", ".bmp", "transposed")
