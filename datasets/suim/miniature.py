"""Underwater scenes for the miniature: things of the seven classes in blue-green haze, colour-coded masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..shared.texture import (
    Picture,
    Plane,
    draw_blob,
    draw_grain,
    draw_noise,
    make_generator,
    make_grid,
    paint_region,
    tint_plane,
    to_image,
)
from .scan import CODES

SCENES = 40
HEIGHT, WIDTH = 144, 192
Region = NDArray[np.bool_]

THINGS = ("FV", "HD", "PF", "RI", "RO", "WR")
"""What is placed in a scene, two kinds each, in turn."""


def draw_files(folder: Path, seed: int) -> None:
    """Write images/*.jpg and masks/*.bmp."""
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    for number in range(SCENES):
        rng = make_generator(f"suim/{number}", seed)
        first = number % len(THINGS)
        second = (first + 1 + number // len(THINGS) % (len(THINGS) - 1)) % len(THINGS)
        # what stands on the ground is painted before what swims
        things = sorted((THINGS[first], THINGS[second]), key=("WR", "RI", "PF", "RO", "HD", "FV").index)
        picture, codes = _draw_scene(rng, things, floor=number % 4 != 3)
        colours = np.stack([(codes >> bit & 1) * np.uint8(255) for bit in (2, 1, 0)], axis=-1)
        name = f"{'dfnw'[number % 4]}_r_{number * 7 + 3}_"
        to_image(picture).save(folder / "images" / f"{name}.jpg", quality=90)
        Image.fromarray(colours).save(folder / "masks" / f"{name}.bmp")


def _draw_scene(
    rng: np.random.Generator, things: list[str], *, floor: bool
) -> tuple[Picture, NDArray[np.uint8]]:
    """Draw a picture (H, W, 3) and its colour codes (H, W)."""
    y, _ = make_grid(HEIGHT, WIDTH)
    deep = np.array([18, 74, 112], dtype=np.float32) + rng.uniform(-12, 12, 3)
    bright = np.array([96, 176, 186], dtype=np.float32) + rng.uniform(-20, 20, 3)
    down = np.broadcast_to(y / HEIGHT, (HEIGHT, WIDTH))[..., None]
    haze = bright * (1 - down) + deep * down + 6 * draw_noise(rng, HEIGHT, WIDTH, 50)[..., None]
    water = np.asarray(haze, dtype=np.float32)
    picture = water.copy()
    codes = np.full((HEIGHT, WIDTH), CODES["BW"], dtype=np.uint8)
    horizon = HEIGHT * rng.uniform(0.68, 0.82)
    ripple = draw_noise(rng, HEIGHT, WIDTH, 7)
    if floor:
        sand = tint_plane((196, 186, 148), 0.9 + 0.12 * np.sin(y * 0.9 + 4 * ripple) + 0.05 * ripple)
        ground = np.broadcast_to(y, (HEIGHT, WIDTH)) > horizon + 6 * draw_noise(rng, HEIGHT, WIDTH, 40)
        _place_thing(picture, codes, ground, sand, "SR", water, 0.3)
    for name in things:
        region, paint = PAINTERS[name](rng, horizon)
        _place_thing(picture, codes, region, paint, name, water, float(rng.uniform(0.1, 0.4)))
    picture += 3 * draw_grain(rng, HEIGHT, WIDTH)[..., None]
    return picture, codes


def _place_thing(
    picture: Picture,
    codes: NDArray[np.uint8],
    region: Region,
    paint: Picture,
    name: str,
    water: Picture,
    haze: float,
) -> None:
    """Paint a thing into the scene as seen through some water, and label it."""
    paint_region(picture, region, np.asarray(paint * (1 - haze) + water * haze, dtype=np.float32))
    codes[region] = CODES[name]


def _fill_polygons(shapes: list[list[tuple[float, float]]]) -> Region:
    """Return the union (H, W) of polygons given as (x, y) points."""
    canvas = Image.new("1", (WIDTH, HEIGHT))
    pen = ImageDraw.Draw(canvas)
    for points in shapes:
        pen.polygon(points, fill=1)
    return np.asarray(canvas)


def _turn_points(
    points: list[tuple[float, float]], at: tuple[float, float], angle: float
) -> list[tuple[float, float]]:
    """Turn points (x, y) about the origin and move them to `at`."""
    cos, sin = np.cos(angle), np.sin(angle)
    return [(float(at[0] + x * cos - y * sin), float(at[1] + x * sin + y * cos)) for x, y in points]


def _make_oval(long: float, wide: float, at: tuple[float, float] = (0, 0)) -> list[tuple[float, float]]:
    return [(at[0] + long * np.cos(t), at[1] + wide * np.sin(t)) for t in np.linspace(0, 6.28, 24)]


def _draw_fish(rng: np.random.Generator, horizon: float) -> tuple[Region, Picture]:
    """Draw a few striped fish of one kind."""
    shapes = []
    for _ in range(int(rng.integers(2, 5))):
        long = rng.uniform(14, 24)
        at = (rng.uniform(25, WIDTH - 25), rng.uniform(18, horizon))
        way = rng.uniform(-0.4, 0.4) + np.pi * rng.integers(2)
        tail = [(-0.8 * long, 0.0), (-1.5 * long, -0.5 * long), (-1.5 * long, 0.5 * long)]
        shapes += [_turn_points(_make_oval(long, 0.45 * long), at, way), _turn_points(tail, at, way)]
    hue = [(226, 186, 60), (208, 96, 60), (190, 196, 204)][int(rng.integers(3))]
    _, x = make_grid(HEIGHT, WIDTH)
    stripes = np.broadcast_to(0.85 + 0.3 * (np.sin(x * 0.8) > 0), (HEIGHT, WIDTH)).astype(np.float32)
    return _fill_polygons(shapes), tint_plane(hue, stripes)


def _draw_diver(rng: np.random.Generator, horizon: float) -> tuple[Region, Picture]:
    """Draw a swimming diver: dark suit, tank on the back, fins."""
    at, way = (rng.uniform(60, WIDTH - 60), rng.uniform(35, horizon - 12)), rng.uniform(-0.5, 0.5)
    body: list[list[tuple[float, float]]] = [
        _make_oval(20, 8),
        _make_oval(7, 7, (26, -1)),
        [(-14, -4), (-46, -9), (-46, -3), (-14, 2)],
        [(-14, 0), (-44, 9), (-44, 14), (-14, 6)],
        [(-44, -12), (-60, -16), (-58, -2), (-44, -2)],
        [(10, 4), (24, 20), (28, 17), (16, 2)],
    ]
    tank = _fill_polygons([_turn_points(_make_oval(13, 4, (-2, -9)), at, way)])
    paint = tint_plane((38, 40, 48), 1 + 0.3 * draw_noise(rng, HEIGHT, WIDTH, 8))
    paint_region(paint, tank, tint_plane((222, 206, 80), np.ones((HEIGHT, WIDTH), dtype=np.float32)))
    return _fill_polygons([_turn_points(part, at, way) for part in body]) | tank, paint


def _draw_plants(rng: np.random.Generator, horizon: float) -> tuple[Region, Picture]:
    """Draw a bed of waving blades."""
    shapes = []
    start = rng.uniform(0, WIDTH * 0.4)
    foot = min(HEIGHT - 1.0, horizon + rng.uniform(10, 28))
    for blade in np.arange(start, start + rng.uniform(70, 110), 3.5):
        tall, lean = rng.uniform(25, 60), rng.uniform(-9, 9)
        shapes.append([(blade - 2.2, foot), (blade + lean - 1, foot - tall), (blade + lean + 1, foot - tall),
                       (blade + 2.2, foot)])  # fmt: skip
    return _fill_polygons(shapes), tint_plane((58, 124, 50), 1 + 0.5 * draw_noise(rng, HEIGHT, WIDTH, 4))


def _draw_reef(rng: np.random.Generator, horizon: float) -> tuple[Region, Picture]:
    """Draw spotted lumps of coral."""
    depth: Plane = np.full((HEIGHT, WIDTH), -1, dtype=np.float32)
    for _ in range(int(rng.integers(2, 5))):
        centre = (horizon + rng.uniform(-12, 22), rng.uniform(10, WIDTH - 10))
        lump = draw_blob(rng, HEIGHT, WIDTH, centre, (rng.uniform(16, 30), rng.uniform(22, 42)), 0.5)
        depth = np.maximum(depth, lump)
    hue = [(172, 92, 110), (150, 110, 74), (196, 120, 80)][int(rng.integers(3))]
    spots = draw_noise(rng, HEIGHT, WIDTH, 5)
    return depth > 0, tint_plane(hue, 0.9 + 0.35 * spots + 0.25 * (spots > 0.4))


def _draw_robot(rng: np.random.Generator, horizon: float) -> tuple[Region, Picture]:
    """Draw a boxy yellow vehicle with black thrusters."""
    at, way = (rng.uniform(50, WIDTH - 50), rng.uniform(30, horizon - 10)), rng.uniform(-0.25, 0.25)
    hull = [(-27.0, -12.0), (27.0, -12.0), (30.0, 0.0), (27.0, 10.0), (-27.0, 10.0)]
    dark = [_make_oval(6, 6, (-20, 11)), _make_oval(6, 6, (18, 11)), _make_oval(5, 5, (23, -3))]
    black = _fill_polygons([_turn_points(part, at, way) for part in dark])
    paint = tint_plane((236, 200, 40), 0.95 + 0.1 * draw_noise(rng, HEIGHT, WIDTH, 20))
    paint_region(paint, black, tint_plane((26, 26, 30), np.ones((HEIGHT, WIDTH), dtype=np.float32)))
    return _fill_polygons([_turn_points(hull, at, way)]) | black, paint


def _draw_wreck(rng: np.random.Generator, horizon: float) -> tuple[Region, Picture]:
    """Draw a rusty hull on the ground, with a broken mast and dark holes."""
    at, way = (rng.uniform(70, WIDTH - 70), horizon), rng.uniform(-0.25, 0.25)
    hull = [(-75.0, -22.0), (72.0, -30.0), (58.0, 16.0), (-52.0, 18.0)]
    house = [(-20.0, -24.0), (-16.0, -46.0), (18.0, -48.0), (24.0, -26.0)]
    mast = [(36.0, -26.0), (44.0, -66.0), (48.0, -65.0), (42.0, -26.0)]
    holes = _fill_polygons(
        [_turn_points(_make_oval(5, 4, (offset, -8)), at, way) for offset in range(-48, 56, 22)]
    )
    rust: Plane = 0.28 * draw_noise(rng, HEIGHT, WIDTH, 10) + 0.14 * draw_noise(rng, HEIGHT, WIDTH, 3)
    paint = tint_plane((118, 84, 62), 0.95 + rust)
    paint_region(paint, holes, tint_plane((30, 34, 38), np.ones((HEIGHT, WIDTH), dtype=np.float32)))
    return _fill_polygons([_turn_points(part, at, way) for part in (hull, house, mast)]), paint


PAINTERS: dict[str, Callable[[np.random.Generator, float], tuple[Region, Picture]]] = {
    "FV": _draw_fish,
    "HD": _draw_diver,
    "PF": _draw_plants,
    "RI": _draw_reef,
    "RO": _draw_robot,
    "WR": _draw_wreck,
}
