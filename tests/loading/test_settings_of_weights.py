"""Settings that the authors' weights imply: known before the method is built, and given ones take precedence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import fssbench
from fssbench.errors import DataError, PluginError
from fssbench.plugins.registry import load_plugin

PLUGIN = """
import torch
from torch import nn
from fssbench.api import Ablation, ImageMethod, MethodCard, MethodConfig


class Settings(MethodConfig):
    width: int = 2
    ablations = {{"narrow": Ablation({{"width": 1}}, label="w/o width")}}


class Wide(ImageMethod):
    card = MethodCard(name="wide", title="Wide", paper="none", year=2026, kind="other", backbone="none", size=32,
                      trained=True, reference="none", licence="none")
    Config = Settings

    def __init__(self, config, backbone=None):
        super().__init__(config, backbone)
        self.layer = nn.Conv2d(3, config.width, 1)

    @classmethod
    def settings_of(cls, state):
        {body}

    def logits(self, query, support, support_mask):
        return self.layer(query)[:, :1].expand(-1, 2, -1, -1)
"""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "best_model.pt"
    layer = torch.nn.Conv2d(3, 5, 1)
    torch.save({f"module.layer.{k}": v for k, v in layer.state_dict().items()}, path)
    return path


def load(tmp_path: Path, weights: Path, body: str, **options: Any) -> Any:
    file = tmp_path / "wide.py"
    file.write_text(PLUGIN.format(body=body))
    load_plugin(file)
    return fssbench.load_method("wide", checkpoint=weights, **options)


BY_BIAS = 'return {"width": len(state["layer.bias"])}'


def test_the_method_is_built_with_the_settings_of_its_weights(tmp_path: Path, weights: Path) -> None:
    method = load(tmp_path, weights, BY_BIAS)
    assert method.config.width == method.provenance.config["width"] == 5
    assert method.provenance.config_passed == {}
    assert method.provenance.learnable == method.provenance.parameters == 20
    assert method.provenance.checkpoint == "best_model.pt"


@pytest.mark.parametrize("options", [{"width": 3}, {"ablate": ["narrow"]}])
def test_given_settings_take_precedence_and_the_error_names_those_of_the_weights(
    tmp_path: Path, weights: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(DataError, match=r"--set width=5"):
        load(tmp_path, weights, BY_BIAS, **options)


@pytest.mark.parametrize(
    ("body", "said"), [('return {"breadth": 5}', "breadth"), ('raise RuntimeError("no idea")', "no idea")]
)
def test_a_faulty_hook_is_the_plugins_error(tmp_path: Path, weights: Path, body: str, said: str) -> None:
    with pytest.raises(PluginError, match=said):
        load(tmp_path, weights, body)


@pytest.mark.parametrize("name", ["asgnet", "hm", "pmms", "repri"])
def test_no_config_changes_when_weights_are_loaded(name: str) -> None:
    settings = {"layout": "standard"} if name in {"asgnet", "repri"} else {}
    method = fssbench.load_method(name, weights="random", untrained=True, **settings)
    before = method.config
    state = {f"module.{k}": v for k, v in method.state_dict().items()}
    with pytest.raises(DataError):
        method.load_reference({**state, "surprise": torch.zeros(1)})
    assert method.config is before
