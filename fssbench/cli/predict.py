"""`fssbench predict`: segment images from one or more labelled examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fssbench.cli.hints import Verb
from fssbench.cli.numbers import SIDE, WORKERS, Real, Whole
from fssbench.cli.options import (
    PATH,
    device_option,
    json_option,
    out_option,
    pdb_option,
    plugin_option,
    settings_option,
    threads_option,
)
from fssbench.cli.output import emit_json
from fssbench.errors import DataError
from fssbench.plural import describe_count

if TYPE_CHECKING:
    from fssbench.prediction.results import Predictions

_SHOWN = 10
"""Failed images that the error names."""


@click.command(
    cls=Verb,
    epilog="The same command again does only what is missing. No accuracy is known without true masks of the images.",
)
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option("--method", "-m", required=True, metavar="NAME", help="Method, such as pmnet.")
@click.option(
    "--support",
    "supports",
    nargs=2,
    multiple=True,
    required=True,
    type=PATH,
    metavar="IMAGE MASK",
    help="Labelled example; repeatable. The mask is a PNG of 0/1 or 0/255, of class indices, or COCO JSON.",
)
@click.option(
    "--label", type=Whole(1, 255), metavar="N", help="Value of the object in masks of class indices."
)
@click.option("--category", metavar="NAME|ID", help="The object in COCO JSON.")
@out_option("predictions", "Folder of masks, overlays, table and contact sheet.")
@click.option(
    "--threshold",
    type=Real(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    help="Probability of the object above which a pixel belongs to it.",
)
@click.option(
    "--orientation",
    type=click.Choice(["refuse", "upright", "stored"]),
    default="refuse",
    show_default=True,
    help="Images that EXIF turns: refused, turned upright, or left as the pixels are stored.",
)
@click.option("--backbone", metavar="NAME", help="Default: that of the shipped weights, or the method's own.")
@click.option("--weights", metavar="ID|FILE", help="Backbone weights: a published id, `random`, or a file.")
@click.option(
    "--checkpoint", metavar="FILE", help="Trained weights. Default: the shipped ones of the most classes."
)
@settings_option("config")
@click.option("--size", type=SIDE, help="Side of the network input, pixels; default: as in training.")
@device_option()
@threads_option()
@click.option(
    "--batch",
    type=Whole(1),
    default=1,
    show_default=True,
    help="Images that go through the method at once.",
)
@click.option(
    "--workers",
    type=WORKERS,
    default=2,
    show_default=True,
    help="Threads that read the next images.",
)
@plugin_option()
@pdb_option()
@click.option(
    "--untrained", is_flag=True, help="Run a trainable method without a checkpoint, on random weights."
)
@click.option("--download", is_flag=True, help="Download published backbone weights that are missing.")
@click.option(
    "--force", is_flag=True, help="Delete the masks of other settings in the folder, and start anew."
)
@json_option("One JSON line per image on standard output.")
@click.option("--quiet", "-q", is_flag=True, help="Print no progress and no warnings.")
def command(
    images: tuple[Path, ...],
    method: str,
    supports: tuple[tuple[Path, Path], ...],
    out: Path,
    device: str,
    backbone: str | None,
    weights: str | None,
    checkpoint: str | None,
    config: dict[str, str],
    untrained: bool,
    download: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Segment IMAGES (files and folders) from labelled examples, without a benchmark."""
    from fssbench.cli.progress import Progress
    from fssbench.prediction.method_choice import MethodRequest
    from fssbench.prediction.predict import prepare
    from fssbench.prediction.request import PredictSettings

    request = MethodRequest(method, backbone, weights, checkpoint, config, untrained, download, device)
    progress = Progress(quiet=quiet)
    job = prepare(request, supports, images, PredictSettings(out=out, **options))
    try:
        done = job.run(progress)
    except KeyboardInterrupt:
        progress.say(f"finished images are in {out}. Next: the same command again, which resumes")
        raise
    for warning in done.warnings:
        progress.say(f"warning: {warning}")
    if as_json:
        emit_json(done.rows)
    else:
        progress.result(
            f"{describe_count(len(done), 'image')} segmented, {len(done) - done.computed} of them before. Look "
            f"at {done.sheet}"
        )
    if done.failed:
        raise DataError(_list_failed(done))


def _list_failed(done: Predictions) -> str:
    """Compose the error for images that could not be read."""
    problems = [problem for _, problem in done.failed[:_SHOWN]]
    more = f"\n  and {len(done.failed) - _SHOWN} more, see {done.sheet}" if len(done.failed) > _SHOWN else ""
    count = describe_count(len(done.failed), "image was", "images were")
    return f"{count} not segmented:\n  " + "\n  ".join(problems) + more
