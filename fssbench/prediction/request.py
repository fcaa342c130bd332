"""What a user asks of a prediction, and the facts that its answers depend on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field

from fssbench import __version__
from fssbench.contracts.arguments import Count, Natural, Side
from fssbench.contracts.methods import collect_method_weights
from fssbench.errors import UsageError
from fssbench.files.canonical_json import digest
from fssbench.files.home import expand_home
from fssbench.files.state_dicts import digest_state
from fssbench.installed import find_version
from fssbench.prediction.examples import Example, ExampleRules
from fssbench.prediction.folder import FORMAT
from fssbench.prediction.method_choice import LoadedMethod
from fssbench.prediction.reading import Orientation
from fssbench.prediction.records import RULES, PredictionManifest
from fssbench.runs.redaction import identify_value, redact_value

Label = Annotated[int, Field(ge=1, le=255)]
Threshold = Annotated[float, Field(gt=0, lt=1)]
_PACKAGES = ("torch", "numpy", "pillow")


@dataclass(frozen=True)
class PredictSettings:
    """How images are segmented; the arguments of `fssbench.predict`."""

    out: Path = Path("predictions")
    threshold: Threshold = 0.5
    """Probability of the object above which a pixel belongs to it."""
    size: Side | None = None
    """Side of the network input; None for the one that the method was trained at."""
    label: Label | None = None
    """Value of the object in masks of class indices."""
    category: str | None = None
    """Name or id of the object in COCO JSON."""
    orientation: Orientation = "refuse"
    batch: Count = 1
    """Images that go through the method at once."""
    workers: Natural = 2
    """Threads that read images ahead."""
    force: bool = False
    """Whether a folder with other settings is emptied of its predictions."""

    def make_rules(self, size: int) -> ExampleRules:
        """Make the rules by which the examples are read."""
        return ExampleRules(size, self.label, self.category, self.orientation)


@dataclass(frozen=True)
class CheckedExamples:
    """The examples with the method that will use them."""

    loaded: LoadedMethod
    examples: tuple[Example, ...]
    size: int


def parse_supports(supports: Sequence[Any]) -> list[tuple[Path, Path]]:
    """Read pairs of paths; a single pair may stand alone.

    Raises:
        UsageError: for anything else.
    """
    given = list(supports)
    if len(given) == 2 and all(isinstance(each, str | os.PathLike) for each in given):
        given = [tuple(given)]
    pairs = []
    for each in given:
        if (
            isinstance(each, str | Mapping)
            or not isinstance(each, Sequence)
            or len(each) != 2
            or not all(isinstance(part, str | os.PathLike) for part in each)
        ):
            raise UsageError(
                f"{each!r:.80} is no labelled example. Next: give pairs of files, such as [('image.jpg', 'mask.png')]"
            )
        image, mask = (expand_home(part) for part in each)
        pairs.append((image, mask))
    return pairs


def make_manifest(ready: CheckedExamples, settings: PredictSettings, device: str) -> PredictionManifest:
    """Collect all that an answer depends on besides the image, and where it is computed."""
    method = ready.loaded.method
    provenance, backbone = method.provenance, method.backbone
    facts = {
        "rules": RULES,
        "method": method.card.name,
        "source_sha256": provenance.source_sha256,
        "config": identify_value("", method.config.model_dump(mode="json")),
        "head_sha256": digest_state(collect_method_weights(method)),
        "backbone": backbone.name if backbone else None,
        "layout": backbone.layout if backbone else None,
        "weights_sha256": backbone.weights_sha256 if backbone else None,
        "backbone_source_sha256": provenance.backbone_source_sha256,
        **(
            {"companions": {name: each.as_stored() for name, each in provenance.companions.items()}}
            if provenance.companions
            else {}
        ),
        "size": ready.size,
        "threshold": settings.threshold,
        "orientation": settings.orientation,
        "device": torch.device(device).type,
        "examples": [[example.sha256, example.mask_sha256] for example in ready.examples],
    }
    training = provenance.training
    context = {
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "fssbench": __version__,
        "packages": {name: find_version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "weights": redact_value("", provenance.weights),
        "checkpoint": redact_value("", provenance.checkpoint),
        "checkpoint_sha256": provenance.checkpoint_sha256,
        "trained_on": None
        if training is None
        else {"dataset": training.dataset, "classes": list(training.class_names), "steps": training.steps},
        "marks": list(ready.loaded.marks),
        "examples": [
            {"image": example.name, "image_sha256": example.sha256, "mask_sha256": example.mask_sha256}
            for example in ready.examples
        ],
    }
    return PredictionManifest(format=FORMAT, identity=digest(facts), settings=facts, context=context)
