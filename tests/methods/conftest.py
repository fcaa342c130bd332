"""A tiny backbone of four stages, and random episodes on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_values import read_values
from places import load_module
from shared_passes import run_once
from torch import Tensor, nn
from undrawn_weights import load_undrawn, nothing_hashed

from fssbench.api import Method
from fssbench.contracts.backbones import Backbone, Tap
from fssbench.plugins.registry import METHODS

CHANNELS = (8, 12, 16, 20)
Episodes = tuple[Tensor, Tensor, Tensor]


class TinyBackbone(Backbone):
    """Four stages of two convolutions; strides 4, 8, 16, 32; a `.relu` tap beside every signed one."""

    name = "tiny"
    layout = "standard"
    weights = "random"
    weights_sha256 = "0" * 64

    def __init__(self, stages: int = 4) -> None:
        super().__init__()
        self._taps = {"stem": Tap("stem", 6, 2, 0)}
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.blocks = nn.ModuleDict()
        inputs = 6
        for stage, channels in enumerate(CHANNELS[:stages], start=1):
            for block in range(2):
                name = f"{stage}-{block}"
                stride = 2 if block == 0 else 1
                self.blocks[name] = nn.Conv2d(inputs, channels, 3, stride=stride, padding=1)
                for tap in (name, f"{name}.relu"):
                    self._taps[tap] = Tap(tap, channels, 2 ** (stage + 1), stage)
                inputs = channels
        for conv in (self.stem, *self.blocks.values()):
            nn.init.kaiming_normal_(conv.weight)  # keeps features near unit variance, as trained ones
        self.requires_grad_(False)
        self.eval()

    @property
    def taps(self) -> Mapping[str, Tap]:
        return self._taps

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        x = self.stem(images)
        result = {"stem": x, **self._run(x, list(self.blocks))}
        return {tap: result[tap] for tap in taps}

    def resume(self, features: Tensor, after: str, taps: Sequence[str]) -> dict[str, Tensor]:
        result = self._run(features, list(self.blocks)[self._count(after) :])
        return {tap: result[tap] for tap in taps}

    def _run(self, x: Tensor, blocks: list[str]) -> dict[str, Tensor]:
        result: dict[str, Tensor] = {}
        for name in blocks:
            result[name] = self.blocks[name](x.relu())
            x = result[f"{name}.relu"] = result[name].relu()
        return result

    def part(self, after: str, last: str) -> nn.Module:
        between = list(self.blocks)[self._count(after) : self._count(last)]
        layers = [layer for name in between for layer in (nn.ReLU(), self.blocks[name])]
        return nn.Sequential(*layers).eval()

    def _count(self, tap: str) -> int:
        """Blocks that are done after a tap."""
        return ["stem", *self.blocks].index(tap.removesuffix(".relu"))


@pytest.fixture
def tiny() -> Callable[..., TinyBackbone]:
    def make(stages: int = 4) -> TinyBackbone:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return TinyBackbone(stages)

    return make


@pytest.fixture
def episodes() -> Callable[..., Episodes]:
    """Queries (B, 3, s, s), supports (B, K, 3, s, s) and masks (B, K, s, s), the object a rectangle."""

    def make(batch: int = 1, shots: int = 1, size: int = 64, seed: int = 0) -> Episodes:
        generator = torch.Generator().manual_seed(seed)
        query = torch.randn(batch, 3, size, size, generator=generator)
        support = torch.randn(batch, shots, 3, size, size, generator=generator)
        mask = torch.zeros(batch, shots, size, size)
        for b in range(batch):
            for k in range(shots):
                top, left = (int(torch.randint(0, size // 2, (), generator=generator)) for _ in range(2))
                mask[b, k, top : top + size // 3, left : left + size // 2] = 1
        return query, support, mask

    return make


class Golden:
    """A file of reference outputs: the method with the weights it was made with, and its inputs."""

    def __init__(self, folder: Path, name: str) -> None:
        path = next(folder.rglob(f"{name}.npz"), None)
        if path is None:
            pytest.skip(f"no golden file {name}")
        self.file = np.load(path)
        self._recipe = load_module(folder / "recipe.py", "golden_recipe")

    def method(self, name: str, backbone: str, **config: Any) -> Method:
        entries = zip(self.file["names"], self.file["shapes"], strict=True)
        state = {str(entry): self.values(str(entry), str(shape)) for entry, shape in entries}
        for key, gain in zip(*(self.file.get(field, ()) for field in ("gain_names", "gain")), strict=True):
            state[str(key)] = state[str(key)] * float(gain)
        config = {**METHODS.get(name).settings_of(state), **config}
        method = load_undrawn(name, backbone=backbone, weights="random", **config)
        with nothing_hashed():
            method.load_reference(state)
        if hasattr(method, "_priors"):  # they run the last stage, and depend on no setting that tests change
            setattr(method, "_priors", run_once(method._priors))  # noqa: B010 - mypy knows no such attribute
        return method

    def values(self, name: str, shape: str) -> Tensor:
        """Weights of one reference entry, whose shape is written as in the file."""
        sizes = tuple(int(n) for n in shape.split(",") if n)
        return read_values(self._recipe.values, name, sizes, str(self.file["salt"]))

    def episode(self, size: int, shots: int) -> Episodes:
        tag, recipe = str(self.file["tag"]), self._recipe
        query = recipe.image(f"{tag}/query", size)[None]
        support = torch.stack([recipe.image(f"{tag}/support{k}", size) for k in range(shots)])[None]
        mask = torch.stack([recipe.mask(f"{tag}/support{k}", size) for k in range(shots)])[None]
        return query, support, mask

    def query_mask(self, size: int) -> Tensor:
        """The query's label (1, s, s), bool, with which the reference computed its losses."""
        return self._recipe.mask(f"{self.file['tag']}/query", size)[None] > 0.5

    def error(self, field: str, logits: Tensor, stride: int) -> float:
        """Largest difference relative to the largest reference value."""
        wanted = torch.from_numpy(self.file[field])
        return float((logits[..., ::stride, ::stride] - wanted).abs().max() / wanted.abs().max())


@pytest.fixture
def golden(shared: Path) -> Callable[[str], Golden]:
    """Reference outputs of a file's stem in the shared folder."""
    return lambda name: Golden(shared / "golden", name)
