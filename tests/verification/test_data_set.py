"""`verify` and `run` are of one mind about data sets that lack images, and say what may be meant."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings, strategies as st

from fssbench.api import Verification
from fssbench.cli import main
from fssbench.data.location import open_dataset
from fssbench.episodes.sampling import plan
from fssbench.errors import DataError
from fssbench.plugins.registry import DATASETS
from fssbench.verification.data_set import verify_dataset

BENCHMARKS = {
    "pascal": "pascal5i",
    "coco": "coco20i",
    "fss1000": "fss1000",
    "deepglobe": "pascal-to-deepglobe",
    "isic2018": "pascal-to-isic2018",
    "chestxray": "pascal-to-chestxray",
    "suim": "pascal5i-to-suim",
}
INNER = {
    "pascal": ("JPEGImages", "SegmentationClassAug"),
    "coco": ("val2017", "annotations/val2017"),
    "deepglobe": ("1/test/origin", "4/test/groundtruth"),
    "isic2018": ("ISIC2018_Task1_Training_GroundTruth",),
    "chestxray": ("CXR_png", "masks"),
    "suim": ("images", "masks"),
}


def own_copy(name: str, mini: Path, data: Path) -> Path:
    """Link one miniature data set below `data`; gives its root."""
    root = DATASETS.get(name).locate(mini)
    shutil.copytree(root, data / root.relative_to(mini), copy_function=os.link)
    return data / root.relative_to(mini)


def nest(folder: Path, inner: str | None = None) -> Path:
    """Move the content of a folder into one below it, by default of its own name."""
    aside = folder.with_name(f"{folder.name}-aside")
    folder.rename(aside)
    (folder / (inner or folder.name)).parent.mkdir(parents=True)
    aside.rename(folder / (inner or folder.name))
    return folder / (inner or folder.name)


def command(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert "Traceback" not in result.output
    return result.exit_code, result.stdout + result.stderr


def refusal(name: str, data: Path) -> str:
    with pytest.raises(DataError) as caught:
        plan(BENCHMARKS[name], data=data)
    return str(caught.value)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_data_set_without_files_is_not_sound(name: str, mini: Path, tmp_path: Path) -> None:
    root = own_copy(name, mini, tmp_path)
    for path in root.rglob("*"):
        if path.is_file():
            path.unlink()
    code, text = command("data", "verify", name, "--data", tmp_path)
    assert code == 3
    assert "0 images, 0 masks" in text
    assert "not usable" in text
    refusal(name, tmp_path)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_data_set_without_masks_is_not_sound(name: str, mini: Path, tmp_path: Path) -> None:
    root = own_copy(name, mini, tmp_path)
    for path in root.rglob("*"):
        if path.suffix == ".bmp" or (path.suffix == ".png" and "CXR_png" not in path.parts):
            path.unlink()
    assert command("data", "verify", name, "--data", tmp_path)[0] == 3
    if name not in {"deepglobe", "isic2018"}:  # these list their images; the reader refuses the first pair
        refusal(name, tmp_path)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_an_archive_nested_in_its_own_name_is_named(name: str, mini: Path, tmp_path: Path) -> None:
    nested = nest(own_copy(name, mini, tmp_path))
    code, text = command("data", "verify", name, "--data", tmp_path)
    assert code == 3
    assert f"Did you mean `--data {nested.parent}`" in text
    assert f"Did you mean `--data {nested.parent}`" in refusal(name, tmp_path)
    made = plan(BENCHMARKS[name], data=nested.parent)
    assert made.sha256 == plan(BENCHMARKS[name], data=mini).sha256, "what is suggested works"


def test_a_devkit_nested_in_the_data_set_is_named(mini: Path, tmp_path: Path) -> None:
    root = own_copy("pascal", mini, tmp_path)
    nest(root, "VOCdevkit/VOC2012")
    assert f"Did you mean `--data {root}`" in refusal("pascal", tmp_path)
    assert verify_dataset(open_dataset("pascal", data=root)).ok


@pytest.mark.parametrize(("name", "inner"), [(n, i) for n, several in INNER.items() for i in several])
def test_files_nested_in_a_folder_of_the_layout_are_named(
    name: str, inner: str, mini: Path, tmp_path: Path
) -> None:
    nested = nest(own_copy(name, mini, tmp_path) / inner)
    code, text = command("data", "verify", name, "--data", tmp_path)
    assert code == 3
    assert f"Did you mean {nested}?" in text
    if inner not in {"ISIC2018_Task1_Training_GroundTruth", "4/test/groundtruth", "CXR_png", "images"}:
        # in the others the list is whole, and the reader refuses the first pair
        assert f"Did you mean {nested}?" in refusal(name, tmp_path)


@pytest.mark.parametrize(("name", "inner"), [(n, i) for n, several in INNER.items() for i in several])
def test_a_folder_of_the_layout_in_another_spelling_is_named(
    name: str, inner: str, mini: Path, tmp_path: Path
) -> None:
    folder = own_copy(name, mini, tmp_path) / inner
    other = folder.with_name(folder.name.swapcase() if folder.name.swapcase() != folder.name else "?")
    folder.rename(other)
    if folder.is_dir():
        pytest.skip("this file system does not tell the two apart")
    code, text = command("data", "verify", name, "--data", tmp_path)
    assert code == 3
    assert f"Did you mean {other}?" in text


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_data_folder_one_level_off_is_corrected(name: str, mini: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    root = own_copy(name, mini, data)
    inner = next(p for p in sorted(root.iterdir()) if p.is_dir())
    for wrong in (root, inner, tmp_path):
        code, text = command("data", "verify", name, "--data", wrong)
        assert code == 3
        assert f"Did you mean `--data {data}`?" in text, wrong
        assert f"`--data {data}`?" in refusal(name, wrong)
    code, text = command("data", "verify", "--data", root)
    assert code == 3
    assert text.strip().endswith(f"Did you mean `--data {data}`?")


@pytest.mark.parametrize("spelling", ["fss-1000", "FSS 1000", "Fss_1000"])
def test_a_data_set_in_another_spelling_is_named(spelling: str, mini: Path, tmp_path: Path) -> None:
    root = own_copy("fss1000", mini, tmp_path)
    root.rename(tmp_path / spelling)
    if root.is_dir():
        pytest.skip("this file system does not tell the two apart")
    assert f"Did you mean {tmp_path / spelling}?" in refusal("fss1000", tmp_path)


def test_an_empty_folder_does_not_hide_a_full_one(mini: Path, tmp_path: Path) -> None:
    own_copy("isic2018", mini, tmp_path).rename(tmp_path / "ISIC2018")
    (tmp_path / "ISIC").mkdir()
    assert open_dataset("isic2018", data=tmp_path).root == tmp_path / "ISIC2018"


def test_an_empty_class_of_fss1000_is_an_error_of_verify_and_run(mini: Path, tmp_path: Path) -> None:
    root = own_copy("fss1000", mini, tmp_path)
    emptied = sorted(root.iterdir())[3]
    for path in emptied.iterdir():
        path.unlink()
    code, text = command("data", "verify", "fss1000", "--data", tmp_path)
    assert code == 3
    assert emptied.name in text
    assert emptied.name in refusal("fss1000", tmp_path)


def test_a_class_folder_of_deepglobe_without_patches(mini: Path, tmp_path: Path) -> None:
    root = own_copy("deepglobe", mini, tmp_path)
    shutil.rmtree(root / "5/test/origin")
    assert command("data", "verify", "deepglobe", "--data", tmp_path)[0] == 3
    assert "water" in refusal("deepglobe", tmp_path)


# ---------------------------------------------------------------- plugins


@pytest.mark.parametrize(("images", "masks"), [(0, 0), (0, 5), (5, 0)])
def test_a_plugin_that_looked_at_nothing_is_not_sound(
    images: int, masks: int, toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.miniature(tmp_path, 0)
    monkeypatch.setattr(toy, "verify", lambda self: Verification("toy", self.root, images, masks))
    code, text = command("data", "verify", "toy", "--data", tmp_path)
    assert code == 3
    assert ("no readable image" in text) == (images == 0)
    assert "no readable mask" in text or images == 0 < masks


def test_a_plugin_without_a_usable_pair_is_not_sound(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.miniature(tmp_path, 0)
    answer = Verification("toy", tmp_path, 8, 8, histogram={"disc": 0, "square": 0, "wedge": 0})
    monkeypatch.setattr(toy, "verify", lambda self: answer)
    assert command("data", "verify", "toy", "--data", tmp_path)[0] == 3


@given(counts=st.tuples(*[st.integers(0, 3)] * 3))
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_verify_refuses_a_plugin_exactly_where_run_does(
    counts: tuple[int, int, int], toy: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = tmp_path_factory.mktemp("toy")
    toy.miniature(data, 0)
    for count, name in zip(counts, ("disc", "square", "wedge"), strict=True):
        for number in range(count + 1, 9):
            (data / "toy" / name / f"{number}.png").unlink()
            (data / "toy" / name / f"{number}_mask.png").unlink()
    report = verify_dataset(open_dataset("toy", data=data))
    try:
        plan("toy", data=data)
    except DataError as error:
        assert not report.ok
        told = " ".join(f.problem for f in report.findings)
        for count, name in zip(counts, ("disc", "square", "wedge"), strict=True):
            assert not (count < 2) or (name in told and name in str(error))
    else:
        assert report.ok


def test_a_plugin_one_level_off_is_corrected(toy: Any, tmp_path: Path) -> None:
    toy.miniature(tmp_path / "data", 0)
    for wrong in (tmp_path / "data/toy", tmp_path):
        code, text = command("data", "verify", "toy", "--data", wrong)
        assert code == 3
        assert f"Did you mean `--data {tmp_path / 'data'}`?" in text


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda mask: mask * 7, id="values"),
        pytest.param(lambda mask: mask[:16], id="size"),
        pytest.param(lambda mask: mask > 0, id="bool"),
        pytest.param(lambda mask: mask * 0, id="empty"),
        pytest.param(lambda mask: mask.tolist(), id="list"),
    ],
)
def test_masks_of_a_plugin_are_verified_as_they_are_run(
    harm: Any, toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin's own `verify` may look at the files alone; what its `mask` makes of them counts."""
    toy.miniature(tmp_path, 0)
    sound = toy.mask
    monkeypatch.setattr(
        toy,
        "mask",
        lambda self, item, class_id: (
            harm(sound(self, item, class_id)) if item == "disc/3.png" else sound(self, item, class_id)
        ),
    )
    code, text = command("data", "verify", "toy", "--data", tmp_path)
    assert code == 3
    assert "disc/3.png" in text
    assert "1 error," in text


def test_a_sound_plugin_has_no_findings(toy: Any, tmp_path: Path) -> None:
    toy.miniature(tmp_path, 0)
    assert not verify_dataset(open_dataset("toy", data=tmp_path)).findings


@pytest.mark.parametrize("name", ["pool", "classes", "mask", "verify"])
def test_a_data_set_that_ends_the_program_is_an_error(
    name: str, toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.miniature(tmp_path, 0)

    def leave(*_: object) -> None:
        raise SystemExit(0)

    monkeypatch.setattr(toy, name, leave)
    code, text = command("data", "verify", "toy", "--data", tmp_path)
    assert code == (3 if name == "mask" else 4)  # a mask that cannot be read is a finding about its item
    assert "error: " in text
    assert "SystemExit" in text
