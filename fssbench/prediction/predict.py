"""Segments a user's images by labelled examples: `fssbench predict`, and `fssbench.predict` from Python."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fssbench.contracts.arguments import build_from_arguments
from fssbench.contracts.methods import Method
from fssbench.errors import UsageError
from fssbench.files.home import expand_home
from fssbench.loading.load import require_device
from fssbench.loading.settings import refuse_reserved
from fssbench.plugins.registry import load_plugins
from fssbench.prediction.examples import read_examples
from fssbench.prediction.image_files import list_images
from fssbench.prediction.job import PredictionJob
from fssbench.prediction.method_choice import MethodRequest, load_requested_method
from fssbench.prediction.request import CheckedExamples, PredictSettings, parse_supports
from fssbench.prediction.results import Predictions
from fssbench.progress import Progress


def predict(
    method: str | type[Method],
    supports: Sequence[Any],
    images: str | Path | Sequence[str | Path],
    *,
    out: str | Path = "predictions",
    backbone: str | None = None,
    weights: str | None = None,
    checkpoint: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    untrained: bool = False,
    download: bool = False,
    device: str = "auto",
    plugins: str | Path | Sequence[str | Path] = (),
    progress: bool = True,
    **options: Any,
) -> Predictions:
    """Segment images by one or more labelled examples, without a benchmark.  The same call again resumes.

    Args:
        method: name of a method, or a method class.
        supports: the labelled examples: pairs of an image file and a mask file (PNG of 0/1 or 0/255, class indices
            with `label`, or COCO JSON with `category`).
        images: files and folders of images.
        out: folder of masks, overlays, table and contact sheet.
        backbone: a registered backbone; by default that of the shipped weights, or the method's own.
        weights: backbone weights: a published id, `random`, or a file.
        checkpoint: trained weights; by default the shipped ones that were trained on the most classes.
        config: settings of the method, by name.
        untrained: whether a method that needs training runs with random weights.
        download: whether to download published backbone weights that are not on this machine.
        device: torch device; `auto` is the first CUDA device, else the CPU.
        plugins: plugin files, folders or modules to load first.
        progress: whether to show progress and notes.
        **options: other fields of `fssbench.prediction.request.PredictSettings`: `threshold`, `size`, `label`,
            `category`, `orientation`, `batch`, `workers`, `force`.

    Returns:
        The predictions; images that could not be read are in `failed`.

    Raises:
        UsageError: for an unknown name, a value that is not allowed, or a folder that was begun with other settings.
        DataError: for an example that cannot be used, missing weights, or a folder that cannot be written.
        PluginError: if the method breaks its contract.
        LockedError: if another process predicts into the same folder.

    Example:
        >>> import fssbench
        >>> done = fssbench.predict(
        ...     "pmnet", [("example.jpg", "example.png")], "photos", out="masks"
        ... )  # doctest: +SKIP
        >>> done.table[["file", "foreground"]]  # doctest: +SKIP
    """
    load_plugins(plugins)
    refuse_reserved(config or {})
    settings = build_from_arguments(
        PredictSettings, {**options, "out": Path(out)}, function="fssbench.predict"
    )
    request = MethodRequest(
        method, backbone, weights, checkpoint, config or {}, untrained, download, str(require_device(device))
    )
    named = [images] if isinstance(images, str | os.PathLike) else images
    job = prepare(request, supports, [expand_home(path) for path in named], settings)
    return job.run(Progress(quiet=not progress))


def prepare(
    request: MethodRequest, supports: Sequence[Any], images: Sequence[Path], settings: PredictSettings
) -> PredictionJob:
    """Check everything that a prediction needs before its first image.

    Raises:
        FssbenchError: as `predict`.
    """
    if not images:
        raise UsageError("no image is given. Next: name image files or folders")
    pairs = parse_supports(supports)
    if not pairs:
        raise UsageError("no labelled example is given. Next: --support IMAGE MASK")
    listing = list_images(images, settings.out)
    loaded = load_requested_method(request)
    own = loaded.method.card.input_size
    if own is not None and settings.size not in (None, own):
        raise UsageError(
            f"method {loaded.method.card.name!r} always gets images of {own} px, not {settings.size}. Next: omit --size"
        )
    size = own or settings.size or loaded.size
    training = loaded.method.provenance.training
    if own is None and settings.size is None and training is not None and training.size == size:
        loaded = replace(loaded, notes=(*loaded.notes, _explain_size(loaded.method.card.name, size)))
    examples = read_examples(pairs, settings.make_rules(size))
    return PredictionJob(CheckedExamples(loaded, examples, size), listing, settings, request.device)


def _explain_size(name: str, size: int) -> str:
    """Say at which size the images are seen, and what measures the method at that size."""
    return (
        f"{name}: images are seen at {size} px, the size of its training (--size). `fssbench run` measures all methods "
        f"at the size of the benchmark. Next: `fssbench run --size {size}` measures what is predicted here"
    )
