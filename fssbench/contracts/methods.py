"""The contract of a method: from support images, support masks and a query image to the logits of the query."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeGuard

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from fssbench.contracts.ablations import Ablation, make_ablation
from fssbench.contracts.companions import Companion, list_networks
from fssbench.contracts.method_card import MethodCard
from fssbench.contracts.pixel_loss import pixel_loss
from fssbench.contracts.prediction import Predictor, decide_masks, predict_shots
from fssbench.contracts.provenance import BROUGHT, Provenance
from fssbench.contracts.training import Recipe, Stage, Supervision
from fssbench.errors import DataError, PluginError
from fssbench.files.state_dicts import COUNTER, assign_state, digest_state, strip_module_prefix

if TYPE_CHECKING:
    from fssbench.contracts.backbones import Backbone

Features = Mapping[str, Tensor]
"""Feature maps by tap name: (B, C, h, w) of queries, (B, K, C, h, w) of supports."""


@dataclass(frozen=True)
class AtInference:
    """Marks a setting that has an effect when the method predicts and none when it is trained."""


AT_INFERENCE = AtInference()
"""Annotation of a setting, as in `steps: Annotated[int, AT_INFERENCE] = 50`, whose value may differ from the one that a
checkpoint was trained with."""


class MethodConfig(BaseModel):
    """Base of a method's settings.  Every field can be given with `--set name=value`.

    The sentence under a field is its description, which `fssbench show` prints.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    ablations: ClassVar[Mapping[str, Ablation]] = {}
    """What `--ablate NAME` sets, by name.  A plain dictionary of settings is an ablation labelled `w/o NAME`."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.ablations = {name: make_ablation(name, given) for name, given in cls.ablations.items()}


@dataclass(frozen=True, slots=True)
class Taps:
    """The backbone taps that a feature method reads."""

    query: tuple[str, ...]
    support: tuple[str, ...]

    @property
    def union(self) -> tuple[str, ...]:
        """Every tap once."""
        return tuple(dict.fromkeys((*self.query, *self.support)))


class Method(nn.Module, ABC):
    """A few-shot segmentation method.

    Subclass `FeatureMethod` for a frozen backbone that the harness shares and caches, or `ImageMethod` for a method
    that reads pixels.  An author defines `card`, `Config`, `logits` and, if needed, `taps`, `adapt` with `steps`,
    `loss`, `recipe`, `rename_reference` and `settings_of`.  A method never sees the query's mask, a file name or the
    plan.
    """

    card: ClassVar[MethodCard]
    Config: ClassVar[type[MethodConfig]] = MethodConfig
    shots: ClassVar[Literal["joint", "vote"]] = "joint"
    """How K > 1 supports are used: in one forward, or in one forward each and a vote (HSNet)."""
    align_corners: ClassVar[bool] = True
    """How logits are resized to the input size."""
    reference_backbone: ClassVar[str] = "backbone."
    """Prefix of the backbone's entries in the authors' state dict.  If it is empty, the backbone's entries are those
    of its own modules (`layer0.`, `layer1.`, ...)."""
    needs_backbone: ClassVar[bool] = False
    """Whether the method uses a registered backbone, by default the one on its card.  Feature methods do; an
    image method that runs such a backbone itself sets this to True."""
    replayable: ClassVar[bool] = False
    """Whether `logits` gives the same operations to the device for all inputs of the same shapes: it branches on no
    value, draws nothing, and uses the processor for nothing.  On a CUDA device these operations are then recorded once
    and replayed for each episode.  A derived class says so anew."""
    waivers: ClassVar[Mapping[str, str]] = {}
    """Contract checks that this method does not keep, by name, each with its reason (`fssbench check`)."""
    check_settings: ClassVar[Mapping[str, Any]] = {}
    """Settings with which `fssbench check` builds it, if the usual ones need minutes or large files."""
    recipe: ClassVar[Recipe | None] = None
    """How its authors train it; None if `fssbench train` has nothing to train."""
    shipped: ClassVar[str | None] = None
    """Folder of the checkpoints that come with the plugin, relative to its file.  If no checkpoint is named,
    `fssbench run` uses the one that fits the benchmark."""
    brings_weights: ClassVar[bool] = False
    """Whether the constructor gives the method its trained weights, so that it needs no checkpoint."""
    files: ClassVar[tuple[str, ...]] = ()
    """Data files that the plugin reads while it predicts, relative to its own file; patterns such as
    `prompts/*.json` are allowed.  Their bytes are part of a run's identity.  Files beside the plugin that its
    constructor reads are noticed and need not be named."""
    accepts: ClassVar[tuple[str, ...]] = ()
    """Names of other methods whose checkpoints it takes, such as that of the method it derives from."""
    loss_ignores: ClassVar[bool] = True
    """Whether pixels marked 255 are left out of the loss; otherwise they count as background there."""
    supervision: ClassVar[Supervision] = "object"
    """What `loss` learns from: the mask of the episode's class (`object`); that mask and, as a further argument
    `numbers`, the number of the class (`numbered`); these and, as `labels`, the numbers of all classes that are trained
    on (`labelled`); or, for a network that is trained as an ordinary classifier of pixels, these numbers alone
    (`classes`)."""

    stages: ClassVar[Mapping[str, Stage]] = {}
    """Trainings that come before that of `recipe`, by name, in their order (`fssbench train --stage NAME`)."""
    stage: str | None = None
    """The stage that is trained now; None in the training of `recipe` and at inference."""

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__()
        if self.needs_backbone and backbone is None:
            raise DataError(f"method {self.card.name!r} needs a backbone, such as {self.card.backbone!r}")
        self.config = config
        self.backbone: Backbone | None = backbone
        self.companions: Mapping[str, Backbone] = {}
        self.provenance = Provenance(method=self.card.name, untrained=needs_checkpoint(type(self)))
        """Filled in by `fssbench.load_method`: backbone, weights, checkpoint, ablations, settings."""

    @classmethod
    def backbone_layout(cls, backbone: str, config: MethodConfig) -> str:
        """Which layout of the named backbone this method uses: one of the layouts of its card."""
        return "standard"

    @classmethod
    def list_companions(cls, config: MethodConfig) -> Mapping[str, Companion]:
        """Return the frozen networks that the harness builds and puts into `self.companions`, by name."""
        return {}

    def accompany(self, networks: Mapping[str, Backbone]) -> None:
        """Take the companions, by name."""
        for name, network in networks.items():
            self.add_module(name, network)
        self.companions = dict(networks)

    @classmethod
    def settings_of(cls, state: Mapping[str, Tensor]) -> Mapping[str, Any]:
        """Settings that the authors' weights imply, such as the number of classes of a classifier.

        `fssbench.load_method` asks before it builds the method.  Settings that the user gives take precedence.

        Args:
            state: a state dict in the authors' layout, without a leading `module.` in the names.

        Returns:
            Values by field of `Config`; empty if the weights imply nothing.
        """
        return {}

    @abstractmethod
    def logits(self, query: Any, support: Any, support_mask: Tensor) -> Tensor:
        """Return logits (B, 2, h, w) at any resolution, from all K supports jointly."""

    @property
    def steps(self) -> int:
        """Step budget of `adapt`.  With 0, `adapt` is not called and `logits` predicts without adaptation."""
        return 0

    def adapt(
        self, query: Any, support: Any, support_mask: Tensor, *, generator: torch.Generator, steps: int
    ) -> Predictor:
        """Adapt to one episode at test time.

        Everything that is adapted belongs to the returned predictor (a closure over new tensors, or over copies
        of modules) and is gone after the episode: weights and buffers of the method stay unchanged.  The call is
        made without gradients; open `torch.enable_grad()` where they are needed.

        Args:
            query: as for `logits`, of one episode.
            support: as for `logits`, all K supports, also if the method votes.
            support_mask: (1, K, H, W).
            generator: on the CPU, seeded for this episode; the only permitted source of random numbers.
            steps: the budget; `self.steps`.

        Returns:
            What predicts this episode in place of `logits`.  It is called once with these inputs, or by a voting
            method once per support.
        """
        return self.logits

    def debug_maps(self, query: Any, support: Any, support_mask: Tensor) -> Mapping[str, Tensor]:
        """Return maps that show how the method sees an episode, for `fssbench run --first N --show`.

        It is called for each inspected episode after its prediction, without gradients, and in no other run.  So a map
        costs a run nothing.  For a method that votes it is called once per support, as `logits` is.

        Args:
            query: as for `logits`, of one episode.
            support: as for `logits`, of the K supports, or of one if the method votes.
            support_mask: (1, K, H, W).

        Returns:
            Maps over the query by name, of any numbers and any resolution: (1, h, w), or (1, N, h, w) for N maps of
            one kind, such as one per support.  None by default.
        """
        return {}

    @abstractmethod
    def read(self, query: Any, support: Any) -> tuple[Any, Any]:
        """Make from images what `logits` reads; inputs that were read before are returned unchanged."""

    def predict(
        self,
        query: Any,
        support: Any,
        support_mask: Tensor,
        *,
        size: tuple[int, int] | None = None,
        seed: int = 0,
        class_names: Sequence[str] | None = None,
    ) -> Tensor:
        """Predict B episodes of K shots.

        Args:
            query: normalised images (B, 3, H, W), or for a feature method their features.
            support: normalised images (B, K, 3, H, W), or their features.
            support_mask: binary masks (B, K, H, W), float.
            size: output height and width; the mask's size by default.
            seed: seeds what `adapt` draws, the same for each episode; other methods do not read it.
            class_names: name of the class of each episode, for a method that reads it (`MethodCard.reads`).

        Returns:
            Logits (B, 2, *size): background, foreground.  For a voting method with K > 1 this is the
            mean of the one-shot logits; `segment` applies the vote itself.
        """
        inputs = *self.read(query, support), support_mask
        outputs = predict_shots(self, *inputs, size=size, seed=seed, class_names=class_names)
        return outputs[0] if len(outputs) == 1 else torch.stack(outputs).mean(dim=0)

    def segment(
        self,
        query: Any,
        support: Any,
        support_mask: Tensor,
        *,
        size: tuple[int, int] | None = None,
        seed: int = 0,
        class_names: Sequence[str] | None = None,
    ) -> Tensor:
        """Predict masks (B, *size), bool, by the method's own K-shot rule.  Arguments as for `predict`."""
        inputs = *self.read(query, support), support_mask
        outputs = predict_shots(self, *inputs, size=size, seed=seed, class_names=class_names)
        return decide_masks(outputs)

    def loss(self, query: Any, support: Any, support_mask: Tensor, target: Tensor, ignore: Tensor) -> Tensor:
        """Compute the training loss of B episodes, a scalar: cross-entropy over pixels; override for another.

        Pixels are averaged within each episode and the episodes after that.  Loss and gradient of a batch
        therefore do not depend on how it is split over processes or accumulated.  With `supervision =
        "numbered"` an override takes a last argument `numbers: Tensor | None = None`: the number of each episode's
        class, (B,), int64, from 1 on in the order of the ids of the classes that are trained on.  With `supervision =
        "labelled"` it also takes `labels`: the number of each pixel of the queries, (B, H, W), int64, 0 for background,
        ignored pixels and classes that are not trained on.

        Args:
            query: as for `predict`.
            support: as for `predict`.
            support_mask: binary masks (B, K, H, W), float.
            target: the queries' masks (B, H, W), bool; with `supervision = "classes"` the numbers of the
                classes, int64: 0 background, then 1, 2, ... in the order of their ids.
            ignore: the pixels marked 255 in them (B, H, W), bool; false in `target`.  With `supervision =
                "classes"` also pixels of classes that are not trained on.
        """
        size = (int(target.shape[-2]), int(target.shape[-1]))
        return self.criterion(self.predict(query, support, support_mask, size=size).float(), target, ignore)

    def criterion(self, logits: Tensor, target: Tensor, ignore: Tensor) -> Tensor:
        """Compute the cross-entropy of logits (B, 2, H, W), a scalar; `target` and `ignore` as for `loss`."""
        return pixel_loss(logits, target, ignore if self.loss_ignores else None)

    def begin_stage(self, name: str) -> None:
        """Prepare for the training of one of `stages`: its parameters learn, and all others are frozen.

        `loss` is then that of the stage, and reads pixels if the backbone is trained.  A method that has stages tells
        them apart by `stage`.
        """
        self.stage, stage = name, self.stages[name]
        for parameter_name, parameter in self.named_parameters():
            learns = re.search(stage.names, parameter_name) is not None
            if parameter_name.startswith(_BACKBONE):
                learns = stage.trains_backbone
            parameter.requires_grad_(learns)

    def training_memory(self) -> dict[str, Tensor]:
        """Return what `loss` carries from step to step beside weights and buffers, such as a list of negatives.

        It is stored with the state of a training, so that a resumed training has it, and never in a checkpoint.  The
        returned tensors are not changed afterwards.
        """
        return {}

    def restore_memory(self, memory: Mapping[str, Tensor]) -> None:
        """Take back what `training_memory` returned at an earlier step."""

    def rate_factor(self, name: str) -> float:
        """Factor on the recipe's learning rate for the parameter `name`; 1 for all by default."""
        return 1.0

    def rename_reference(self, name: str) -> str | None:
        """Own state-dict name of the authors' entry `name` (head only; `module.` is removed before).

        None means that the entry is known and not needed.
        """
        return name

    def load_reference(self, state: Mapping[str, Tensor]) -> None:
        """Load weights in the authors' key layout, backbone included.

        Raises:
            DataError: for missing or unknown entries, or shapes that differ, naming them.
        """
        load_reference(self, state)


class FeatureMethod(Method):
    """A method on features of a frozen backbone that the harness owns.

    `logits` receives features: query taps (B, C, h, w), support taps (B, K, C, h, w).
    """

    needs_backbone: ClassVar[bool] = True
    reads_bfloat16: ClassVar[bool] = False
    """Whether `logits` accepts features in bfloat16, as `--precision bf16` computes them.  For other methods they are
    converted to float32.  A derived class must repeat it."""
    backbone: Backbone

    @property
    @abstractmethod
    def taps(self) -> Taps:
        """The taps this method reads, by name, in the order `logits` expects."""

    @abstractmethod
    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Return logits (B, 2, h, w) from features and masks (B, K, H, W)."""

    def read(self, query: Any, support: Any) -> tuple[Features, Features]:
        """Run the backbone on images; features are returned unchanged."""
        if not isinstance(query, Tensor):
            return query, support
        shots = support.shape[1]
        flat = self.backbone(support.flatten(0, 1), self.taps.support)
        return (
            self.backbone(query, self.taps.query),
            {tap: maps.unflatten(0, (-1, shots)) for tap, maps in flat.items()},
        )


class ImageMethod(Method):
    """A method on pixels: its own encoder, or a wrapped model.

    `logits` receives normalised images: query (B, 3, H, W), support (B, K, 3, H, W).
    """

    @abstractmethod
    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        """Return logits (B, 2, h, w) from images and masks (B, K, H, W)."""

    def read(self, query: Any, support: Any) -> tuple[Any, Any]:
        """Return the images unchanged."""
        return query, support


_BACKBONE = "backbone."


def needs_checkpoint(method: type[Method]) -> bool:
    """Return whether the method has random weights until a checkpoint with its trained weights is loaded."""
    return method.card.trained and not method.brings_weights


def owns_backbone(method: Method | type[Method]) -> bool:
    """Return whether a stage of the method trains its backbone, so that its checkpoints hold it."""
    return any(stage.trains_backbone for stage in method.stages.values())


def trains_backbone(method: Method) -> bool:
    """Return whether the present stage of the method trains its backbone."""
    return method.stage is not None and method.stages[method.stage].trains_backbone


def reads_features(method: Method) -> TypeGuard[FeatureMethod]:
    """Return whether the harness gives features to the method; otherwise it gives pixels."""
    return isinstance(method, FeatureMethod) and not trains_backbone(method)


def reads_raw_pixels(method: Method) -> bool:
    """Return whether the harness gives pixels from 0 to 1 to the method, and not normalised ones."""
    return isinstance(method, ImageMethod) and method.card.pixels == "raw"


def supervision_of(method: Method) -> Supervision:
    """Return what the present loss of the method learns from."""
    return method.supervision if method.stage is None else method.stages[method.stage].supervision


def collect_method_weights(method: Method) -> dict[str, Tensor]:
    """Return the weights that a checkpoint holds: the method's own, and those of a backbone that a stage trains.

    The tensors share their memory with the method.
    """
    return method.state_dict() if owns_backbone(method) else _own_weights(method)


def _own_weights(method: Method) -> dict[str, Tensor]:
    """Return the state dict without the networks of the harness."""
    prefixes = tuple(f"{name}." for name in list_networks(method))
    return {k: v for k, v in method.state_dict().items() if not k.startswith(prefixes)}


def load_reference(method: Method, state: Mapping[str, Tensor]) -> None:
    """Load weights in the authors' key layout, backbone included, all or nothing.

    Entries below `method.reference_backbone` go to the backbone; if that is empty, entries of the backbone's own
    modules do.  The others go through `method.rename_reference` to the method's own modules.  ImageNet classifiers
    in the backbone and `num_batches_tracked` are optional.

    Raises:
        DataError: naming up to five missing, unknown and misshapen entries each, and the settings that the weights
            imply if the method has others.
    """
    wanted, given = _own_weights(method), {}
    prefix, body = method.reference_backbone, {}
    for name, value in ((strip_module_prefix(k), v) for k, v in state.items()):
        if name.endswith(COUNTER):
            continue
        if method.backbone is not None and _in_backbone(name, prefix, method.backbone):
            body[name.removeprefix(prefix)] = value
        elif (renamed := method.rename_reference(name)) is not None:
            given[renamed] = value
    if method.backbone is not None:
        wanted |= {f"{prefix}{k}": v for k, v in method.backbone.state_dict().items()}
        given |= {f"{prefix}{k}": v for k, v in method.backbone.own_names(body).items()}
    what = f"weights for method {method.card.name!r}{_backbone_text(method)}, in the authors' layout,"
    try:
        assign_state(wanted, given, what)
    except DataError as error:
        if hint := _settings_hint(method, state):
            raise DataError(f"{str(error).rstrip('.')}. {hint}") from None
        raise
    if method.backbone is not None:
        method.backbone.record(BROUGHT)
    note_provenance(method, checkpoint="state dict", checkpoint_sha256=digest_state(state))


def _settings_hint(method: Method, state: Mapping[str, Tensor]) -> str:
    """Return the settings that weights imply and that a method has not, as a next step; empty if it has all."""
    implied = implied_settings(type(method), state)
    others = [f"{k}={v}" for k, v in implied.items() if getattr(method.config, k) != v]
    return f"These weights imply other settings. Next: --set {' --set '.join(others)}" if others else ""


def implied_settings(cls: type[Method], state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the settings that weights in the authors' layout imply.

    Raises:
        PluginError: if `cls.settings_of` returns something that is no setting.
    """
    implied = cls.settings_of({strip_module_prefix(name): value for name, value in state.items()})
    unknown = [name for name in implied if name not in cls.Config.model_fields]
    if unknown:
        raise PluginError(
            f"{cls.__name__}.settings_of returned {unknown[0]!r}, which is no field of its Config"
        )
    return dict(implied)


def _in_backbone(name: str, prefix: str, backbone: Backbone) -> bool:
    """Return whether an entry of the authors' file is the backbone's."""
    if prefix:
        return name.startswith(prefix)
    return name.partition(".")[0] in dict(backbone.named_children())


def _backbone_text(method: Method) -> str:
    return f" on {method.backbone.name}" if method.backbone is not None else ""


def note_provenance(method: Method, **facts: Any) -> None:
    """Bring the provenance up to date after weights were loaded."""
    if (backbone := method.backbone) is not None:
        facts = {"weights": backbone.weights, "weights_sha256": backbone.weights_sha256, **facts}
    method.provenance = method.provenance.changed(**facts, untrained=False)
