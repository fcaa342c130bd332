"""What a run records of its training: equal for the folds of one training, other for another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fssbench.methods.pmnet import PMNet

from fssbench.api import Method
from fssbench.contracts.checkpoint import TrainingManifest
from fssbench.loading.bundled import list_bundled
from fssbench.plugins.registry import METHODS
from fssbench.runs.training_record import summarise_training


@pytest.mark.parametrize("name", ["pmnet", "hsnet"])
def test_shipped_checkpoints_of_four_folds_are_one_training(name: str) -> None:
    cls: type[Method] = METHODS.get(name)
    of_folds = [each for each in list_bundled(cls) if "pascal5i" in each.path.name]
    assert len(of_folds) == 4
    assert len({each.training.training for each in of_folds}) == 4, "each fold has a training of its own"
    assert len({str(summarise_training(each.training)) for each in of_folds}) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"size": 400},
        {"steps_planned": 1},
        {"recipe": {}},
        {"method_sha256": "0"},
        {"shot": 5},
        {"x": 1},
    ],
    ids=str,
)
def test_another_training_has_another_record(change: dict[str, Any]) -> None:
    manifest = list_bundled(PMNet)[0].training
    assert summarise_training(
        TrainingManifest.read_stored({**manifest.as_stored(), **change})
    ) != summarise_training(manifest)


@pytest.mark.parametrize("manifest", [{}])
def test_a_checkpoint_that_says_nothing_has_no_record(manifest: Any) -> None:
    assert summarise_training(TrainingManifest.read_stored(manifest)) is None
    assert summarise_training(None) is None


def test_a_malformed_manifest_has_a_record(tmp_path: Path) -> None:
    odd = {"seed": [1], "shot": "one", "value": float("nan"), "path": tmp_path, 3: {"a"}}
    record = summarise_training(TrainingManifest.read_stored(odd))
    assert record is not None
    assert (record.shot, "seed" in record.as_stored()) == (None, False)
    assert summarise_training(TrainingManifest.read_stored({**odd, "value": 1.0})) != record
