"""What every test here needs: a CUDA device, and methods with weights from a seed.

With `FSSBENCH_GPU_TESTS_ON=cpu` the bodies of these tests run on the processor, which shows that they fit today's
methods before a GPU is at hand.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import fssbench
from fssbench.api import Method
from fssbench.episodes.synthetic import Synthetic
from fssbench.evaluation import lanes
from fssbench.evaluation.isolation import isolated
from fssbench.plugins.registry import METHODS

DEVICE = os.environ.get("FSSBENCH_GPU_TESTS_ON", "cuda")
SMALL: dict[str, dict[str, Any]] = {
    "vat": {"grid": 64},
    "pfenet": {"ppm_scales": (6, 3)},
    "scl": {"ppm_scales": (6, 3)},
    "ntrenet": {"ppm_scales": (6, 3)},
    "asgnet": {"ppm_scales": (6, 3), "area": 2},
    "dcama": {"heads": 4},
    "gf-sam": {"segmenter": "colour", "feature_size": 224},
}
"""Settings with which a method works on an image of `SIDE` pixels."""
BACKBONES = {
    "fssdino": "dinov3-s",
    "gf-sam": "dinov2-s",
    "hera-hls": "dinov3-s",
    "insid3": "dinov3-s",
    "linear-probe": "dinov2-s",
}
"""Small networks of the same code, for methods whose own have hundreds of millions of weights."""
SIDE = 161


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `name` once for every registered method."""
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", METHODS.names())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, and skip them where there is no GPU."""
    here = Path(__file__).parent
    absent = pytest.mark.skip(reason="needs a CUDA device; docs/performance.md says how to run it on one")
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if DEVICE == "cuda" and not torch.cuda.is_available():
                item.add_marker(absent)


@pytest.fixture(autouse=True)
def _replayed_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Record the work of short runs, too, as that of runs in which it pays."""
    monkeypatch.setattr(lanes, "_PAYS_FROM", (0,) * lanes.LANES)


@pytest.fixture
def device() -> str:
    """The device under test."""
    return DEVICE


@pytest.fixture
def gpu() -> None:
    """Skip a test of streams or of the memory of a card where the processor stands in for it."""
    if DEVICE != "cuda":
        pytest.skip("needs a CUDA device in earnest")


@pytest.fixture
def load() -> Callable[..., Method]:
    """Load a method on a device, with weights that depend on a seed alone."""

    def make(name: str, device: str, **config: Any) -> Method:
        cls = METHODS.get(name)
        network = BACKBONES.get(name, cls.card.backbone)
        backbone = {"backbone": network, "weights": "random"} if cls.needs_backbone else {}
        method = fssbench.load_method(
            name, device=device, untrained=True, **backbone, **{**SMALL.get(name, {}), **config}
        )
        # else its agents are equal but for rounding, and which of them is nearest is noise
        if name == "aaformer":
            with torch.no_grad():
                method.get_parameter("supp_merge_feat.0.weight").mul_(30)
        return method

    return make


@pytest.fixture
def segment() -> Callable[..., torch.Tensor]:
    """Mask (1, S, S) that a method gives for a synthetic episode."""

    def run(method: Method, device: str, shots: int = 1) -> torch.Tensor:
        episode = Synthetic.make(1, shots, SIDE, SIDE)
        given = (episode.query.to(device), episode.support.to(device), episode.mask.to(device))
        with isolated(7):
            return method.segment(*given, **({"seed": 7} if method.steps else {})).cpu()

    return run


@pytest.fixture
def predict() -> Callable[..., torch.Tensor]:
    """Logits (1, 2, S, S) that a method gives for a synthetic episode of one shot."""

    def run(method: Method, device: str) -> torch.Tensor:
        episode = Synthetic.make(1, 1, SIDE, SIDE)
        with isolated(7):
            return method.predict(
                episode.query.to(device), episode.support.to(device), episode.mask.to(device)
            ).cpu()

    return run
