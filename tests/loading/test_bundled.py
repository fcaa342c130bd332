"""Checkpoints that come with a plugin: which one a benchmark gets, and what its runs then say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fssbench import load_method
from fssbench.api import Plan
from fssbench.contracts.checkpoint import TrainingManifest
from fssbench.errors import DataError, UsageError
from fssbench.evaluation.settings import Settings
from fssbench.evaluation.suite import Request, execute, prepare
from fssbench.files.state_dicts import read_state_dict
from fssbench.loading import checkpoints
from fssbench.loading.bundled import choose_bundled, list_bundled
from fssbench.loading.settings import list_settings_to_take
from fssbench.plugins.registry import METHODS, load_plugin
from fssbench.runs.store import read_run

PLUGIN = """
from typing import ClassVar

import torch
from torch import nn

from fssbench.api import ImageMethod, MethodCard, MethodConfig


class Config(MethodConfig):
    width: int = 2
    bright: bool = True
    ablations: ClassVar = {"bright": {"bright": False}}


class Tiny(ImageMethod):
    card = MethodCard(
        name="tiny", title="Tiny", paper="nobody", year=2026, kind="other", backbone="own", size=64,
        trained=True, reference="nobody", licence="CC0",
    )
    Config = Config
    shipped = "weights"

    def __init__(self, config, backbone=None):
        super().__init__(config, backbone)
        self.bias = nn.Parameter(torch.zeros(config.width))

    def logits(self, query, support, support_mask):
        light = query.mean(dim=1) + self.bias.sum()
        return torch.stack([-light, light], dim=1)
"""
FOLD_1 = [c for c in range(20) if c not in range(5, 10)]


@pytest.fixture
def tiny(tmp_path: Path):
    """The plugin, loaded, with a folder for its checkpoints that is still empty."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "tiny.py").write_text(PLUGIN)
    load_plugin(tmp_path / "tiny.py")
    return METHODS.get("tiny")


def ship(
    folder: Path,
    name: str,
    dataset: str,
    classes: list[int],
    *,
    bias: float = 0.0,
    source: str | None = None,
    **config,
) -> None:
    """Write a checkpoint as a training would; `source` is the hash of the code that was trained."""
    method = load_method("tiny", untrained=True, **config)
    with torch.no_grad():
        method.bias.fill_(bias)
    manifest = TrainingManifest(
        dataset=dataset,
        classes=tuple(classes),
        class_names=tuple(f"c{c}" for c in classes),
        steps=7,
        images=9,
        marks=("sample (9 of 90 entries)",),
        size=64,
        method="tiny" if source else None,
        method_sha256=source,
    )
    checkpoints.save(method, folder / "weights" / f"{name}.safetensors", manifest, half=True)


def plan(benchmark: str, dataset: str, fold: int, classes: tuple[int, ...]) -> Plan:
    return Plan(
        benchmark=benchmark,
        version=1,
        dataset=dataset,
        dataset_variant=None,
        split="val",
        fold=fold,
        shot=1,
        protocol="published/1",
        seed=0,
        size=64,
        classes=classes,
        class_names=tuple(f"n{c}" for c in classes),
        lists="made up",
    )


LESIONS = plan("pascal-to-isic2018:isic1", "isic2018", 0, (1,))
VOC_1 = plan("pascal5i", "pascal", 1, (5, 6, 7, 8, 9))
VOC_2 = plan("pascal5i", "pascal", 2, (10, 11, 12, 13, 14))
COCO_CAR = plan("coco20i", "coco", 2, (2,))


def named(result) -> str | None:
    return None if result is None else result.path.stem


def test_a_checkpoint_that_lacks_a_class_of_a_small_sample_is_still_its_own(tiny, tmp_path):
    """Elsewhere no test class is seen by any, and the one of all classes would be taken."""
    fish = plan("pascal5i-to-suim:suim7", "suim", 1, (0, 1))
    ship(tmp_path, "all", "pascal", list(range(20)))
    ship(tmp_path, "few", "pascal", FOLD_1[2:])
    assert named(choose_bundled(tiny, None, fish)) == "all"
    ship(tmp_path, "fold1", "pascal", FOLD_1[1:])
    assert named(choose_bundled(tiny, None, fish)) == "fold1"
    ship(tmp_path, "whole", "pascal", FOLD_1)
    assert named(choose_bundled(tiny, None, fish)) == "whole"


def test_the_classes_that_a_benchmark_trains_on_decide(tiny, tmp_path):
    ship(tmp_path, "all", "pascal", list(range(20)))
    ship(tmp_path, "fold1", "pascal", FOLD_1)
    ship(tmp_path, "stranger", "deepglobe", FOLD_1)
    assert named(choose_bundled(tiny, None, LESIONS)) == "all"
    assert named(choose_bundled(tiny, None, VOC_1)) == "fold1"


def test_without_an_exact_one_that_with_fewest_test_classes_then_most_classes(tiny, tmp_path):
    ship(tmp_path, "all", "pascal", list(range(20)))
    ship(tmp_path, "fold1", "pascal", FOLD_1)
    ship(tmp_path, "few", "pascal", FOLD_1[:3])
    assert named(choose_bundled(tiny, None, VOC_2)) == "few", "fold 1 has seen the classes of fold 2"
    assert named(choose_bundled(tiny, None, COCO_CAR)) == "fold1", (
        "VOC's car is class 6, which fold 1 leaves out"
    )


def test_backbone_and_settings_have_to_be_those_of_the_training(tiny, tmp_path):
    ship(tmp_path, "all", "pascal", list(range(20)), width=3)
    assert named(choose_bundled(tiny, None, LESIONS)) == "all"
    assert named(choose_bundled(tiny, None, LESIONS, config={"width": "3"})) == "all"
    assert choose_bundled(tiny, None, LESIONS, config={"width": 2}) is None
    assert choose_bundled(tiny, None, LESIONS, ablate=["bright"]) is None
    assert choose_bundled(tiny, "resnet50", LESIONS) is None
    assert list_settings_to_take(tiny, list_bundled(tiny)[0].config) == {"width": 3}


def test_a_wrong_setting_is_told_before_weights_are_looked_for(tiny, tmp_path):
    ship(tmp_path, "all", "pascal", list(range(20)))
    with pytest.raises(UsageError, match="widht"):
        choose_bundled(tiny, None, LESIONS, config={"widht": 3})
    with pytest.raises(UsageError, match="dark"):
        choose_bundled(tiny, None, LESIONS, ablate=["dark"])


def test_checkpoints_of_other_methods_and_other_files_are_left_alone(tiny, tmp_path):
    (tmp_path / "weights" / "README.md").write_text("a card")
    ship(tmp_path, "all", "pascal", list(range(20)))
    assert [s.path.name for s in list_bundled(tiny)] == ["all.safetensors"]
    (tmp_path / "weights" / "broken.safetensors").write_bytes(b"no")
    with pytest.raises(DataError, match="broken"):
        list_bundled(tiny)


def test_a_method_without_a_folder_ships_nothing(tiny, monkeypatch):
    monkeypatch.setattr(tiny, "shipped", None)
    assert list_bundled(tiny) == ()


@pytest.fixture
def request_(null, tiny):
    """A request for the tiny method on the null data."""
    return Request(
        methods=("tiny",),
        benchmarks=("nulldata",),
        shots=(1,),
        episodes=3,
        data=str(null.data),
        settings=Settings(out=null.folder / "runs", panels=0),
    )


def test_a_run_says_that_a_checkpoint_comes_from_other_code(request_, tmp_path):
    def notes() -> list[str]:
        return [note for note in prepare(request_).notes if "code of the method was edited" in note]

    ship(
        tmp_path, "all", "pascal", [0, 1], source=load_method("tiny", untrained=True).provenance.source_sha256
    )
    assert notes() == []
    ship(tmp_path, "all", "pascal", [0, 1], source="0" * 64)
    (note,) = notes()
    assert note.startswith("tiny: checkpoint")


def test_a_run_uses_it_and_says_what_it_is(request_, tmp_path):
    ship(tmp_path, "all", "pascal", [0, 1], bias=2.0, width=3)
    prepared = prepare(request_)
    assert "tiny: shipped checkpoint all.safetensors" in prepared.notes
    for fact in ("trained at 64 px, measured at 400 px (--size)", "part-trained (7 steps on 9 images)"):
        assert f"tiny: checkpoint {fact}, on nulldata fold 0" in prepared.notes
    assert not any("trained at" in note for note in prepare(replace(request_, size=64)).notes)
    ((_, (done,), failed),) = execute(prepared)
    assert not failed
    context = read_run(done.path).manifest.context.as_stored()
    assert context["checkpoint"] == "all.safetensors"
    assert context["label"] == "tiny (width=3)"
    assert "part-trained (7 steps on 9 images)" in context["marks"]
    # only a data set that is a folder of the user's own defines no source; this one is a plugin
    assert any(mark.startswith("other source") for mark in context["marks"])
    assert "untrained" not in context["marks"]


def test_untrained_and_a_named_checkpoint_go_before(request_, tmp_path):
    ship(tmp_path, "all", "pascal", [0, 1])
    method = prepare(replace(request_, untrained=True)).tasks[0].methods[0]
    assert method.provenance.checkpoint is None
    method.bias.data.fill_(1.0)
    checkpoints.save(method, tmp_path / "mine.safetensors", TrainingManifest())
    named_ = prepare(replace(request_, checkpoint=str(tmp_path / "mine.safetensors"))).tasks[0].methods[0]
    assert named_.provenance.checkpoint == "mine.safetensors"


def test_what_is_needed_is_said_where_none_fits(request_, tmp_path):
    ship(tmp_path, "all", "pascal", [0, 1])
    with pytest.raises(DataError, match=r"method 'tiny' needs trained weights\. Next: .*--untrained"):
        prepare(replace(request_, config={"width": "5"}))


def test_half_precision_is_refused_where_it_cannot_hold_a_weight(tiny, tmp_path):
    with pytest.raises(DataError, match=r"bias are beyond the range of half precision"):
        ship(tmp_path, "all", "pascal", [0], bias=1e6)
    assert not list((tmp_path / "weights").iterdir())


def test_half_precision_rounds_weights_once(tiny, tmp_path):
    ship(tmp_path, "all", "pascal", [0], bias=1 / 3)
    path = list_bundled(tiny)[0].path
    stored = read_state_dict(path)["bias"]
    assert stored.dtype == torch.float16
    again = load_method("tiny", checkpoint=path)
    assert again.bias.dtype == torch.float32
    assert torch.equal(again.bias.detach(), torch.full((2,), 1 / 3).half().float())
