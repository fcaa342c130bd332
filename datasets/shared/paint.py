"""Paints miniature scenes: textured grounds, and figures with a distinct look.

All random numbers come from a NumPy generator, so the same seed paints the same pixels.  A `Look` defines outline,
colours and pattern of a class.  Figures of one class differ in pose, size, proportion, tone and light, so a class can
be recognised from a few examples, but not by colour alone.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]
Pattern = Literal["plain", "stripes", "dots", "checks", "rings", "mottled"]
PATTERNS: tuple[Pattern, ...] = ("stripes", "plain", "dots", "rings", "checks", "mottled")


def make_generator(*key: int) -> np.random.Generator:
    """Return a generator that depends on the whole key and nothing else."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(key))))


def draw_noise(rng: np.random.Generator, height: int, width: int, cells: int) -> Floats:
    """Draw smooth noise (H, W) in about [-1, 1], with `cells` bumps across."""
    small = rng.uniform(-1, 1, (max(2, cells * height // width), max(2, cells))).astype(np.float32)
    big = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(big, dtype=np.float32)


def make_colour(hue: float, saturation: float, value: float) -> Floats:
    """Return RGB (3,) in 0..255; hue wraps, the others are clipped to [0, 1]."""
    parts = colorsys.hsv_to_rgb(hue % 1, min(max(saturation, 0), 1), min(max(value, 0), 1))
    return np.asarray(parts, dtype=np.float32) * np.float32(255)


_GROUNDS = (  # upper hue, saturation, value; lower hue, saturation, value
    ((0.58, 0.45, 0.95), (0.27, 0.55, 0.45)),  # sky over grass
    ((0.55, 0.30, 0.98), (0.12, 0.35, 0.80)),  # sky over sand
    ((0.10, 0.12, 0.85), (0.07, 0.45, 0.45)),  # wall over a wooden floor
    ((0.33, 0.50, 0.35), (0.10, 0.40, 0.35)),  # trees over earth
    ((0.60, 0.20, 0.80), (0.60, 0.06, 0.60)),  # haze over a road
    ((0.54, 0.30, 0.92), (0.56, 0.60, 0.55)),  # sky over water
)


def paint_ground(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Paint a scene without objects (H, W, 3): an upper and a lower part with a rough border and texture."""
    upper, lower = _GROUNDS[int(rng.integers(len(_GROUNDS)))]
    line = height * rng.uniform(0.3, 0.6) + 0.05 * height * draw_noise(rng, 2, width, 5)[0]
    rows = np.arange(height, dtype=np.float32)[:, None]
    below = np.clip((rows - line[None]) / 2 + 0.5, 0, 1)[..., None]
    tone = rng.uniform(-0.03, 0.03)
    top = (
        make_colour(upper[0] + tone, upper[1], upper[2])[None, None] * (0.8 + 0.3 * rows / height)[..., None]
    )
    bottom = (
        make_colour(lower[0] + tone, lower[1], lower[2])[None, None] * (0.7 + 0.4 * rows / height)[..., None]
    )
    clouds = 14 * draw_noise(rng, height, width, 4) + 6 * draw_noise(rng, height, width, 9)
    grain = 12 * draw_noise(rng, height, width, 24) + 14 * draw_noise(rng, height, width, max(width // 3, 2))
    scene = top * (1 - below) + bottom * below
    scene += clouds[..., None] * (1 - below) + grain[..., None] * below
    return np.asarray(scene + rng.normal(0, 3, (height, width, 1)), dtype=np.float32)


@dataclass(frozen=True)
class Look:
    """Properties that all figures of one class share."""

    aspect: float
    corner: float
    """Exponent of the outline: 2 an ellipse, larger a box, smaller a diamond."""
    lobes: int
    depth: float
    """How far the lobes stand out, as part of the radius."""
    limbs: tuple[tuple[float, float, float], ...]
    """Angle (radians), length and thickness of straight parts that stick out."""
    hue: float
    saturation: float
    value: float
    second: float
    """Hue of the pattern."""
    pattern: Pattern
    pitch: float
    """Periods of the pattern across the figure."""


@cache
def choose_look(family: int, number: int) -> Look:
    """Return the look of class `number` of a data set; it does not depend on the miniature's seed."""
    rng = make_generator(71, family, number)
    hue = (number * 0.618034 + 0.13 * family) % 1
    count = int(rng.integers(0, 5))
    start = rng.uniform(0, 2 * np.pi)
    limbs = tuple(
        (
            float(start + 2 * np.pi * i / max(count, 1)),
            float(rng.uniform(1.05, 1.35)),
            float(rng.uniform(0.08, 0.2)),
        )
        for i in range(count)
    )
    return Look(
        aspect=float(rng.uniform(0.55, 1.0)),
        corner=float(rng.choice([1.2, 2.0, 2.0, 4.0, 8.0])),
        lobes=int(rng.integers(2, 8)),
        depth=float(rng.choice([0.0, 0.08, 0.18, 0.28])),
        limbs=limbs,
        hue=hue,
        saturation=float(rng.uniform(0.45, 0.95)),
        value=float(rng.uniform(0.45, 0.95)),
        second=(hue + float(rng.uniform(0.3, 0.7))) % 1,
        pattern=PATTERNS[number % len(PATTERNS)],
        pitch=float(rng.uniform(2.5, 5.0)),
    )


def paint_figure(
    scene: Floats, look: Look, centre: tuple[float, float], radius: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Paint one figure into `scene` (H, W, 3), in place.

    Args:
        scene: what is painted on.
        look: the class's look.
        centre: x and y in pixels.
        radius: of the outline's longer half axis, in pixels; limbs reach up to 1.4 times as far.
        rng: what the figure's pose, tone and light come from.

    Returns:
        The pixels it covers (H, W).
    """
    height, width = scene.shape[:2]
    reach = 1.5 * radius
    left, right = max(int(centre[0] - reach), 0), min(int(centre[0] + reach) + 1, width)
    top, bottom = max(int(centre[1] - reach), 0), min(int(centre[1] + reach) + 1, height)
    covered = np.zeros((height, width), dtype=bool)
    if left >= right or top >= bottom:
        return covered
    y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
    turn = rng.uniform(-0.45, 0.45)
    dx, dy = (x - centre[0]) / radius, (y - centre[1]) / radius
    u = np.cos(turn) * dx + np.sin(turn) * dy
    v = np.cos(turn) * dy - np.sin(turn) * dx
    alpha = np.clip(_shape_depth(u, v, look, rng) * radius + 0.5, 0, 1)
    paint = _paint_coat(u, v, look, rng) * (1.0 - 0.28 * (dx + dy) / 2)[..., None]
    paint += (9 * draw_noise(rng, bottom - top, right - left, 18))[..., None]
    part = scene[top:bottom, left:right]
    part *= (1 - 0.3 * np.clip(1.25 - np.hypot(dx - 0.12, (dy - 0.55) * 1.6), 0, 1))[..., None]  # its shadow
    part += alpha[..., None] * (paint - part)
    covered[top:bottom, left:right] = alpha >= 0.5
    return covered


def _shape_depth(u: Floats, v: Floats, look: Look, rng: np.random.Generator) -> Floats:
    """Return the approximate signed distance to the outline, in radii; positive inside."""
    aspect = look.aspect * rng.uniform(0.88, 1.12)
    p = look.corner
    size = (np.abs(u) ** p + np.abs(v / aspect) ** p) ** (1 / p)
    angle = np.arctan2(v, u)
    rim = 1 + look.depth * np.cos(look.lobes * angle + rng.uniform(-0.3, 0.3)) - look.depth / 2
    best = (rim - size) * aspect
    for direction, length, thickness in look.limbs:
        lean = direction + rng.uniform(-0.15, 0.15)
        along = np.clip(u * np.cos(lean) + v * np.sin(lean), 0, length)
        best = np.maximum(best, thickness - np.hypot(u - along * np.cos(lean), v - along * np.sin(lean)))
    return np.asarray(best, dtype=np.float32)


def _paint_coat(u: Floats, v: Floats, look: Look, rng: np.random.Generator) -> Floats:
    """Paint the colours (h, w, 3) of the figure's surface."""
    tone, light = rng.uniform(-0.025, 0.025), rng.uniform(0.85, 1.12)
    first = make_colour(look.hue + tone, look.saturation, look.value) * light
    second = make_colour(look.second + tone, 0.7 * look.saturation, 1.25 - look.value) * light
    wave = np.float32(np.pi * look.pitch * rng.uniform(0.9, 1.1))
    if look.pattern == "stripes":
        amount = np.sin(wave * u)
    elif look.pattern == "dots":
        amount = np.cos(wave * u) * np.cos(wave * v) * 2 - 0.8
    elif look.pattern == "checks":
        amount = np.sin(wave * u) * np.sin(wave * v) * 2
    elif look.pattern == "rings":
        amount = np.sin(wave * np.hypot(u, v))
    elif look.pattern == "mottled":
        amount = 2 * draw_noise(rng, u.shape[0], u.shape[1], int(3 * look.pitch))
    else:
        amount = np.full_like(u, -1)
    share = np.clip(2 * amount + 0.5, 0, 1)[..., None]
    return np.asarray(first * (1 - share) + second * share, dtype=np.float32)


def finish_scene(scene: Floats) -> Image.Image:
    """Return the scene as an RGB image."""
    return Image.fromarray(np.clip(scene, 0, 255).astype(np.uint8))
