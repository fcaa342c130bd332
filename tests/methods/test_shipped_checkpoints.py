"""The checkpoints that come with PMNet and HSNet: what they are, what they weigh, what they fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import fssbench
from fssbench.analysis.collect import collect
from fssbench.episodes.sampling import plan
from fssbench.evaluation.settings import Settings
from fssbench.evaluation.suite import Request, execute, prepare
from fssbench.files.state_dicts import read_state_dict
from fssbench.loading.bundled import ShippedCheckpoint, choose_bundled, list_bundled
from fssbench.loading.settings import list_settings_to_take
from fssbench.plugins.registry import METHODS

BACKBONE = "efficientnet-lite0"
NAMES = ("pmnet", "hsnet")
EVERY = [each for name in NAMES for each in list_bundled(METHODS.get(name))]
FOLDER = EVERY[0].path.parent


def test_one_for_all_classes_and_one_a_fold() -> None:
    folds = [f"pascal5i-f{fold}" for fold in range(4)]
    expected = {f"{n}-{BACKBONE}-{s}.safetensors" for n in NAMES for s in ("pascal", *folds)}
    assert {each.path.name for each in EVERY} == expected
    assert {p.name for p in FOLDER.iterdir() if p.suffix == ".safetensors"} == expected


def test_together_they_stay_below_ten_megabytes() -> None:
    assert sum(each.path.stat().st_size for each in EVERY) <= 10_000_000


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_trained_on_pascal_gets_what_it_trains_on(name: str, mini: Path) -> None:
    cls = METHODS.get(name)
    for benchmark, folds in (
        ("pascal5i", range(4)),
        ("pascal5i-to-suim", range(4)),
        ("pascal-to-isic2018", range(1)),
        ("pascal-to-chestxray", range(1)),
        ("pascal-to-deepglobe", range(1)),
    ):
        for fold in folds:
            drawn = plan(benchmark, fold=fold, data=mini, episodes=1)
            result = choose_bundled(cls, BACKBONE, drawn)
            assert result is not None
            left_out = set(range(20)) - result.classes
            novel = set(range(5 * fold, 5 * fold + 5)) if len(folds) == 4 else set()
            few = {18} if novel == {10, 11, 12, 13, 14} else set()
            assert left_out == novel | few  # `train` has one image without a class of fold 2


def test_another_source_gets_one_that_has_not_seen_the_test_classes(mini: Path) -> None:
    drawn = plan("fss1000", data=mini, episodes=1)
    result = choose_bundled(METHODS.get("pmnet"), BACKBONE, drawn)
    assert result is not None
    assert len(result.classes) == 20


@pytest.mark.parametrize("each", EVERY, ids=lambda each: each.path.stem)
def test_it_is_whole_half_precision_and_says_how_it_was_made(each: ShippedCheckpoint) -> None:
    name = each.path.name.partition("-")[0]
    cls = METHODS.get(name)
    method = fssbench.load_method(
        cls, backbone=BACKBONE, checkpoint=each.path, **list_settings_to_take(cls, each.config)
    )
    assert not method.provenance.untrained
    stored = read_state_dict(each.path)
    assert all(bool(torch.isfinite(value).all()) for value in stored.values())
    learnt = dict(method.named_parameters())
    assert {stored[k].dtype for k in stored if k in learnt} == {torch.float16}
    manifest = each.training
    assert manifest.dataset == "pascal"
    assert manifest.split == "trn"
    assert "reference list files" in manifest.lists
    assert manifest.marks, "trained on a sample, and says so"
    assert manifest.selection == "held-out training images"
    assert len(manifest.class_names) == len(each.classes)


def row(each: ShippedCheckpoint) -> str:
    """The line of the card's table that a manifest makes."""
    facts = each.training
    return (
        f"| `{each.path.name}` | {len(each.classes)} | {facts.images} | {facts.steps} | "
        f"{facts.validation_miou:.1f} | {each.path.stat().st_size / 1e6:.2f} |"
    )


def test_the_card_has_the_figures_of_the_manifests() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = [line for line in card.splitlines() if line.startswith("| `")]
    assert rows == [row(each) for each in EVERY]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("shot", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_pmnet_is_ahead_of_prototypes_in_the_quick_start(mini: Path, tmp_path: Path, shot: int) -> None:
    """`fssbench run -m pmnet -m panet --suite cross-domain --data mini`; no claim for each benchmark."""
    request = Request(
        methods=("pmnet", "panet"),
        suite="cross-domain",
        shots=(shot,),
        data=str(mini),
        settings=Settings(out=tmp_path, panels=0),
    )
    assert not any(failed for _, _, failed in execute(prepare(request)))
    cells = collect([tmp_path], resamples=20).cells
    means = {}
    for name in request.methods:
        result = [c.miou.value for c in cells if c.label == name and c.shot == shot]
        assert len(result) == 4
        means[name] = sum(result) / len(result)
    assert means["pmnet"] > means["panet"], means
