"""Writes hundreds of run folders of several methods on several plans, with pictures, in about a minute."""

from __future__ import annotations

import base64
import io
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from run_folders import make_plan, write_run

from fssbench.api import Plan
from fssbench.files.append_log import seal

SIDE = 128
"""Side of a stored picture, in pixels."""


def make_plans(count: int, episodes: int) -> list[Plan]:
    """Make `count` plans of pascal5i and coco20i: every fold at one shot and at five, then two other benchmarks.

    Raises:
        ValueError: for more than 20 plans.
    """
    places = [(b, fold, shot) for b in ("pascal5i", "coco20i") for fold in range(4) for shot in (1, 5)]
    places += [(b, 0, shot) for b in ("pascal-to-chestxray", "pascal-to-deepglobe") for shot in (1, 5)]
    if count > len(places):
        raise ValueError(f"{count} plans were asked for, but there are {len(places)}")
    return [make_plan(*place, episodes) for place in places[:count]]


def write_many_runs(root: Path, *, plans: int, methods: int, episodes: int, panels: int) -> int:
    """Write a run of each method on each plan; methods on one plan hold the same pictures.

    Args:
        root: folder to write to.
        plans: number of plans, at most 20.
        methods: number of methods.
        episodes: episodes of each plan.
        panels: episodes of each run that have pictures.

    Returns:
        Number of runs.
    """
    pictures = _draw_pictures(8)
    for plan in make_plans(plans, episodes):
        places = (round((n + 0.5) * episodes / panels - 0.5) for n in range(panels))
        lines = b"".join(_format_panel(place, plan.shot, pictures) for place in places)
        for number in range(methods):
            run = write_run(root, plan, f"method{number:02}")
            if panels:
                (run / "panels.jsonl").write_bytes(lines)
    return plans * methods


def _draw_pictures(count: int) -> list[dict[str, object]]:
    draw = np.random.default_rng(0)
    pictures: list[dict[str, object]] = []
    for _ in range(count):
        small = draw.integers(0, 255, (SIDE // 4, SIDE // 4, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(small).resize((SIDE, SIDE)).save(out, "JPEG", quality=85)
        pictures.append({"size": [SIDE, SIDE], "jpeg": base64.b64encode(out.getvalue()).decode()})
    return pictures


def _format_panel(index: int, shot: int, pictures: list[dict[str, object]]) -> bytes:
    """Write the line of one episode; every mask is the same disc."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    disc = x**2 + y**2 < (SIDE / 3) ** 2
    mask = base64.b64encode(zlib.compress(np.packbits(disc).tobytes(), 9)).decode()
    around = [{**pictures[(index + n) % len(pictures)], "mask": mask} for n in range(shot)]
    query = pictures[index % len(pictures)]
    masks = {"truth": mask, "ignored": None, "prediction": mask}
    return seal({"i": index, **query, **masks, "supports": around})
