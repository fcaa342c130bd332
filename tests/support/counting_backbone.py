"""A backbone that counts its images, methods on it, and their inputs without a run."""

from __future__ import annotations

import torch
from torch.nn import functional

from fssbench.api import FeatureMethod, MethodConfig, Taps
from fssbench.contracts.backbones import Backbone, Tap
from fssbench.evaluation.feature_cache import FeatureCache
from fssbench.evaluation.inputs import Inputs
from fssbench.plugins.registry import DATASETS


class Seen:
    """What a backbone and the copies that are made of it were asked for."""

    def __init__(self) -> None:
        self.images = 0
        self.asked: set[tuple[str, ...]] = set()

    def __deepcopy__(self, memo: object) -> Seen:
        return self


class Counting(Backbone):
    """Two taps of pooled pixels; counts its images, those of its copies included."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.name, self.layout = "counting", "standard"
        self.register_buffer("value", torch.tensor(value))
        self.record("made up")
        self.seen = Seen()

    @property
    def images(self) -> int:
        return self.seen.images

    @property
    def asked(self) -> set[tuple[str, ...]]:
        return self.seen.asked

    @property
    def taps(self):
        return {
            name: Tap(name=name, stage=1, channels=3, stride=s) for name, s in (("half", 2), ("quarter", 4))
        }

    def forward(self, images, taps):
        self.seen.images += len(images)
        self.asked.add(tuple(taps))
        strides = {"half": 2, "quarter": 4}
        return {t: functional.avg_pool2d(images, strides[t]) for t in taps}


def feature_method(null, name: str, backbone: Backbone, *taps: str) -> FeatureMethod:
    def logits(self, query, support, support_mask):
        assert set(query) == set(support) == set(taps)
        assert all(f.shape[:2] == (1, 3) for f in query.values())
        assert all(f.shape[:3] == (1, support_mask.shape[1], 3) for f in support.values())
        size = support_mask.shape[-2:]
        near = sum(
            functional.interpolate((query[t] - support[t].mean(1)).abs().mean(1, keepdim=True), size)
            for t in taps
        )
        fg = support_mask.mean(dim=1, keepdim=True) - near
        return torch.cat([-fg, fg], dim=1)

    cls = type(
        name.title(),
        (FeatureMethod,),
        {
            "card": null.base.card.model_copy(update={"name": name, "backbone": "counting"}),
            "taps": property(lambda self: Taps(taps, taps)),
            "logits": logits,
        },
    )
    return cls(MethodConfig(), backbone)


def inputs(null, size: int = 16, budget: int = 1 << 20) -> Inputs:
    dataset = DATASETS.get("nulldata")(null.data / "nulldata")
    return Inputs(dataset, size, torch.device("cpu"), FeatureCache(budget))
