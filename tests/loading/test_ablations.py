"""Ablations: the label that reports print, where it is stored, and what it may not change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fssbench
from fssbench.analysis.collect import collect
from fssbench.api import Plan
from fssbench.contracts.ablations import Ablation
from fssbench.contracts.methods import MethodConfig
from fssbench.contracts.provenance import Provenance
from fssbench.errors import PluginError
from fssbench.plugins.registry import METHODS, load_plugin
from fssbench.runs.identity import make_label
from fssbench.runs.store import compute_seal, read_manifest
from fssbench.verification.seals import check_seals

PLUGIN = """
import torch
from fssbench.api import Ablation, ImageMethod, MethodCard, MethodConfig


class Settings(MethodConfig):
    margin: float = 0.5
    ablations = {{
        "bare": {{"margin": 0.1}},
        "strict": Ablation({{"margin": 0.9}}, label="{label}"),
    }}


class Near(ImageMethod):
    card = MethodCard(name="near", title="Near", paper="none", year=2026, kind="other", backbone="none", size=32,
                      trained=False, reference="none", licence="none")
    Config = Settings

    def logits(self, query, support, support_mask):
        near = support_mask.mean(1) - self.config.margin * (query - support.mean(1)).abs().mean(1)
        return torch.stack([-near, near], 1)
"""


@pytest.fixture
def near(tmp_path: Any) -> Any:
    """Write and load the plugin with a label for the ablation `strict`."""

    def load(label: str = "with a strict margin") -> None:
        file = tmp_path / "near.py"
        file.write_text(PLUGIN.format(label=label))
        load_plugin(file)

    return load


def seal_again(file: Path, manifest: dict[str, Any], plan: Plan) -> None:
    """Store a changed manifest with the seal that belongs to it, as a run of earlier versions, without checksums."""
    (file.parent / "checksums.json").unlink()
    file.write_text(json.dumps(manifest))
    manifest["sealed"] = compute_seal(read_manifest(file.parent), plan)
    file.write_text(json.dumps(manifest))


def ssp_label(*names: str, **settings: Any) -> str:
    cls = METHODS.get("ssp")
    method = cls.__new__(cls)
    provenance = Provenance(method="ssp", ablations=names, config_passed=settings)
    object.__setattr__(method, "provenance", provenance)
    return make_label(method)


def test_an_ablation_that_switches_something_on_is_not_printed_as_without() -> None:
    assert ssp_label("refined") == "ssp (with refinement)"
    assert ssp_label("refined", stem="plain") == "ssp (with refinement, stem=plain)"


@pytest.mark.parametrize("name", METHODS.names())
def test_labels_of_a_method_tell_its_ablations_apart(name: str) -> None:
    ablations = METHODS.get(name).Config.ablations
    labels = [ablation.label for ablation in ablations.values()]
    assert len(set(labels)) == len(labels)
    assert all(text.startswith(("w/o ", "with ")) for text in labels)


def test_settings_alone_are_an_ablation_that_leaves_a_part_out() -> None:
    class Settings(MethodConfig):
        scale: float = 2.0
        ablations = {"scale": {"scale": 1.0}}

    assert Settings.ablations == {"scale": Ablation({"scale": 1.0}, label="w/o scale")}
    assert MethodConfig.ablations == {}


def test_what_is_no_ablation_is_refused_by_name() -> None:
    with pytest.raises(PluginError, match=r"'scale' is 1.0.*Ablation\("):

        class Settings(MethodConfig):
            scale: float = 2.0
            ablations = {"scale": 1.0}


def test_the_label_is_stored_and_printed_and_no_part_of_the_identity(
    near: Any, mini: Any, tmp_path: Any
) -> None:
    near()
    plan = fssbench.plan("pascal-to-chestxray", shot=1, data=mini, episodes=2, size=32)
    method = fssbench.load_method("near", ablate=["strict"])
    path = fssbench.evaluate(method, plan, out=tmp_path / "runs").path
    manifest = json.loads((path / "manifest.json").read_text())
    context = manifest["context"]
    assert context["label"] == "near (with a strict margin)"
    assert (context["ablations"], context["ablation_labels"]) == (["strict"], ["with a strict margin"])
    assert "strict margin" not in json.dumps(manifest["block"])
    # the folder is named after the ablation's name: a label may be reworded
    assert "near-w-o-strict-own" in path.name
    assert {f.check: f.outcome for f in check_seals(path)[0] if f.outcome != "equal"} == {}
    (cell,) = collect([tmp_path / "runs"]).cells
    assert cell.label == "near (with a strict margin)"


def test_a_run_stored_with_names_alone_keeps_its_name(near: Any, mini: Any, tmp_path: Any) -> None:
    near()
    plan = fssbench.plan("pascal-to-chestxray", shot=1, data=mini, episodes=2, size=32)
    method = fssbench.load_method("near", ablate=["strict"])
    path = fssbench.evaluate(method, plan, out=tmp_path / "runs").path
    file = path / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["context"]["ablation_labels"]
    manifest["context"]["label"] = "near (w/o strict)"
    seal_again(file, manifest, plan)
    assert {f.check: f.outcome for f in check_seals(path)[0] if f.outcome == "differs"} == {}
    (cell,) = collect([tmp_path / "runs"]).cells
    assert cell.label == "near (w/o strict)"


def test_a_forged_label_is_noticed(near: Any, mini: Any, tmp_path: Any) -> None:
    near()
    plan = fssbench.plan("pascal-to-chestxray", shot=1, data=mini, episodes=2, size=32)
    path = fssbench.evaluate(
        fssbench.load_method("near", ablate=["strict"]), plan, out=tmp_path / "runs"
    ).path
    file = path / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["context"].update(ablation_labels=["w/o nothing"], label="near (w/o nothing)")
    seal_again(file, manifest, plan)
    outcomes = {f.check: f.outcome for f in check_seals(path)[0]}
    assert outcomes["marks and settings"] == "differs"
