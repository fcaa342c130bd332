"""Which files are images, and which names their masks get."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest
from hypothesis import given, settings, strategies as st
from messages import error_names

from fssbench.api import UsageError
from fssbench.prediction.image_files import list_images
from fssbench.prediction.layout import MANIFEST, OutputNames


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def list_names(root: Path, *named: str, out: str = "out") -> list[str]:
    listing = list_images([root / name for name in named], root / out)
    return [file.path.relative_to(root).as_posix() for file in listing.files]


def test_folder_is_listed_to_its_depth_without_what_systems_leave(tmp_path):
    touch(tmp_path, "in/b.JPG", "in/a.png", "in/c/d.tif", "in/Thumbs.db", "in/.DS_Store", "in/._a.png")
    touch(tmp_path, "in/@eaDir/a.png", "in/README.txt", "in/notes.docx")
    assert list_names(tmp_path, "in") == ["in/a.png", "in/b.JPG", "in/c/d.tif"]
    notes = list_images([tmp_path / "in"], tmp_path / "out").notes
    assert len(notes) == 1
    assert ".docx" in notes[0]


def test_file_of_a_system_is_skipped_even_if_a_shell_names_it(tmp_path):
    touch(tmp_path, "in/a.png", "in/Thumbs.db")
    assert list_names(tmp_path, "in/Thumbs.db", "in/a.png") == ["in/a.png"]


def test_image_that_is_named_twice_is_listed_once(tmp_path):
    touch(tmp_path, "in/a.png", "in/b.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "in/a.png")
    assert list_names(tmp_path, "in/b.png", "in", "link.png") == ["in/b.png", "in/a.png"]


def test_link_to_a_folder_above_ends(tmp_path):
    touch(tmp_path, "in/a.png")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    assert list_names(tmp_path, "in") == ["in/a.png"]


@pytest.mark.parametrize("out", ["in", "in/out"])
def test_output_inside_the_input_is_no_image(tmp_path, out):
    touch(tmp_path, "in/a.png", f"{out}/masks/a.png", f"{out}/overlays/a.jpg", f"{out}/thumbnails/a.jpg")
    touch(tmp_path, f"{out}/predictions.csv", f"{out}/contact-sheet.html")
    assert list_names(tmp_path, "in", out=out) == ["in/a.png"]
    assert list_images([tmp_path / "in"], tmp_path / out).notes == ()


def test_output_of_an_earlier_prediction_is_no_image(tmp_path):
    touch(tmp_path, "in/a.png", "in/old/masks/a.png", f"in/old/{MANIFEST}", "in/other/masks/b.png")
    assert list_names(tmp_path, "in") == ["in/a.png", "in/other/masks/b.png"]


def test_nothing_to_do_is_a_mistake_of_usage(tmp_path):
    touch(tmp_path, "in/a.docx")
    with pytest.raises(UsageError) as error:
        list_images([tmp_path / "in"], tmp_path / "out")
    assert error_names(error.value, tmp_path / "in", "1 .docx", ".png")
    with pytest.raises(UsageError) as error:
        list_images([tmp_path / "nothing"], tmp_path / "out")
    assert error_names(error.value, "nothing")


def test_names_are_plain_unless_two_images_have_one():
    names = OutputNames([])
    assert names.give(PurePath("a/x.png"), "in") == "a/x"
    assert names.give(PurePath("b/x.jpg"), "in") == "b/x"
    assert names.give(PurePath("a/x.jpg"), "in") == "a/x_jpg"
    assert names.give(PurePath("a/X.png"), "other") == "a/X_png"
    assert names.give(PurePath("a/x.png"), "third") == "third/a/x"


def test_long_names_are_shortened_and_stay_different():
    names = OutputNames([])
    long = [names.give(PurePath(f"{'ü' * 100}{n}.png"), "in") for n in range(2)]
    assert len(set(long)) == 2
    assert all(len(name.encode()) <= 150 for name in long)


parts = st.sampled_from(["a", "A", "b", "x.png", "x_png", "x.png.png", "a.jpg", "ß", "SS"])


@settings(max_examples=40)
@given(st.lists(st.tuples(st.lists(parts, min_size=1, max_size=3), st.sampled_from(["png", "jpg"]))))
def test_no_two_images_have_one_name_on_a_file_system_without_case(images):
    names = OutputNames([])
    given_names = [
        names.give(PurePath(*folders[:-1], f"{folders[-1]}.{ending}"), "in") for folders, ending in images
    ]
    assert len({name.casefold() for name in given_names}) == len(images)
    assert not any(PurePath(name).is_absolute() or ".." in PurePath(name).parts for name in given_names)
