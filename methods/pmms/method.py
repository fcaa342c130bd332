"""PMMs and RPMMs: prototype mixture models (Yang, Liu, Li, Jiao, Ye, ECCV 2020).

EM over the cells of the supports fits a few vectors to the object, and as many to the background.  The query is
compared with each vector of the object.  The decoder also receives the probabilities of the mixture in every cell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fssbench.api import Ablation, FeatureMethod, Features, MethodCard, MethodConfig, Note, Recipe, Taps

from ..layers.canet_head import WIDTH, Context, make_residual_pair
from ..layers.feature_maps import list_stages, pick_activated
from ..layers.finetuned import FineTuned
from ..layers.resize import read_size, resize
from .mixture import compute_shares, draw_directions, fit_mixture

if TYPE_CHECKING:
    from fssbench.api import Backbone

_COMPONENTS = {"pmms": (3,), "rpmms": (1, 3, 6)}
_RELEASE = (
    (r"^layer55\.", "compare."),
    (r"^layer56\.", "merge."),
    (r"^layer5\.", "describe."),
    (r"^layer6\.layer6_(\d)\.", r"context.branches.\1."),
    (r"^layer7\.", "narrow."),
    (r"^layer9\.", "classify."),
    (r"^residule1\.", "refine.0."),
    (r"^residule2\.", "refine.1."),
    (r"^residule3\.", "refine.2."),
    (r"^model_backbone\.cls\.0\.", "last."),
)
"""Patterns in names of the release, and ours."""
_DIVISOR = 5.0
"""The residual form divides by five for any number of supports.  This alone does not change a mask."""


class PMMsConfig(MethodConfig):
    """Settings of PMMs."""

    variant: Literal["auto", "pmms", "rpmms"] = "auto"
    """`pmms`: three vectors for the object and three for the background.  `rpmms`: three stages of one, three and
    six vectors, each of which receives the result of the stage before.  `auto`: the variant of the loaded
    authors' weights, or `rpmms` without such weights."""
    start: str = ""
    """Word that seeds the directions from which EM starts.  Another word gives another draw."""
    encoder: Literal["frozen", "tuned"] = "frozen"
    """`tuned`: the convolutions of the second and third stage are trained along with the head."""

    ablations: ClassVar[Mapping[str, Ablation]] = {
        "residual": Ablation({"variant": "pmms"}, label="w/o residual stages")
    }


def _make_layer(inputs: int, kernel: int, rate: int, *, norm: bool) -> nn.Sequential:
    """Make a convolution to the head's width, then batch norm and ReLU, or ReLU and dropout."""
    conv = nn.Conv2d(inputs, WIDTH, kernel, padding=rate * (kernel // 2), dilation=rate)
    rest = (nn.BatchNorm2d(WIDTH), nn.ReLU()) if norm else (nn.ReLU(), nn.Dropout2d(0.5))
    return nn.Sequential(conv, *rest)


class PMMs(FeatureMethod):
    """Mixtures of prototypes.  The cells of K supports are fitted together."""

    card: ClassVar[MethodCard] = MethodCard(
        name="pmms",
        title="RPMMs",
        paper="Boyu Yang, Chang Liu, Bohao Li, Jianbin Jiao, Qixiang Ye: Prototype Mixture Models for Few-Shot "
        "Semantic Segmentation, ECCV",
        year=2020,
        kind="prototype",
        backbone="resnet50",
        size=321,
        trained=True,
        reference="Yang-Bob/PMMs@100d66b",
        licence="none",
        training="Cross-entropy over all pixels (RPMMs: summed over its three stages); SGD, learning rate 3.5e-4 for "
        "the encoder's weights, twice that for its biases, ten and twenty times for the head's; momentum 0.9, weight "
        "decay 5e-4, polynomial decay 0.9 over 200,000 steps, batch 8; random crops of 321 px, flips.",
        parity=("pmms_FPMMs_257: logits of one and five supports of the form `pmms`, to 1e-4",),
        published=("rpmms",),
        notes=(
            Note(
                "corrected",
                "The reference draws the directions from which EM starts anew (RPMMs: in every forward), so that no "
                "two of its runs agree; here they are a fixed draw (`--set start=WORD` for another).",
            ),
            Note(
                "differs",
                "The reference also trains its encoder, with running statistics; here the encoder is frozen, "
                "or (`--set encoder=tuned`) the convolutions of its second and third stage learn.",
            ),
            Note(
                "reproduced",
                "All cells enter EM, those outside the mask as zeros; background components start where "
                "the foreground's do; no gradient goes through the mixture.",
            ),
            Note(
                "reproduced",
                "With several supports RPMMs adds up the probabilities of its stages and divides by five; "
                "the last stage alone decides with one support.",
            ),
            Note(
                "remark",
                "ResNets have DeepLab's form (layout `deeplab`: stride 8, strides in the first convolution of a "
                "block); "
                "torchvision's weights are loaded into it by name, as the reference does.",
            ),
            Note("remark", "The reference tests at 481 px; here queries have the harness's size."),
            Note("remark", "Other backbones: the last block of stages two and three."),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = PMMsConfig
    recipe: ClassVar[Recipe | None] = Recipe(
        optimizer="sgd",
        learning_rate=3.5e-4,
        momentum=0.9,
        weight_decay=5e-4,
        batch=8,
        steps=200_000,
        schedule="poly",
        power=0.9,
        source="training script of the release; factors by part as there",
    )
    align_corners: ClassVar[bool] = False
    loss_ignores: ClassVar[bool] = False
    config: PMMsConfig

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        places = list_stages(self.backbone, 3)
        whole = self.backbone.layout == "deeplab" and self.backbone.name == "vgg16"
        read = places[-1][-1:] if whole else [places[1][-1], places[2][-1]]
        self._first, self._read = (
            places[0][-1].name,
            [pick_activated(self.backbone, tap.name) for tap in read],
        )
        self._prefix = "model_backbone." if whole else "model_res."
        channels = sum(tap.channels for tap in read)
        self.last = nn.Conv2d(channels, channels, 3, padding=1) if whole else nn.Identity()
        self.describe = _make_layer(channels, 3, 2, norm=True)
        self.tuned = nn.ModuleList()
        if self.config.encoder == "tuned":
            steps = zip((self._first, *self._read), self._read, strict=False)
            self.tuned.extend(FineTuned(self.backbone, after, last) for after, last in steps)
        variant = "pmms" if self.config.variant == "pmms" else "rpmms"
        self.components = _COMPONENTS[variant]
        self._residual = variant == "rpmms"
        norm = not self._residual
        self.compare = _make_layer(2 * WIDTH, 3, 2, norm=norm)
        self.merge = _make_layer(WIDTH + 2 * self._residual, 3, 1, norm=norm)
        self.refine = nn.ModuleList(make_residual_pair(WIDTH + more, bias=True) for more in (2, 0, 0))
        self.context = Context()
        self.narrow = _make_layer(5 * WIDTH, 1, 1, norm=norm)
        self.classify = nn.Conv2d(WIDTH, 2, 1)

    @classmethod
    def settings_of(cls, state: Mapping[str, Tensor]) -> Mapping[str, Any]:
        """Return the variant of the weights.  Only `pmms` has a norm after its comparison."""
        if "layer9.weight" not in state:
            return {}
        return {"variant": "pmms" if "layer55.1.weight" in state else "rpmms"}

    @classmethod
    def backbone_layout(cls, backbone: str, config: MethodConfig) -> str:
        """Return DeepLab's layout for ResNet and VGG.  Other backbones have one layout."""
        return "deeplab" if backbone in {"resnet50", "resnet101", "vgg16"} else "standard"

    @property
    def taps(self) -> Taps:
        """Stages two and three.  If these are tuned, the first stage, where the tuned part begins."""
        names = (self._first,) if self.tuned else tuple(self._read)
        return Taps(query=names, support=names)

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Compute logits (B, 2, h, w) on the third stage's grid, from all K supports jointly."""
        outputs = self._stages(query, support, support_mask)
        if self._residual and support_mask.shape[1] > 1:
            return torch.stack([each.softmax(dim=1) for each in outputs]).sum(dim=0) / _DIVISOR
        return outputs[-1]

    def loss(self, query: Any, support: Any, support_mask: Tensor, target: Tensor, ignore: Tensor) -> Tensor:
        """Compute the cross-entropy over all pixels, summed over the stages.  Pixels marked 255 count as background.

        Args:
            query: images or features, as for `predict`.
            support: images or features, as for `predict`.
            support_mask: binary masks (B, K, H, W), float.
            target: the queries' masks (B, H, W), bool.
            ignore: not read.
        """
        size = read_size(target)
        outputs = self._stages(*self.read(query, support), support_mask)
        full = [resize(each, size, align_corners=False) for each in outputs]
        return torch.stack([functional.cross_entropy(each.float(), target.long()) for each in full]).sum()

    def _stages(self, query: Features, support: Features, support_mask: Tensor) -> list[Tensor]:
        """Compute the logits (B, 2, h, w) of each stage.  Only the residual form has more than one."""
        shots = support_mask.shape[1]
        cells = self._describe(query)
        objects = self._describe({tap: maps.flatten(0, 1) for tap, maps in support.items()})
        objects = objects.unflatten(0, (-1, shots))
        mask = resize(support_mask, read_size(objects)).unsqueeze(2)
        parts = [(objects * weights).transpose(1, 2).flatten(2) for weights in (mask, 1 - mask)]
        history = cells.new_zeros((len(cells), 2, *read_size(cells)))
        outputs = []
        for count in self.components:
            begin = draw_directions(self.config.start, WIDTH, count).to(cells)
            foreground, background = (fit_mixture(part, begin) for part in parts)
            says = compute_shares(cells, foreground, background)
            compared = [
                self.compare(torch.cat([cells, _spread_vector(v, cells)], dim=1))
                for v in foreground.unbind(2)
            ]
            merged = torch.stack(compared).sum(dim=0)
            if self._residual:
                logits = self._decode(self.merge(torch.cat([merged, says], dim=1)), history)
            else:
                logits = self._decode(self.merge(merged), says)
            history = logits.softmax(dim=1)
            outputs.append(logits)
        return outputs

    def _describe(self, maps: Features) -> Tensor:
        """Compute the features that are compared, (B, 256, h, w), on the grid of the deepest map."""
        if self.tuned:
            read: list[Tensor] = []
            for part in self.tuned:
                read.append(part(read[-1] if read else maps[self._first]))
        else:
            read = [maps[tap] for tap in self._read]
        joined = torch.cat([resize(each, read_size(read[-1])) for each in read], dim=1)
        out: Tensor = self.describe(self.last(joined))
        return out

    def _decode(self, maps: Tensor, history: Tensor) -> Tensor:
        first, *others = self.refine
        maps = maps + first(torch.cat([maps, history], dim=1))
        for refine in others:
            maps = maps + refine(maps)
        out: Tensor = self.classify(self.narrow(self.context(maps)))
        return out

    def rate_factor(self, name: str) -> float:
        """Return the factor of the learning rate: 10 for the head, times 2 for biases, as in the reference."""
        return (1 if name.startswith("tuned.") else 10) * (2 if name.endswith(".bias") else 1)

    def rename_reference(self, name: str) -> str | None:
        """Return our name of an entry of the authors' checkpoint."""
        for pattern, own in _RELEASE:
            name = re.sub(pattern, own, name)
        return name

    def load_reference(self, state: Mapping[str, Tensor]) -> None:
        """Load weights in the authors' layout.  A tuned encoder gets its stages from the backbone's entries too."""
        plain = {name.removeprefix("module."): value for name, value in state.items()}
        body = {n.removeprefix(self._prefix): v for n, v in plain.items() if n.startswith(self._prefix)}
        body = {n: v for n, v in body.items() if not n.startswith("cls.")}
        renamed = {f"backbone.{n}": v for n, v in body.items()}
        for i, part in enumerate(self.tuned):
            assert isinstance(part, FineTuned)
            renamed |= part.entries(body, f"tuned.{i}.")
        rest = {n: v for n, v in plain.items() if n.removeprefix(self._prefix) not in body}
        super().load_reference({**rest, **renamed})


def _spread_vector(vector: Tensor, like: Tensor) -> Tensor:
    """Repeat a vector (B, C) in every cell of maps."""
    return vector[:, :, None, None].expand(-1, -1, *read_size(like))
