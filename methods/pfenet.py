"""PFENet: prior guided feature enrichment network (Tian, Zhao, Shu, Yang, Li, Jia, TPAMI 2020).

The averaged support vector and a training-free prior mask are concatenated to the query's features at several scales.
Each scale receives the result of the finer one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from fssbench.api import Features, MethodCard, MethodConfig, Note

from .layers.pfenet_base import OneEnrichment
from .layers.pfenet_head import WIDTH, Enriched, make_merge, make_narrowing, make_reduction
from .layers.prototypes import average_weighted
from .layers.resize import read_size, resize

if TYPE_CHECKING:
    from fssbench.api import Backbone


class PFENet(OneEnrichment):
    """Prior guided feature enrichment network.  Vectors and priors of K supports are averaged."""

    card: ClassVar[MethodCard] = MethodCard(
        name="pfenet",
        title="PFENet",
        paper="Zhuotao Tian, Hengshuang Zhao, Michelle Shu, Zhicheng Yang, Ruiyu Li, Jiaya Jia: Prior Guided "
        "Feature Enrichment Network for Few-Shot Segmentation, TPAMI",
        year=2020,
        kind="prototype",
        backbone="resnet50",
        size=473,
        trained=True,
        reference="dvlab-research/PFENet@a505675",
        licence="none",
        training="Cross-entropy, and the mean of it over the scales' auxiliary logits; SGD, momentum 0.9, weight "
        "decay 1e-4, polynomial decay 0.9; PASCAL: learning rate 2.5e-2 (stated as 2.5e-3), batch 4, "
        "200 epochs; COCO: 641 px, 5e-2 (5e-3), batch 8, 50 epochs.",
        parity=("pfenet_resnet50_257: logits of one and five supports, to 1e-4",),
        notes=(
            Note(
                "remark",
                "Published checkpoints contain their encoder, and it is needed: the reference trains with the "
                "batch norm of its frozen encoder in training mode, so that the running statistics drift. Corrected "
                "here: they stay as loaded, in training too.",
            ),
            Note("reproduced", "A scale of more cells than the grid (60 below 473 px) repeats cells."),
            Note(
                "remark",
                "The reference pastes images of other shapes on a black canvas and scores at the original's "
                "size; here images are squashed, as the harness does for every method.",
            ),
            Note(
                "remark",
                "torchvision's weights of a ResNet need `--set layout=standard`; its VGG without batch norm "
                "cannot be used.",
            ),
            Note(
                "remark",
                "Other backbones: the last block of stages two to four; where strides differ, the second is "
                "resized to the third, as the reference does for VGG.",
            ),
        ),
    )

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        self.down_query = make_narrowing(self._channels)
        self.down_supp = make_narrowing(self._channels)
        self.init_merge = nn.ModuleList(make_reduction(2 * WIDTH + 1) for _ in self.config.ppm_scales)

    def debug_maps(self, query: Features, support: Features, support_mask: Tensor) -> dict[str, Tensor]:
        """Return the prior mask of each support, (1, K, h, w)."""
        return {"prior mask": self._priors(query, support, support_mask)}

    def _enrich(self, query: Features, support: Features, support_mask: Tensor) -> Enriched:
        shots = support_mask.shape[1]
        cells = self.down_query(self._middle(query))
        objects = self.down_supp(self._middle({tap: maps.flatten(0, 1) for tap, maps in support.items()}))
        weights = resize(support_mask, read_size(objects))
        vector = average_weighted(objects.unflatten(0, (-1, shots)), weights).mean(dim=1)
        prior = self._priors(query, support, support_mask).mean(dim=1, keepdim=True)
        enriched: Enriched = self.enrich(
            make_merge(self.init_merge, cells, (vector,), prior), read_size(cells)
        )
        return enriched
