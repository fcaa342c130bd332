"""DCAMA: dense cross-query-and-support attention weighted mask aggregation (Shi et al., ECCV 2022).

Every query cell attends to all support cells, including the background.  It gathers their mask values, not their
features.  Each block of the last three stages gives one such map.  Convolutions mix the maps.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from fssbench.api import FeatureMethod, Features, MethodCard, MethodConfig, Note, Recipe, Taps, UsageError

from .layers.feature_maps import list_names, list_stages
from .layers.module_inputs import record_inputs
from .layers.processor import count_at_once, runs_on_processor
from .layers.resize import apply_to_resized, double_size, read_size, resize

if TYPE_CHECKING:
    from fssbench.api import Backbone

_DROPOUT = 0.5
_SCORES_AT_ONCE = 1 << 19
"""Number of scores that each thread of a processor computes before they are used, so that they stay in its cache."""
_BASE = 10_000.0
_RELEASE = {
    "DCAMA_blocks.0": "attention.0",
    "DCAMA_blocks.1": "attention.1",
    "DCAMA_blocks.2": "attention.2",
    "conv1": "encode.coarse",
    "conv2": "encode.middle",
    "conv3": "encode.fine",
    "conv4": "fuse.0",
    "conv5": "fuse.1",
    "mixer1": "mix.0",
    "mixer2": "mix.1",
    "mixer3": "mix.2",
}
"""Module names of the release, and ours."""
_KERNELS = {"coarse": (3, 3, 3), "middle": (5, 3, 3), "fine": (5, 5, 3)}


class DCAMAConfig(MethodConfig):
    """Settings of DCAMA."""

    heads: int = Field(default=8, ge=1)
    """Number of attention heads.  It must divide the channels of every tap that is matched."""


class MaskAttention(nn.Module):
    """Multi-head attention with mask values as values: one number per support cell, shared by all heads.

    Args:
        channels: number of channels of the tokens.
        heads: number of heads, which must divide `channels`.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)

    def forward(self, query: Tensor, support: Tensor, values: Tensor) -> Tensor:
        """Gather mask values (B, N) for query tokens from support tokens.

        Args:
            query: query tokens (B, N, C).
            support: tokens (B, M, C) of all K supports, side by side.
            values: mask values (B, M), 0..1.
        """
        asked = torch.unflatten(self.query(query), -1, (self.heads, -1))
        keys = torch.unflatten(self.key(support), -1, (self.heads, -1))
        rows_at_once = count_at_once(_SCORES_AT_ONCE, values.shape[1])
        part = rows_at_once if runs_on_processor(values) else asked.shape[1]
        gathered = []
        for head in range(self.heads):  # one at a time: all heads of five supports would need a gigabyte
            offered = keys[:, :, head].contiguous()
            rows = []
            for some in asked[:, :, head].split(part, dim=1):
                scores = self.score(some, offered, values)
                shares = functional.dropout(scores.softmax(dim=-1), _DROPOUT, self.training)
                rows.append(torch.matmul(shares, values.unsqueeze(-1)).squeeze(-1))
            gathered.append(torch.cat(rows, dim=1))
        return torch.stack(gathered).mean(dim=0)

    def score(self, asked: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Score (B, N, M) every pair of a query token and a support token in one head.

        Args:
            asked: projected query tokens (B, N, d).
            keys: projected support tokens (B, M, d).
            values: mask values (B, M), which this score does not read.
        """
        return torch.matmul(asked * asked.shape[-1] ** -0.5, keys.transpose(1, 2))


def encode_cells(count: int, channels: int, like: Tensor) -> Tensor:
    """Compute sinusoidal encodings (count, channels) of cells in reading order: sine in even channels, cosine in odd.

    The formula is the usual exponential in single precision.  Angles reach thousands, so another formula for the same
    frequencies would differ in the fourth digit.
    """
    exponents = torch.arange(0, channels, 2, device=like.device) * (-math.log(_BASE) / channels)
    angles = torch.arange(count, device=like.device).unsqueeze(1) * torch.exp(exponents)
    encoding = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :channels]
    return encoding.to(like.dtype)


def _make_convs(inputs: int, widths: tuple[int, ...], kernels: tuple[int, ...]) -> nn.Sequential:
    """Make convolution, GroupNorm(4) and ReLU, once per kernel."""
    layers: list[nn.Module] = []
    for width, kernel in zip(widths, kernels, strict=True):
        layers += [
            nn.Conv2d(inputs, width, kernel, padding=kernel // 2),
            nn.GroupNorm(4, width),
            nn.ReLU(inplace=True),
        ]
        inputs = width
    return nn.Sequential(*layers)


def _make_pair(inputs: int, hidden: int, outputs: int, *after: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, hidden, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, outputs, 3, padding=1),
        *after,
    )


class DCAMA(FeatureMethod):
    """Mask aggregation by attention.  One softmax covers the cells of all K supports."""

    card: ClassVar[MethodCard] = MethodCard(
        name="dcama",
        title="DCAMA",
        paper="Xinyu Shi, Dong Wei, Yu Zhang, Donghuan Lu, Munan Ning, Jiashun Chen, Kai Ma, Yefeng Zheng: "
        "Dense Cross-Query-and-Support Attention Weighted Mask Aggregation for Few-Shot Segmentation, ECCV",
        year=2022,
        kind="pixelwise",
        backbone="resnet50",
        size=384,
        trained=True,
        reference="pawn-sxy/DCAMA@37fa053",
        licence="none",
        training="Cross-entropy over all pixels; SGD, learning rate 1e-3, momentum 0.9, Nesterov, weight "
        "decay 1e-4, constant; batch 48, one support, no augmentation, best validation mIoU kept.",
        parity=("dcama_resnet50_384: logits of one support, mask of five, to 1e-4",),
        notes=(
            Note(
                "reproduced",
                "Attention sees unmasked features, positional encodings are added to raw signed features.",
            ),
            Note(
                "corrected",
                "With several supports the reference's reshape is right for batches of one only; here "
                "each episode attends to its own supports.",
            ),
            Note(
                "corrected",
                "Positional encodings end at 10,000 cells in the reference; here any input size works.",
            ),
            Note(
                "remark",
                "Authors' files load by name; their own script renames entries by position. Encodings in them "
                "are computed again.",
            ),
            Note(
                "remark",
                "Other backbones: one pair of linear layers for each stage and width; the reference also has "
                "Swin-B, which is not here. Published with timm's a1h weights (`--weights a1h`).",
            ),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = DCAMAConfig
    replayable: ClassVar[bool] = True
    recipe: ClassVar[Recipe | None] = Recipe(
        optimizer="sgd",
        learning_rate=1e-3,
        momentum=0.9,
        nesterov=True,
        weight_decay=1e-4,
        batch=48,
        epochs=500,
        source="training script of the release, COCO",
    )
    loss_ignores: ClassVar[bool] = False
    reference_backbone: ClassVar[str] = "feature_extractor."
    config: DCAMAConfig

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        first, fine, middle, coarse = list_stages(self.backbone, 4)[-4:]
        matched = [*fine, *middle, *coarse]
        for tap in matched:
            if tap.channels % self.config.heads:
                raise UsageError(
                    f"heads={self.config.heads} of method dcama do not divide the {tap.channels} channels of "
                    f"tap {tap.name!r} of backbone {self.backbone.name!r}. Next: --set heads=4, or another divisor"
                )
        groups = sorted({(tap.stage, tap.channels) for tap in matched})
        self._block = {tap.name: groups.index((tap.stage, tap.channels)) for tap in matched}
        self._matched = {"coarse": list_names(coarse), "middle": list_names(middle), "fine": list_names(fine)}
        self._shallow, self._deeper = first[-1], fine[-1]
        self.attention = nn.ModuleList(self.make_attention(channels) for _, channels in groups)
        self.encode = nn.ModuleDict(
            {
                level: _make_convs(len(taps), (16, 64, 128), _KERNELS[level])
                for level, taps in self._matched.items()
            }
        )
        self.fuse = nn.ModuleList(_make_convs(128, (128,) * 3, (3,) * 3) for _ in range(2))
        joined = 128 + 2 * (self._deeper.channels + self._shallow.channels)
        self.mix = nn.ModuleList(
            [
                _make_pair(joined, 128, 64, nn.ReLU(inplace=True)),
                _make_pair(64, 64, 16, nn.ReLU(inplace=True)),
                _make_pair(16, 16, 2),
            ]
        )

    def make_attention(self, channels: int) -> MaskAttention:
        """Make the attention of one group of taps."""
        return MaskAttention(channels, self.config.heads)

    @property
    def taps(self) -> Taps:
        """All blocks of the last three stages, and the last block of the stage before, of query and support."""
        every = (*sum(self._matched.values(), ()), self._shallow.name)
        return Taps(query=every, support=every)

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Logits (B, 2, 4h, 4w), h and w the plane of the first stage, from all K supports jointly."""
        coarse, middle, fine = (
            self._encode(level, query, support, support_mask) for level in ("coarse", "middle", "fine")
        )
        mixed = self.fuse[0](resize(coarse, read_size(middle)) + middle)
        mixed = self.fuse[1](resize(mixed, read_size(fine)) + fine)
        deeper, shallow = self._deeper.name, self._shallow.name
        mixed = torch.cat([mixed, query[deeper], support[deeper].amax(dim=1)], dim=1)
        shallow_maps = torch.cat([query[shallow], support[shallow].amax(dim=1)], dim=1)
        mixed = apply_to_resized(self.mix[0], mixed, shallow_maps)
        logits: Tensor = self.mix[2](double_size(self.mix[1](double_size(mixed))))
        return logits

    def debug_maps(self, query: Features, support: Features, support_mask: Tensor) -> dict[str, Tensor]:
        """Return the gathered mask values of each level, (1, h, w), averaged over its taps."""
        gathered = record_inputs(dict(self.encode), lambda: self.logits(query, support, support_mask))
        return {f"gathered mask, {level} level": maps.mean(dim=1) for level, maps in gathered.items()}

    def _encode(self, level: str, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Encode the coarse maps of the taps of one level: (B, 128, h, w)."""
        maps = [
            self._gather_masks(self.attention[self._block[tap]], query[tap], support[tap], support_mask)
            for tap in self._matched[level]
        ]
        encoded: Tensor = self.encode[level](torch.stack(maps, dim=1))
        return encoded

    def _gather_masks(self, attention: nn.Module, query: Tensor, support: Tensor, mask: Tensor) -> Tensor:
        """Gather mask values for query cells (B, C, h, w) from supports (B, K, C, hs, ws): (B, h, w)."""
        cells = self._tokens(query)
        others = self._tokens(support).flatten(1, 2)
        values = resize(mask, read_size(support)).flatten(1)
        gathered: Tensor = attention(cells, others, values)
        return torch.unflatten(gathered, 1, query.shape[-2:])

    def _tokens(self, maps: Tensor) -> Tensor:
        """Turn maps (..., C, h, w) into tokens (..., h * w, C) and add the positions of each image."""
        tokens = maps.flatten(-2).transpose(-1, -2)
        tokens = tokens + encode_cells(tokens.shape[-2], tokens.shape[-1], tokens)
        return functional.dropout(tokens, _DROPOUT, self.training)

    def rename_reference(self, name: str) -> str | None:
        """Return our name of an entry of the release.  Its positional encodings are not needed."""
        name = name.removeprefix("model.")
        if re.fullmatch(r"pe\.\d+\.pe", name):
            return None
        for theirs, ours in _RELEASE.items():
            if name.startswith(f"{theirs}."):
                rest = name.removeprefix(theirs)
                return ours + rest.replace(".linears.0.", ".query.").replace(".linears.1.", ".key.")
        return name
