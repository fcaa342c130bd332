"""RePRI: region proportion regularised inference (Boudiaf, Kervadec, Ziko, Piantanida, Ben Ayed, Dolz, CVPR 2021).

Training uses no episodes: a PSPNet learns to classify the base classes.  In a test episode its features are frozen, and
a classifier of two classes is fitted to the supports and to the unlabelled query.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from fssbench.api import (
    AT_INFERENCE,
    Ablation,
    ImageMethod,
    MethodCard,
    MethodConfig,
    Note,
    Predictor,
    Recipe,
    UsageError,
    pixel_loss,
)

from ..layers.feature_maps import list_stages, pick_activated
from ..layers.finetuned import Trained
from ..layers.pyramid_pooling import POOLED_WIDTH, PyramidPooling
from ..layers.resize import read_size, resize
from .transduction import Classifier, Task, fit

if TYPE_CHECKING:
    from fssbench.api import Backbone

_SMOOTHING = 0.1
_LAYOUTS = {"resnet50": "deepstem", "resnet101": "deepstem", "vgg16": "batchnorm"}


class RePRIConfig(MethodConfig):
    """Settings of RePRI."""

    classes: int = Field(15, ge=1)
    """Number of classes of the base network, without background: 15 on a fold of PASCAL, 60 on COCO, 20 on all of
    PASCAL.  Weights in the authors' layout imply it."""
    steps: Annotated[int, AT_INFERENCE] = Field(49, ge=0)
    """Gradient steps per episode.  The reference's `adapt_iter` of 50 takes 49.  0 uses the first prototype."""
    learning_rate: Annotated[float, AT_INFERENCE] = Field(0.025, gt=0)
    """Learning rate of the plain gradient descent in an episode."""
    layout: Literal["reference", "standard"] = "reference"
    """Form of a ResNet or VGG.  `reference` is PFENet's (three-convolution stem, dilated, stride 8).  `standard`
    fits torchvision's weights."""

    ablations: ClassVar[Mapping[str, Ablation]] = {
        "adaptation": Ablation({"steps": 0}, label="w/o adaptation")
    }


class RePRI(ImageMethod):
    """PSPNet of the base classes.  A classifier is fitted to each episode, with the cells of K supports together."""

    card: ClassVar[MethodCard] = MethodCard(
        name="repri",
        title="RePRI",
        paper="Malik Boudiaf, Hoel Kervadec, Ziko Imtiaz Masud, Pablo Piantanida, Ismail Ben Ayed, Jose Dolz: "
        "Few-Shot Segmentation Without Meta-Learning: A Good Transductive Inference Is All You Need?, CVPR",
        year=2021,
        kind="adaptation",
        backbone="resnet50",
        size=417,
        trained=True,
        reference="mboudiaf/RePRI-for-Few-Shot-Segmentation@aa54b19",
        licence="MIT",
        training="Base network: cross-entropy over background and base classes, label smoothing 0.1; SGD, learning "
        "rate 2.5e-3, momentum 0.9, Nesterov, weight decay 1e-4, cosine to 1e-6, batch 12, 100 epochs (COCO 20); "
        "flips; the whole network learns.  In an episode: 49 steps of plain SGD, rate 0.025, on prototype and bias.",
        parity=(
            "repri_resnet50_257: base logits, start, end and prediction of one and five supports, to 1e-4",
        ),
        notes=(
            Note(
                "corrected",
                "The reference leaves out of its losses the query pixels that are marked 255 in the truth, "
                "padding and object borders alike, so that a little of the truth reaches the prediction; here "
                "all pixels "
                "of the query count, and the truth is never seen.",
            ),
            Note(
                "reproduced",
                "`adapt_iter` 50 means 49 steps; the proportion is estimated again after the ninth step, and "
                "the weight of its term grows by one.",
            ),
            Note(
                "differs",
                "An epoch of the reference sees every image once; `fssbench train` draws images by class, evenly, "
                "and augments nothing.  Pixels of classes that are not trained on are left out of the loss, as there.",
            ),
            Note(
                "remark",
                "The reference pastes images of other shapes on a black canvas and scores there; here images "
                "are squashed.",
            ),
            Note(
                "remark",
                "The reference's table of VOC names has car and cat in each other's place, so that its "
                "published rows of "
                "COCO to PASCAL test one seen class each in folds 2 and 3; the benchmark here does not.",
            ),
            Note("remark", "Logits are bias and likeness: their softmax is the reference's probability."),
            Note(
                "remark",
                "The whole network belongs to the checkpoint; the frozen backbone only gives the start of the "
                "training.",
            ),
            Note(
                "remark",
                "Other backbones: the last block of the last stage; pooled maps have a quarter of its channels.",
            ),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = RePRIConfig
    recipe: ClassVar[Recipe | None] = Recipe(
        optimizer="sgd",
        learning_rate=2.5e-3,
        momentum=0.9,
        nesterov=True,
        weight_decay=1e-4,
        batch=12,
        epochs=100,
        schedule="cosine",
        source="PASCAL-5i configuration of the release (COCO: 20 epochs)",
    )
    needs_backbone: ClassVar[bool] = True
    supervision: ClassVar[Literal["object", "classes"]] = "classes"
    reference_backbone: ClassVar[str] = ""
    config: RePRIConfig
    backbone: Backbone

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        last = list_stages(self.backbone, 1)[-1][-1]
        self._tap = pick_activated(self.backbone, last.name)
        self.encoder = Trained(self.backbone)
        self.pyramid = PyramidPooling(last.channels)
        self.classifier = nn.Conv2d(POOLED_WIDTH, self.config.classes + 1, 1)

    @classmethod
    def settings_of(cls, state: Mapping[str, Tensor]) -> Mapping[str, Any]:
        """Return the number of classes, besides the background, of the classifier in the weights."""
        count = len(state.get("classifier.bias", ()))
        return {"classes": count - 1} if count > 1 else {}

    @classmethod
    def backbone_layout(cls, backbone: str, config: MethodConfig) -> str:
        """Return the authors' layout if the backbone has it and the settings do not choose another."""
        if isinstance(config, RePRIConfig) and config.layout == "standard":
            return "standard"
        return _LAYOUTS.get(backbone, "standard")

    @property
    def steps(self) -> int:
        """Gradient steps per episode."""
        return self.config.steps

    def features(self, images: Tensor) -> Tensor:
        """Compute features (N, 512, h, w) of images (N, 3, H, W), before the classifier of base classes."""
        out: Tensor = self.pyramid(self.encoder(images, self._tap))
        return out

    def adapt(
        self, query: Any, support: Any, support_mask: Tensor, *, generator: torch.Generator, steps: int
    ) -> Predictor:
        """Fit the episode's classifier.  Nothing is drawn at random.  See `Method.adapt`."""
        task = self._task(query, support[0], support_mask[0])
        classifier = fit(task, steps=steps, rate=self.config.learning_rate)
        return lambda *_: _compute_logits(classifier, task)

    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        """Compute logits (B, 2, h, w) without adaptation: bias, and similarity to the mean of the object's cells."""
        tasks = (self._task(q[None], s, m) for q, s, m in zip(query, support, support_mask, strict=True))
        return torch.cat([_compute_logits(Classifier.begin(task), task) for task in tasks])

    @torch.no_grad()
    def _task(self, query: Tensor, support: Tensor, mask: Tensor) -> Task:
        """Make the task of one episode: query (1, 3, H, W), supports (K, 3, H, W), masks (K, H, W)."""
        cells, objects = (functional.normalize(self.features(images), dim=1) for images in (query, support))
        small = functional.interpolate(mask.unsqueeze(1), read_size(objects), mode="nearest")[:, 0]
        return Task.of(cells, objects, small == 1)

    def loss(
        self, query: Tensor, support: Tensor, support_mask: Tensor, target: Tensor, ignore: Tensor
    ) -> Tensor:
        """Compute the cross-entropy of the base classes, with label smoothing.  Supports have no effect.

        Args:
            query: images (B, 3, H, W).
            support: not read.
            support_mask: not read.
            target: numbers of the classes (B, H, W), 0 is background.
            ignore: pixels that do not count (B, H, W), bool.
        """
        count = self.classifier.out_channels
        if int(target.max()) >= count:
            raise UsageError(
                f"method 'repri' has {count - 1} classes beside the background and is taught number "
                f"{int(target.max())}. Next: --set classes=N with the number of classes that are trained on"
            )
        if self.training and len(query) < 2:
            raise UsageError(
                "method 'repri' needs two images a forward: its batch norm sees one cell of each"
            )
        logits = resize(self.classifier(self.features(query)).float(), read_size(target))
        # torch spreads over all classes, the reference over the others
        smoothing = min(_SMOOTHING * count / (count - 1), 1.0)
        return pixel_loss(logits, target, ignore, label_smoothing=smoothing)

    def rename_reference(self, name: str) -> str | None:
        """Return our name of an entry of the authors' checkpoint."""
        kind, _, rest = name.partition(".")
        if kind == "ppm":
            _, place, layer, leaf = rest.split(".")
            return f"pyramid.pools.{place}.{int(layer) - 1}.{leaf}"
        return f"pyramid.{name}" if kind == "bottleneck" else name

    def load_reference(self, state: Mapping[str, Tensor]) -> None:
        """Load the authors' state dict.  The encoder's entries go to the backbone and to the trained copy."""
        plain = {name.removeprefix("module."): value for name, value in state.items()}
        super().load_reference({**plain, **self.encoder.entries(plain, "encoder.")})


def _compute_logits(classifier: Classifier, task: Task) -> Tensor:
    """Compute bias and similarity of the query's cells, (1, 2, h, w)."""
    likeness = classifier.logits(task.query)
    return torch.stack([torch.zeros_like(likeness) + classifier.bias, likeness], dim=1)
