"""The method contract: support images, support masks and a query image in, query logits out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn import functional

from fssbench.contracts.provenance import Provenance
from fssbench.contracts.records import Record
from fssbench.contracts.training import Recipe
from fssbench.errors import DataError, PluginError
from fssbench.files.state_dicts import COUNTER, assign, bare_name, digest_state

if TYPE_CHECKING:
    from fssbench.contracts.backbones import Backbone

Features = Mapping[str, Tensor]
"""Feature maps by tap name: (B, C, h, w) of queries, (B, K, C, h, w) of supports."""


Predictor = Callable[[Any, Any, Tensor], Tensor]
"""Query, support and support masks in, logits (B, 2, h, w) out: `Method.logits`, or what `Method.adapt` made."""


class MethodCard(Record):
    """What a method is: for `show`, `list` and reports."""

    name: str
    """Id used on the command line."""
    title: str
    """Name as papers print it."""
    paper: str
    """Authors, title, venue."""
    year: int
    kind: Literal["prototype", "pixelwise", "adaptation", "other"]
    """How support and query are compared."""
    backbone: str
    """Backbone of the published figures."""
    size: int
    """Side of the square input in the reference code, in pixels."""
    trained: bool
    """Whether its own weights must be trained; False for training-free methods."""
    reference: str
    """Repository and commit the behaviour was read from."""
    licence: str
    """Licence of the reference code ("none" where it has no licence file)."""
    training: str = ""
    """Loss, optimiser and schedule of the reference, in one or two lines."""
    notes: tuple[str, ...] = ()
    """Known faults of the reference and choices.  One that begins with `Reproduced`, `Corrected` or `Differs` is
    listed as such; the others are remarks."""
    parity: tuple[str, ...] = ()
    """Files of reference outputs that it is equal to, `STEM: what, to which tolerance`."""
    published: tuple[str, ...] = ()
    """Its ids in published tables, where they are not its name."""


@dataclass(frozen=True)
class AtInference:
    """Marks a setting that acts when the method predicts, and not when it is trained."""


AT_INFERENCE = AtInference()
"""Put it in a field's annotation, `steps: Annotated[int, AT_INFERENCE] = 50`: the setting may then differ from the
one that a checkpoint was trained with."""


class MethodConfig(BaseModel):
    """Base of a method's settings.  Every field can be given with `--set name=value`.

    The sentence under a field is its description, which `fssbench show` prints.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    ablations: ClassVar[dict[str, dict[str, Any]]] = {}
    """What `--ablate name` sets, by name."""


@dataclass(frozen=True, slots=True)
class Taps:
    """Which backbone taps a feature method reads."""

    query: tuple[str, ...]
    support: tuple[str, ...]

    @property
    def union(self) -> tuple[str, ...]:
        """Every tap once."""
        return tuple(dict.fromkeys((*self.query, *self.support)))


class Method(nn.Module, ABC):
    """A few-shot segmentation method.

    Subclass `FeatureMethod` (frozen backbone, shared and cached by the harness) or `ImageMethod`
    (anything that reads pixels).  A method never sees the query mask, a file name or the plan.
    """

    card: ClassVar[MethodCard]
    Config: ClassVar[type[MethodConfig]] = MethodConfig
    shots: ClassVar[Literal["joint", "vote"]] = "joint"
    """How K > 1 supports are used: in one forward, or one forward each and a vote (HSNet)."""
    align_corners: ClassVar[bool] = True
    """How logits are resized to the input size."""
    reference_backbone: ClassVar[str] = "backbone."
    """Prefix of the backbone's entries in the authors' state dict; empty: they lie beside the head's, and are
    those below the backbone's own modules (`layer0.`, `layer1.`, ...)."""
    needs_backbone: ClassVar[bool] = False
    """Whether it stands on one of `fssbench.backbones`, by default its card's.  True for feature methods;
    an image method that runs such a backbone itself says so here."""
    waivers: ClassVar[Mapping[str, str]] = {}
    """Contract checks this method does not keep, by name, each with its reason (`fssbench check`)."""
    recipe: ClassVar[Recipe | None] = None
    """How its authors train it; None where `fssbench train` has nothing to train."""
    shipped: ClassVar[str | None] = None
    """Folder, beside the plugin's file, of checkpoints that come with it; `fssbench run` uses the one that
    fits the benchmark where none is named."""
    files: ClassVar[tuple[str, ...]] = ()
    """Data files that the plugin reads while it predicts, relative to its own file; patterns such as
    `prompts/*.json` are allowed.  Their bytes are part of a run's identity.  Files beside the plugin that its
    constructor reads are noticed and need not be named."""
    accepts: ClassVar[tuple[str, ...]] = ()
    """Names of other methods whose checkpoints it takes, such as that of the method it derives from."""
    loss_ignores: ClassVar[bool] = True
    """Whether pixels marked 255 are left out of the loss; else they count as background there."""
    supervision: ClassVar[Literal["object", "classes"]] = "object"
    """What `loss` is taught by: the mask of the episode's class, or, for a network that is trained as an ordinary
    classifier of pixels, the numbers of all classes that are trained on."""

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__()
        if self.needs_backbone and backbone is None:
            raise DataError(f"method {self.card.name!r} needs a backbone, such as {self.card.backbone!r}")
        self.config = config
        self.backbone: Backbone | None = backbone
        self.provenance = Provenance(method=self.card.name, untrained=self.card.trained)
        """Filled in by `fssbench.load_method`: backbone, weights, checkpoint, ablations, settings."""

    @classmethod
    def backbone_layout(cls, backbone: str, config: MethodConfig) -> str:
        """Which layout of the named backbone this method is built on (see `fssbench.backbones`)."""
        return "standard"

    @abstractmethod
    def logits(self, query: Any, support: Any, support_mask: Tensor) -> Tensor:
        """Logits (B, 2, h, w) at any resolution, from all K supports jointly."""

    @property
    def steps(self) -> int:
        """Step budget of `adapt`; with 0 it is not called and `logits` predicts, unadapted."""
        return 0

    def adapt(
        self, query: Any, support: Any, support_mask: Tensor, *, generator: torch.Generator, steps: int
    ) -> Predictor:
        """Test-time adaptation: what predicts this one episode instead of `logits`.

        All that is adapted belongs to the returned predictor (a closure over new tensors, or over copies
        of modules) and is gone after the episode: weights and buffers of the method stay as they are.
        Called without gradients; open `torch.enable_grad()` where they are needed.

        Args:
            query: as for `logits`, of one episode.
            support: as for `logits`, all K supports, whatever `shots` says.
            support_mask: (1, K, H, W).
            generator: on the CPU, seeded for this episode; the only source of random numbers to draw on.
            steps: the budget; `self.steps`.

        Returns:
            The predictor, called once with these inputs, or for a voting method once a support.
        """
        return self.logits

    @abstractmethod
    def _inputs(self, query: Any, support: Any) -> tuple[Any, Any]:
        """What `logits` reads, made from pixels where pixels were given."""

    @abstractmethod
    def _one_shot(self, support: Any, k: int) -> Any:
        """Support `k` alone, with its shot axis kept."""

    def predict(
        self,
        query: Any,
        support: Any,
        support_mask: Tensor,
        *,
        size: tuple[int, int] | None = None,
        seed: int = 0,
    ) -> Tensor:
        """Logits for B episodes of K shots.

        Args:
            query: normalised images (B, 3, H, W), or for a feature method their features.
            support: normalised images (B, K, 3, H, W), or their features.
            support_mask: binary masks (B, K, H, W), float.
            size: output height and width; the mask's size by default.
            seed: decides what `adapt` draws, in each episode alike; read by no other method.

        Returns:
            Logits (B, 2, *size): background, foreground.  For a voting method with K > 1 this is the
            mean of the one-shot logits; `segment` applies the vote itself.
        """
        each = self._shot_logits(*self._inputs(query, support), support_mask, size, seed)
        return each[0] if len(each) == 1 else torch.stack(each).mean(dim=0)

    def segment(
        self,
        query: Any,
        support: Any,
        support_mask: Tensor,
        *,
        size: tuple[int, int] | None = None,
        seed: int = 0,
    ) -> Tensor:
        """Masks (B, *size), bool, by the method's own K-shot rule.  Arguments as for `predict`."""
        each = self._shot_logits(*self._inputs(query, support), support_mask, size, seed)
        if len(each) == 1:
            return _foreground(each[0])
        votes = torch.stack([_foreground(logits) for logits in each]).sum(dim=0)
        # HSNet: relative to the query's most voted pixel, so that one image always has foreground
        # as soon as any shot found some.
        most = votes.flatten(1).max(dim=1).values.clamp(min=1).view(-1, 1, 1)
        return votes / most >= 0.5

    def _shot_logits(
        self, query: Any, support: Any, support_mask: Tensor, size: tuple[int, int] | None, seed: int
    ) -> list[Tensor]:
        """Logits (B, 2, *size) of all supports jointly, or one by one for a voting method."""
        batch, shots = support_mask.shape[:2]
        steps = self.steps
        if steps and batch > 1:  # each episode is adapted to by itself
            parts = [slice(b, b + 1) for b in range(batch)]
            episodes = [
                self._shot_logits(_part(query, p), _part(support, p), support_mask[p], size, seed)
                for p in parts
            ]
            return [torch.cat(logits) for logits in zip(*episodes, strict=True)]
        predictor: Predictor = self.logits
        if steps:
            generator = torch.Generator().manual_seed(seed)
            predictor = self.adapt(query, support, support_mask, generator=generator, steps=steps)
        shape = size or (int(support_mask.shape[-2]), int(support_mask.shape[-1]))
        if self.shots == "joint" or shots == 1:
            return [self._finish(predictor(query, support, support_mask), support_mask, shape)]
        return [
            self._finish(
                predictor(query, self._one_shot(support, k), support_mask[:, k : k + 1]), support_mask, shape
            )
            for k in range(shots)
        ]

    def loss(self, query: Any, support: Any, support_mask: Tensor, target: Tensor, ignore: Tensor) -> Tensor:
        """Training loss of B episodes, a scalar: cross-entropy over pixels; override for another.

        Pixels are averaged within each episode and the episodes after that, so that a batch has the same
        loss and gradient however it is split over processes or accumulated.

        Args:
            query: as for `predict`.
            support: as for `predict`.
            support_mask: binary masks (B, K, H, W), float.
            target: the queries' masks (B, H, W), bool; with `supervision = "classes"` the numbers of the
                classes, int64: 0 background, then 1, 2, ... in the order of their ids.
            ignore: pixels marked 255 in them (B, H, W), bool; false in `target`.  With `supervision =
                "classes"` also pixels of classes that are not trained on.
        """
        size = (int(target.shape[-2]), int(target.shape[-1]))
        return self.criterion(self.predict(query, support, support_mask, size=size).float(), target, ignore)

    def criterion(self, logits: Tensor, target: Tensor, ignore: Tensor) -> Tensor:
        """Cross-entropy of logits (B, 2, H, W), a scalar; `target` and `ignore` as for `loss`."""
        each = functional.cross_entropy(logits, target.long(), reduction="none").flatten(1)
        if not self.loss_ignores:
            return each.mean()
        counted = (~ignore).flatten(1)
        return ((each * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)).mean()

    def rate_factor(self, name: str) -> float:
        """Factor on the recipe's learning rate for the parameter `name`; 1 for all by default."""
        return 1.0

    def _finish(self, logits: Any, support_mask: Tensor, size: tuple[int, int]) -> Tensor:
        """Refuse anything that is not finite logits of the right shape, then resize."""
        expected = f"a floating-point tensor (B={len(support_mask)}, 2, h, w) on {support_mask.device}"
        if not isinstance(logits, Tensor):
            raise PluginError(
                f"{self.card.name}.logits returned {type(logits).__name__}, expected {expected}"
            )
        if logits.ndim != 4 or tuple(logits.shape[:2]) != (len(support_mask), 2) or not logits.numel():
            raise PluginError(
                f"{self.card.name}.logits returned shape {tuple(logits.shape)}, expected {expected}"
            )
        if not logits.is_floating_point():
            raise PluginError(f"{self.card.name}.logits returned {logits.dtype}, expected {expected}")
        if logits.device != support_mask.device:
            raise PluginError(
                f"{self.card.name}.logits returned a tensor on {logits.device}, expected {expected}"
            )
        # argmax takes a NaN for the largest value and would make a plausible mask of it
        if not torch.isfinite(logits.sum()):  # 50 times faster than looking at each; but a sum may overflow
            bad = int((~torch.isfinite(logits)).sum())
            if bad:
                raise PluginError(f"{self.card.name}.logits returned {bad} values that are NaN or infinite")
        if logits.shape[-2:] == size:
            return logits
        return functional.interpolate(logits, size, mode="bilinear", align_corners=self.align_corners)

    def rename_reference(self, name: str) -> str | None:
        """Own state-dict name of the authors' entry `name` (head only; `module.` already removed).

        None says that the entry is known and not needed.
        """
        return name

    def load_reference(self, state: Mapping[str, Tensor]) -> None:
        """Load weights in the authors' key layout, backbone included.

        Raises:
            DataError: for missing or unknown entries, or shapes that differ, naming them.
        """
        load_reference(self, state)

    def take_settings(self, **settings: Any) -> None:
        """Change settings that loaded weights decide; call it once the modules are rebuilt accordingly."""
        self.config = self.config.model_copy(update=settings)
        parameters = list(self.parameters())
        self.provenance = self.provenance.changed(
            config=self.config.model_dump(mode="json"),
            learnable=sum(p.numel() for p in parameters if p.requires_grad),
            parameters=sum(p.numel() for p in parameters),
        )


def _part(given: Any, part: slice) -> Any:
    """Some episodes of pixels, or of features by tap."""
    return given[part] if isinstance(given, Tensor) else {tap: maps[part] for tap, maps in given.items()}


def _foreground(logits: Tensor) -> Tensor:
    """The argmax over two channels, ties to the background; many times faster than `argmax` on a CPU."""
    return logits[:, 1] > logits[:, 0]


class FeatureMethod(Method):
    """A method on features of a frozen backbone that the harness owns.

    `logits` receives features: query taps (B, C, h, w), support taps (B, K, C, h, w).
    """

    needs_backbone: ClassVar[bool] = True

    @property
    @abstractmethod
    def taps(self) -> Taps:
        """The taps this method reads, by name, in the order `logits` expects."""

    @abstractmethod
    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Logits (B, 2, h, w) from features and masks (B, K, H, W)."""

    def _inputs(self, query: Any, support: Any) -> tuple[Features, Features]:
        if not isinstance(query, Tensor):
            return query, support
        assert self.backbone is not None
        shots = support.shape[1]
        flat = self.backbone(support.flatten(0, 1), self.taps.support)
        return (
            self.backbone(query, self.taps.query),
            {tap: f.unflatten(0, (-1, shots)) for tap, f in flat.items()},
        )

    def _one_shot(self, support: Features, k: int) -> Features:
        return {tap: f[:, k : k + 1] for tap, f in support.items()}


class ImageMethod(Method):
    """A method on pixels: its own encoder, or a wrapped model.

    `logits` receives normalised images: query (B, 3, H, W), support (B, K, 3, H, W).
    """

    @abstractmethod
    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        """Logits (B, 2, h, w) from images and masks (B, K, H, W)."""

    def _inputs(self, query: Any, support: Any) -> tuple[Any, Any]:
        return query, support

    def _one_shot(self, support: Tensor, k: int) -> Tensor:
        return support[:, k : k + 1]


def head(method: Method) -> dict[str, Tensor]:
    """The method's state dict without the backbone that the harness owns; shares its memory."""
    inside = "backbone." if method.backbone is not None else None
    return {k: v for k, v in method.state_dict().items() if inside is None or not k.startswith(inside)}


def load_reference(method: Method, state: Mapping[str, Tensor]) -> None:
    """Load weights in the authors' key layout, backbone included, all or nothing.

    Entries below `method.reference_backbone` (where that is empty: of the backbone's own modules) go to
    the backbone, the others through
    `method.rename_reference` to the method's own modules.  ImageNet classifiers in the backbone and
    `num_batches_tracked` may be there or not.

    Raises:
        DataError: naming up to five missing, unknown and misshapen entries each.
    """
    own, given = head(method), {}
    prefix, body = method.reference_backbone, {}
    for name, value in ((bare_name(k), v) for k, v in state.items()):
        if name.endswith(COUNTER):
            continue
        if method.backbone is not None and _in_backbone(name, prefix, method.backbone):
            body[name.removeprefix(prefix)] = value
        elif (renamed := method.rename_reference(name)) is not None:
            given[renamed] = value
    if method.backbone is not None:
        own |= {f"{prefix}{k}": v for k, v in method.backbone.state_dict().items()}
        given |= {f"{prefix}{k}": v for k, v in method.backbone.own_names(body).items()}
    assign(
        own,
        given,
        f"weights for method {method.card.name!r}{_backbone_text(method)}, in the authors' layout,",
    )
    if method.backbone is not None:
        method.backbone.record("reference")
    note_provenance(method, checkpoint="state dict", checkpoint_sha256=digest_state(state))


def _in_backbone(name: str, prefix: str, backbone: Backbone) -> bool:
    """Whether an entry of the authors' file is the backbone's."""
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
