"""`fssbench.predict` on a user's folder: what is written, resumed, refused and warned of."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from colour_method import LooksAtImages, NeedsTraining
from drawn_data import draw_pair
from filelock import FileLock
from messages import error_names
from PIL import Image

from fssbench.errors import DataError, LockedError, UsageError
from fssbench.prediction import job as job_module
from fssbench.prediction.folder import PredictionFolder
from fssbench.prediction.image_files import ENDINGS
from fssbench.prediction.method_choice import MethodRequest
from fssbench.prediction.predict import prepare
from fssbench.prediction.request import PredictSettings
from fssbench.prediction.table import make_failed_row, write_csv


def read_mask(path):
    return np.asarray(Image.open(path)) > 0


def list_files(folder):
    return sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"
    )


def read_table(folder):
    return list(csv.DictReader((folder / "predictions.csv").open()))


def test_masks_are_right_and_everything_is_written(predict, user):
    done = predict()
    assert [p.file for p in done] == [str(user / f"photos/{n}.png") for n in range(1, 5)]
    for number, prediction in enumerate(done, start=1):
        truth = draw_pair(number)[1] > 0
        np.testing.assert_array_equal(prediction.mask, read_mask(user / f"out/masks/{number}.png"))
        assert prediction.mask.shape == truth.shape
        assert (prediction.mask & truth).sum() / (prediction.mask | truth).sum() > 0.8
        assert prediction.foreground == prediction.mask.mean()
        assert set(np.unique(np.asarray(Image.open(prediction.mask_path)))) == {0, 255}
    assert list_files(user / "out") == sorted(
        [
            f"{folder}/{n}.{e}"
            for folder, e in (("masks", "png"), ("overlays", "jpg"), ("thumbnails", "jpg"))
            for n in range(1, 5)
        ]
        + ["contact-sheet.html", "prediction.json", "predictions.csv", "predictions.jsonl"]
    )
    table = read_table(user / "out")
    assert [row["status"] for row in table] == ["done"] * 4
    assert [float(row["foreground"]) for row in table] == pytest.approx(
        [p.foreground for p in done], abs=1e-4
    )
    assert done.table["foreground"].tolist() == [p.foreground for p in done]
    assert done.warnings == ()
    assert done.failed == ()
    assert done.computed == 4


def test_manifest_holds_what_an_answer_depends_on_and_no_folder(predict, user):
    predict(threshold=0.4)
    text = (user / "out/prediction.json").read_text()
    stored = json.loads(text)
    assert stored["settings"]["threshold"] == 0.4
    assert stored["settings"]["method"] == "colour-match"
    assert stored["settings"]["device"] == "cpu"
    assert len(stored["settings"]["examples"][0][0]) == 64
    assert stored["context"]["fssbench"]
    assert str(user) not in text


def test_second_run_does_only_what_is_missing(predict, user):
    predict()
    replaced = read_mask(user / "out/masks/3.png")
    (user / "out/masks/2.png").unlink()
    Image.fromarray(draw_pair(7)[0]).save(user / "photos/5.png")
    Image.fromarray(draw_pair(8)[0]).save(user / "photos/3.png")
    before = (user / "out/masks/1.png").stat().st_mtime_ns
    again = predict()
    assert again.computed == 3
    assert (user / "out/masks/1.png").stat().st_mtime_ns == before
    assert (read_mask(user / "out/masks/3.png") != replaced).any()
    assert again[2].foreground == read_mask(user / "out/masks/3.png").mean()
    assert len(read_table(user / "out")) == 5
    assert predict().computed == 0


def test_images_that_moved_with_their_masks_stay_finished(predict, user):
    predict()
    (user / "moved").mkdir()
    for name in ("photos", "out"):
        (user / name).rename(user / "moved" / name)
    assert predict(user / "moved/photos", out=user / "moved/out").computed == 0
    (user / "moved/photos").rename(user / "moved/other")
    assert predict(user / "moved/other", out=user / "moved/out").computed == 0


def test_mask_that_a_person_edited_is_kept(predict, user):
    predict()
    edited = Image.fromarray(np.full((48, 48), 255, np.uint8))
    edited.save(user / "out/masks/1.png")
    (user / "out/masks/2.png").write_bytes(b"")  # as after a power cut
    assert predict().computed == 1
    assert read_mask(user / "out/masks/1.png").all()
    assert read_mask(user / "out/masks/2.png").any()


@pytest.mark.parametrize(
    "other", [{"threshold": 0.6}, {"size": 96}, {"config": {"sharpness": 2.0}}, {"method": LooksAtImages}]
)
def test_other_settings_are_refused_or_start_anew_by_force(other, predict, user):
    predict()
    (user / "out/masks/own.txt").write_text("a note of the user")
    kept = list_files(user / "out")
    with pytest.raises(UsageError) as error:
        predict(user / "photos/1.png", **other)
    assert error_names(error.value, user / "out", "--force")
    assert list_files(user / "out") == kept
    done = predict(user / "photos/1.png", **other, force=True)
    assert done.computed == 1
    assert [name for name in list_files(user / "out") if name.startswith("masks")] == [
        "masks/1.png",
        "masks/own.txt",
    ]
    assert len(read_table(user / "out")) == 1


def test_other_example_is_another_setting(predict, user):
    predict()
    image, mask = draw_pair(6)
    Image.fromarray(image).save(user / "example.png")
    Image.fromarray(mask).save(user / "mask.png")
    with pytest.raises(UsageError) as error:
        predict()
    assert error_names(error.value, "examples")


def test_files_of_somebody_else_are_not_overwritten(predict, user):
    (user / "out/masks").mkdir(parents=True)
    (user / "out/masks/1.png").write_text("mine")
    with pytest.raises(UsageError) as error:
        predict(force=True)
    assert error_names(error.value, user / "out", "masks")
    assert (user / "out/masks/1.png").read_text() == "mine"


def test_images_of_one_name_get_masks_of_their_own(predict, user):
    for folder, ending in (("a", "png"), ("b", "bmp")):
        (user / folder).mkdir()
        Image.fromarray(draw_pair(ord(folder))[0]).save(user / folder / f"x.{ending}")
    shutil.copy(user / "b/x.bmp", user / "a/x.bmp")
    done = predict([user / "a", user / "b"])
    assert len({p.mask_path for p in done}) == 3
    for prediction in done:
        assert prediction.mask.shape == (48, 48)
        assert prediction.mask_path.is_file()


@pytest.mark.parametrize("name", ["l" * 250, "a\nb", "-x", "=1+1", "\u202egnp", "\udcff"])
def test_image_of_any_name_gets_its_mask(name, predict, user):
    try:
        shutil.copy(user / "photos/1.png", user / "photos" / f"{name}.png")
    except OSError:
        pytest.skip("the file system does not allow this name")
    (done,) = (p for p in predict() if p.file.endswith(f"{name}.png"))
    assert done.mask.any()
    with (user / "out/predictions.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 5
    assert all(value[:1] not in {"=", "-"} and value.isprintable() for row in table for value in row.values())
    assert predict().computed == 0


def test_a_name_in_the_table_is_no_formula():
    table = write_csv([make_failed_row("=cmd|calc.png", "a\x1b[31m")]).decode()
    (row,) = csv.DictReader(table.splitlines())
    assert row["file"] == "'=cmd|calc.png"
    assert row["notes"].isprintable()


def test_damaged_images_are_named_and_the_others_go_on(predict, user):
    broken = (user / "photos/2.png").read_bytes()[:300]
    (user / "photos/2.png").write_bytes(broken)
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(user / "photos/deep.png")
    done = predict()
    assert len(done) == 3
    assert sorted(file for file, _ in done.failed) == [
        str(user / "photos/2.png"),
        str(user / "photos/deep.png"),
    ]
    assert all(file in problem and "data verify" not in problem for file, problem in done.failed)
    failed = [row for row in read_table(user / "out") if row["status"] == "failed"]
    assert len(failed) == 2
    sheet = (user / "out/contact-sheet.html").read_text()
    assert "deep.png" in sheet
    assert predict().failed == done.failed  # tried again, and named again


def test_photograph_that_exif_turns_is_refused_until_the_user_decides(predict, user):
    image, _ = draw_pair(11)
    turned = Image.fromarray(np.ascontiguousarray(image[:30].transpose(1, 0, 2)))
    exif = Image.Exif()
    exif[0x0112] = 5
    turned.save(user / "photos/phone.jpg", exif=exif, quality=95)
    ((file, problem),) = predict().failed
    assert file.endswith("phone.jpg")
    assert error_names(problem, "--orientation upright")
    upright = predict(user / "photos/phone.jpg", orientation="upright", out=user / "upright")[0]
    stored = predict(user / "photos/phone.jpg", orientation="stored", out=user / "stored")[0]
    assert upright.mask.shape == (30, 48)
    assert stored.mask.shape == (48, 30)
    assert (upright.mask != stored.mask.T).mean() < 0.03


@pytest.mark.parametrize("form", ["L", "RGBA", "P", "CMYK"])
def test_grey_scans_screenshots_and_palettes_are_read(form, predict, user):
    ending = "tif" if form == "CMYK" else "png"
    Image.open(user / "photos/1.png").convert(form).save(user / f"photos/other.{ending}")
    done = predict(user / f"photos/other.{ending}")
    assert done.failed == ()
    assert done[0].mask.shape == (48, 48)


def test_every_ending_that_is_listed_can_be_read(predict, user):
    image = Image.open(user / "photos/1.png")
    (user / "all").mkdir()
    for ending in ENDINGS:
        image.save(user / f"all/{ending[1:]}{ending}")
    assert len(predict(user / "all")) == len(ENDINGS)


# ---------------------------------------------------------------- examples


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (np.zeros((48, 48)), ["empty", "--label"]),
        (np.eye(48)[:, :47] * 255, ["47x48", "48x48"]),
        (np.pad(np.full((1, 1), 255), ((0, 47), (0, 47)))[::-1], []),
    ],
)
def test_example_without_object_or_of_another_size_is_refused(values, named, predict, user):
    Image.fromarray(values.astype(np.uint8)).save(user / "mask.png")
    with pytest.raises(DataError) as error:
        predict(size=32)
    assert error_names(error.value, user / "mask.png", *named)
    assert not (user / "out").exists()


def test_full_mask_warns(predict, user):
    Image.fromarray(np.full((48, 48), 255, np.uint8)).save(user / "mask.png")
    done = predict()
    assert any("every pixel is the object" in warning for warning in done.warnings)
    assert all(item.record.support_effect is None for item in done)


@pytest.mark.parametrize("supports", [[], ["a.png"], [("a.png",)], "a.png", [("a.png", 3)]])
def test_examples_that_are_no_pairs_of_files_are_refused(supports, predict):
    with pytest.raises(UsageError):
        predict(supports=supports)


def test_example_given_twice_is_refused(predict, user):
    pair = (user / "example.png", user / "mask.png")
    with pytest.raises(UsageError) as error:
        predict(supports=[pair, pair])
    assert error_names(error.value, "twice")


def test_example_among_the_images_is_segmented_and_said(predict, user):
    shutil.copy(user / "example.png", user / "photos/copy.png")
    done = predict()
    assert [item.record.is_example for item in done] == [False] * 4 + [True]
    assert "one of the examples" in read_table(user / "out")[-1]["notes"]


# ---------------------------------------------------------------- warnings


def test_answer_that_does_not_depend_on_the_examples_warns(predict):
    done = predict(method=LooksAtImages)
    assert [item.record.support_effect for item in done] == [0.0, 0.0, 0.0, None]
    assert any("does not depend on the examples" in warning for warning in done.warnings)


def test_images_that_look_entirely_different_are_counted(predict, user):
    Image.new("L", (480, 48), 250).save(user / "photos/scan.png")
    done = predict()
    kinds = set(done[-1].record.differences)
    assert {"size", "shape", "brightness", "contrast", "colour"} == kinds
    assert sum("1 of 5 images differ" in warning for warning in done.warnings) == len(kinds)
    assert not any(item.record.differences for item in list(done)[:-1])


# ---------------------------------------------------------------- faults


def test_full_disk_keeps_what_is_finished(predict, user, monkeypatch):
    write = PredictionFolder.write

    def fail_on_third(self, name, content):
        if name == "masks/3.png":
            raise DataError(f"{self.path / name} cannot be written (No space left on device)")
        write(self, name, content)

    monkeypatch.setattr(PredictionFolder, "write", fail_on_third)
    with pytest.raises(DataError):
        predict()
    assert len(read_table(user / "out")) == 2
    monkeypatch.undo()
    assert predict().computed == 2


def test_interrupt_keeps_what_is_finished(predict, user, monkeypatch):
    measure = job_module.find_differences
    calls = []

    def interrupt(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measure(*arguments)

    monkeypatch.setattr(job_module, "find_differences", interrupt)
    with pytest.raises(KeyboardInterrupt):
        predict()
    assert [row["status"] for row in read_table(user / "out")] == ["done", "done"]
    assert (user / "out/contact-sheet.html").is_file()
    monkeypatch.undo()
    assert predict().computed == 2


def test_half_a_line_of_the_log_costs_its_image_alone(predict, user):
    predict()
    log = user / "out/predictions.jsonl"
    log.write_bytes(log.read_bytes()[:-20])
    assert predict().computed == 1


def test_folder_in_use_is_refused(predict, user):
    predict()
    with FileLock(user / "out/.lock"), pytest.raises(LockedError):
        predict()


def test_method_without_trained_weights_is_refused_as_in_run(predict, user):
    with pytest.raises(DataError) as error:
        predict(method=NeedsTraining)
    assert error_names(error.value, "needs-training", "--checkpoint")
    done = predict(method=NeedsTraining, untrained=True)
    assert "untrained" in done.marks


def test_shipped_weights_work_at_once_with_their_marks(predict, user):
    done = predict(user / "photos/1.png", method="pmnet")
    assert any(mark.startswith("part-trained") for mark in done.marks)
    stored = json.loads((user / "out/prediction.json").read_text())
    assert stored["settings"]["size"] == 192
    assert stored["settings"]["backbone"] == "efficientnet-lite0"
    assert "part-trained" in (user / "out/contact-sheet.html").read_text()


@pytest.mark.parametrize(("size", "named"), [(None, True), (96, False), (192, False)])
def test_the_size_of_the_training_is_named_unless_a_size_is_given(size, named, user):
    request = MethodRequest("pmnet")
    settings = PredictSettings(out=user / "out", size=size)
    pairs = [(user / "example.png", user / "mask.png")]
    job = prepare(request, pairs, [user / "photos"], settings)
    assert any("192 px" in note and "run --size 192" in note for note in job.ready.loaded.notes) == named


def test_unknown_argument_is_refused_with_similar_names(predict):
    with pytest.raises(UsageError) as error:
        predict(treshold=0.4)
    assert error_names(error.value, "threshold")
    with pytest.raises(UsageError):
        predict(threshold=1.0)


# ---------------------------------------------------------------- contact sheet


def test_contact_sheet_escapes_names_and_links_to_files(predict, user):
    name = 'a&<b> "c" #1 %20.png'
    shutil.copy(user / "photos/1.png", user / "photos" / name)
    predict()
    sheet = (user / "out/contact-sheet.html").read_text()
    assert "<b>&" not in sheet
    assert "a&<b>" not in sheet
    assert "masks/a%26%3Cb%3E%20%22c%22%20%231%20%2520.png" in sheet


def test_many_images_get_pages_and_fewer_pages_remove_the_rest(predict, user, monkeypatch):
    monkeypatch.setattr("fssbench.prediction.contact_sheet.PER_PAGE", 2)
    predict()
    pages = [user / "out/contact-sheet.html", user / "out/contact-sheet-2.html"]
    assert all(page.is_file() for page in pages)
    assert ["thumbnails/4.jpg" in page.read_text() for page in pages] == [False, True]
    monkeypatch.undo()
    predict()
    assert not pages[1].exists()
