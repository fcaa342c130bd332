"""GF-SAM: points where DINOv2 sees the object of the supports, a mask of SAM for each, and a graph that selects masks.

Each query cell is compared with the supports.  The likeliest cells become clicks, and SAM gives one mask per click.
Clicks whose masks cover each other form groups; masks that cover more of the object than of the background, and clicks
that resemble their own group most, give the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from fssbench.api import (
    MEAN,
    STD,
    Ablation,
    Companion,
    ImageMethod,
    LackingError,
    MethodCard,
    MethodConfig,
    Note,
    PluginError,
)

from ..layers.feature_maps import choose_tap, pick_last
from ..layers.resize import read_size, resize
from .colours import segment_by_colour
from .priors import Priors, choose_points, compare_cells, compute_priors, normalise_tokens
from .selection import Selection, select_masks

if TYPE_CHECKING:
    from fssbench.api import Backbone

_LEVELS = 255
_SQUARE = 14
"""Side of the square that takes the place of empty support masks, in pixels."""
COLOUR = "colour"
"""Name of the segmenter without a network."""


class GFSAMConfig(MethodConfig):
    """Settings of GF-SAM."""

    ablations: ClassVar[Mapping[str, Ablation]] = {
        "negative": Ablation({"negative": False}, "w/o background maps"),
        "clustering": Ablation({"clustering": False}, "w/o clustering"),
        "growth": Ablation({"growth": False}, "w/o test of coverage"),
        "consistency": Ablation({"consistency": False}, "w/o test of consistency"),
        "sam": Ablation({"segmenter": COLOUR}, "w/o SAM"),
    }

    segmenter: str = "sam-h-promptable"
    """Backbone that turns clicks into masks, `sam-b-promptable`, `sam-l-promptable` or `sam-h-promptable`; `colour` is
    a rule without a network, which marks pixels of the click's colour near it."""
    segmenter_weights: str = ""
    """Weights of the segmenter: a published id, `random`, or a file.  By default the published ones, or `random` if
    those of the backbone are."""
    tap: str = "auto"
    """Backbone tap that is compared.  `auto` is the last tap without a norm, as published."""
    feature_size: int = Field(518, ge=32)
    """Side of the images that the backbone gets, in pixels."""
    negative: bool = True
    """Whether cells that resemble the background more are no points."""
    clustering: bool = True
    """Whether points whose masks cover each other form groups."""
    growth: bool = True
    """Whether masks must cover more of the object than of the background."""
    consistency: bool = True
    """Whether points must resemble their own group most."""
    token_norm: bool = True
    """Whether each channel is divided by its norm over the cells of its image, as published."""
    click: Literal["corner", "centre"] = "corner"
    """Where in its cell a click lies: at the upper left corner, as published, or at the centre."""
    last_score: bool = True
    """Whether the score of a group is that of the mask that was tried last, as published, or its largest."""
    antialias: bool = False
    """Whether images are reduced with antialias; the pinned torchvision of the reference does it without."""
    empty_square: bool = True
    """Whether empty support masks get a square at the centre, as published; otherwise the answer is empty."""


class _Steps(NamedTuple):
    """What the method finds on the way, for one episode."""

    priors: Priors
    filtered: Tensor
    """Where the object is likely (h, w)."""
    points: Tensor
    """Column and row of each point (N, 2)."""
    clicks: Tensor
    """x and y of each click in pixels (N, 2)."""
    masks: Tensor
    """The mask of each click (N, H, W), bool."""
    selection: Selection | None
    """None without any point."""


class GFSAM(ImageMethod):
    """Clicks where the object is likely, segments each click, and selects masks by a graph.  Supports are pooled."""

    card: ClassVar[MethodCard] = MethodCard(
        name="gf-sam",
        title="GF-SAM",
        paper="Zhang et al.: Bridge the points: graph-based few-shot segment anything semantically, NeurIPS",
        year=2024,
        kind="pixelwise",
        backbone="dinov2-l",
        size=1024,
        input_size=1024,
        pixels="raw",
        answer="mask",
        trained=False,
        reference="ANDYZAQ/GF-SAM@f227d1d",
        licence="MIT",
        training="Nothing is trained.",
        parity=(
            "gfsam_dinov2s_1024a: maps to 1e-4; points, clicks, groups, both tests and masks of one and five supports "
            "equal, with the made-up segmenter of the file and with SAM ViT-B on recipe weights",
            "gfsam_dinov2s_1024i: the same with the made-up segmenter, for fewer points",
        ),
        notes=(
            Note(
                "remark",
                "Two networks are used: the backbone (DINOv2, LVD-142M) finds points, and SAM (SA-1B) segments them. "
                "Reports name the pretraining of both.",
            ),
            Note(
                "remark",
                "The authors' logs give 49.54 / 57.68 mIoU on DeepGlobe, 48.69 / 55.23 on ISIC and 88.04 / 88.94 on "
                "FSS-1000, with 1 / 5 supports, DINOv2 ViT-L and SAM ViT-H.",
            ),
            Note(
                "remark",
                "K supports are used together: the maps are means over them, so their order is irrelevant.",
            ),
            Note(
                "reproduced",
                "Each channel is divided by its norm over the cells of an image and not each cell by its norm over the "
                "channels. `--set token_norm=false` leaves it out.",
            ),
            Note(
                "reproduced",
                "A click lies at the upper left corner of its cell. `--set click=centre` moves it to the centre.",
            ),
            Note(
                "reproduced",
                "The score of a group is that of the mask that was tried last. It matters if no mask passes both "
                "tests. `--set last_score=false` takes the group's largest.",
            ),
            Note(
                "reproduced",
                "If the masks of all supports are empty, each gets a square of 14 pixels at the centre. "
                "`--set empty_square=false` gives the empty mask. One empty mask among several stays empty.",
            ),
            Note(
                "reproduced",
                "Images are reduced to 518 pixels without antialias, as in the pinned torchvision 0.14. "
                "`--set antialias=true` is what later versions do.",
            ),
            Note(
                "corrected",
                "The reference writes that square into the caller's masks. Here the masks stay unchanged.",
            ),
            Note(
                "corrected",
                "The reference ends with an error if no cell is likely to be the object. Here the mask is empty.",
            ),
            Note(
                "differs",
                "Among cells with equal values the first ones become points; the reference does not specify the "
                "order.",
            ),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = GFSAMConfig
    align_corners: ClassVar[bool] = False
    needs_backbone: ClassVar[bool] = True
    check_settings: ClassVar[Mapping[str, Any]] = {"segmenter": COLOUR}
    config: GFSAMConfig
    backbone: Backbone

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        self._tap = choose_tap(self.backbone, self.config.tap, pick_last)

    @classmethod
    def list_companions(cls, config: MethodConfig) -> Mapping[str, Companion]:
        """Return the segmenter, unless it is the rule without a network.

        Raises:
            LackingError: if timm, which builds SAM's encoder, is not installed.
        """
        assert isinstance(config, GFSAMConfig)
        if config.segmenter == COLOUR:
            return {}
        if find_spec("timm") is None:
            raise LackingError(
                "gf-sam segments with SAM, whose image encoder is built by the package timm, which is not installed. "
                'Next: `pip install "fssbench[sam]"`, or --ablate sam'
            )
        return {"segmenter": Companion(config.segmenter, config.segmenter_weights, "segmenter_weights")}

    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        """Compute logits (B, 2, H, W): 1 and -1 by the mask."""
        size = read_size(query)
        answers = []
        for episode in zip(query, support, support_mask, strict=True):
            selection = self._follow_steps(*episode).selection
            answers.append(query.new_zeros(size, dtype=torch.bool) if selection is None else selection.mask)
        signs = torch.where(torch.stack(answers), 1.0, -1.0)
        return torch.stack([-signs, signs], dim=1)

    def debug_maps(self, query: Tensor, support: Tensor, support_mask: Tensor) -> dict[str, Tensor]:
        """Return where the object is likely, the clicks, and how many masks cover each pixel, each (1, h, w)."""
        steps = self._follow_steps(query[0], support[0], support_mask[0])
        clicked = torch.zeros_like(steps.filtered)
        clicked[steps.points[:, 1], steps.points[:, 0]] = 1
        return {
            "likeness to the object": steps.filtered[None],
            "points": clicked[None],
            "masks": steps.masks.float().sum(dim=0, keepdim=True),
        }

    def _follow_steps(self, query: Tensor, supports: Tensor, masks: Tensor) -> _Steps:
        """Segment a query (3, H, W) from supports (K, 3, H, W) with masks (K, H, W); pixels are from 0 to 1."""
        maps = self._extract(torch.cat([query[None], supports]))
        grid = read_size(maps)
        cells = maps.flatten(2)
        if self.config.token_norm:
            cells = normalise_tokens(cells)
        masks = self._fill_empty(masks.float())
        inside = resize(masks[None], grid)[0].flatten(1)
        priors = compute_priors(cells[0], cells[1:], inside, grid)
        filtered = priors.filter(negative=self.config.negative)
        points = choose_points(filtered if bool(masks.any()) else torch.zeros_like(filtered))
        side = query.shape[-1]
        offset = 0.5 if self.config.click == "centre" else 0.0
        clicks = ((points.float() + offset) * side / grid[1]).int()
        if not len(points):
            return _Steps(
                priors, filtered, points, clicks, query.new_zeros(0, side, side, dtype=torch.bool), None
            )
        segmented = self._segment((query * _LEVELS).floor() / _LEVELS, clicks)
        selection = select_masks(
            segmented,
            points,
            priors,
            compare_cells(cells[0], cells[0]),
            clustering=self.config.clustering,
            growth=self.config.growth,
            consistency=self.config.consistency,
            last_score=self.config.last_score,
        )
        return _Steps(priors, filtered, points, clicks, segmented, selection)

    def _extract(self, images: Tensor) -> Tensor:
        """Compute the features (N, C, h, w) of images (N, 3, H, W)."""
        side = self.config.feature_size
        small = functional.interpolate(
            images, (side, side), mode="bilinear", align_corners=False, antialias=self.config.antialias
        )
        return self.backbone(_normalise(small), [self._tap])[self._tap].float()

    def _fill_empty(self, masks: Tensor) -> Tensor:
        """Return masks (K, H, W); if all are empty, each has a square at the centre."""
        if bool(masks.any()) or not self.config.empty_square:
            return masks
        filled = masks.clone()
        top, left = (side // 2 - _SQUARE // 2 for side in read_size(masks))
        filled[:, top : top + _SQUARE, left : left + _SQUARE] = 1
        return filled

    def _segment(self, image: Tensor, clicks: Tensor) -> Tensor:
        """Segment an image (3, S, S) at clicks (N, 2): masks (N, S, S), bool."""
        if self.config.segmenter == COLOUR:
            return segment_by_colour(image, clicks)
        segmenter = self.companions.get("segmenter")
        segment: Any = getattr(segmenter, "segment_clicks", None)
        if segment is None:
            raise PluginError(
                f"gf-sam needs a segmenter of clicks, and {self.config.segmenter!r} is none. "
                "Next: --set segmenter=sam-b-promptable, sam-l-promptable, sam-h-promptable or colour"
            )
        masks: Tensor = segment(_normalise(image), clicks)
        return masks


def _normalise(images: Tensor) -> Tensor:
    """Normalise pixels (..., 3, H, W) from 0 to 1 as backbones expect them."""
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (MEAN, STD))
    return (images - mean) / std
