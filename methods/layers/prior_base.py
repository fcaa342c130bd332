"""The encoder, the middle features and the prior masks of PFENet, which BAM and the methods on PFENet share."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from fssbench.api import FeatureMethod, Features, MethodConfig, Taps

from .feature_maps import list_stages, pick_activated
from .prior import compute_prior_mask
from .resize import read_size, resize

if TYPE_CHECKING:
    from fssbench.api import Backbone

_REFERENCE_LAYOUTS = {"resnet50": "deepstem", "resnet101": "deepstem", "vgg16": "batchnorm"}


class LayoutConfig(MethodConfig):
    """The setting that chooses the form of the encoder."""

    layout: Literal["reference", "standard"] = "reference"
    """Which form of a ResNet or VGG: `reference` is the authors' (three-convolution stem, dilated, stride
    8; VGG with batch norm), whose weights come with their checkpoints; `standard` takes torchvision's
    weights.  Other backbones have one form."""


class PriorMethod(FeatureMethod):
    """A method on the last blocks of stages two to four, after their activation.

    The second and third stage are compared, on the third one's grid; the fourth gives the prior mask.
    """

    Config: ClassVar[type[MethodConfig]] = LayoutConfig
    reference_backbone: ClassVar[str] = ""
    config: LayoutConfig

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        last = [stage[-1] for stage in list_stages(self.backbone, 4)[1:4]]
        self._low, self._mid, self._high = (pick_activated(self.backbone, tap.name) for tap in last)
        self._low_channels, self._high_channels = last[0].channels, last[2].channels
        self._channels = last[0].channels + last[1].channels

    @classmethod
    def backbone_layout(cls, backbone: str, config: MethodConfig) -> str:
        """The authors' encoder if the backbone has it and the settings do not choose another."""
        if isinstance(config, LayoutConfig) and config.layout == "standard":
            return "standard"
        return _REFERENCE_LAYOUTS.get(backbone, "standard")

    @property
    def taps(self) -> Taps:
        """Stages two and three of both; of the query also stage four, for the prior mask."""
        return Taps(query=(self._low, self._mid, self._high), support=(self._low, self._mid))

    def _middle(self, maps: Features) -> Tensor:
        """Concatenate the third and the second stage on the grid of the third: (B, C, h, w)."""
        mid = maps[self._mid]
        return torch.cat([mid, resize(maps[self._low], read_size(mid))], dim=1)

    @torch.no_grad()
    def _priors(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Compute one prior mask per support, on the query's grid: (B, K, h, w).

        The fourth stage runs on the object cells of the third alone, so that it sees no background.
        """
        mid = support[self._mid]
        priors = []
        for k in range(support_mask.shape[1]):
            mask = support_mask[:, k : k + 1]
            objects = mid[:, k] * resize(mask, read_size(mid))
            high = self.backbone.resume(objects, self._mid, (self._high,))[self._high]
            priors.append(compute_prior_mask(query[self._high], high * resize(mask, read_size(high))))
        # over the grid of the support, as in the reference; it differs from the query's if the inputs differ in shape
        return resize(resize(torch.stack(priors, dim=1), read_size(mid)), read_size(query[self._mid]))
