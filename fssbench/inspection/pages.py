"""Writes inspected episodes as a folder of PNG and one HTML page, which holds its pictures itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from jinja2 import Environment

from fssbench.drawing.figure import draw_episodes, find_range
from fssbench.errors import DataError
from fssbench.files.atomic import replace_file
from fssbench.files.clean_text import clean_line
from fssbench.inspection.episodes import ShownEpisode

PAGE = "index.html"
NOT_STORED = "This is a look at a few episodes, not a measurement: no run was stored."
_DPI = 110
_TEMPLATE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>fssbench: {{ episodes }} inspected episodes</title>
<style>
body { font: 15px/1.45 sans-serif; margin: 1.5em; color: #222 }
img { max-width: 100%; border: 1px solid #ccc }
figure { margin: 0 0 2em }
code { overflow-wrap: anywhere }
table { border-collapse: collapse } td, th { padding: .1em .8em .1em 0; text-align: left }
.marks { color: #8a4b00 }
</style>
<h1>Inspected episodes</h1>
<p>{{ note }} In the pictures, the object is tinted and outlined, and grey is not scored.</p>
{% for run in runs %}
<h2>{{ run.place }}</h2>
<p class="marks">Marks: {{ run.marks or "none" }}</p>
{% for shown in run.episodes %}
<figure>
<h3>{{ shown.title }}</h3>
<img src="data:image/png;base64,{{ shown.picture }}" alt="{{ shown.title }}; {{ run.marks }}">
<figcaption>
<p>query <code>{{ shown.query }}</code>; supports <code>{{ shown.supports }}</code>;
picture <code>{{ shown.file }}</code></p>
<table>
<tr><th>map<th>shape<th>lowest<th>highest</tr>
{% for name, shape, low, high in shown.maps %}<tr><td>{{ name }}<td>{{ shape }}<td>{{ low }}<td>{{ high }}</tr>
{% endfor %}</table>
</figcaption>
</figure>
{% endfor %}
{% endfor %}
</html>
"""


def write_pages(episodes: Sequence[ShownEpisode], folder: Path) -> Path:
    """Write `RUN/episode-INDEX.png` for each episode, and one page with all of them.

    Args:
        episodes: what an inspection collected with pictures, in its order.
        folder: where to write; it is made if it does not exist.

    Returns:
        The page.

    Raises:
        DataError: if a file cannot be written.
    """
    runs = []
    for name, group in groupby(episodes, key=lambda shown: shown.run):
        members = [*group]
        (folder / name).mkdir(parents=True, exist_ok=True)
        facts = [_describe(shown, folder) for shown in members]
        marks = "; ".join(clean_line(mark) for mark in members[0].marks)
        runs.append({"place": clean_line(members[0].place), "marks": marks, "episodes": facts})
    environment = Environment(autoescape=True)
    page = environment.from_string(_TEMPLATE).render(runs=runs, note=NOT_STORED, episodes=len(episodes))
    _write(folder / PAGE, page.encode())
    return folder / PAGE


def _describe(shown: ShownEpisode, folder: Path) -> dict[str, object]:
    """Draw an episode, write its picture, and return the facts for the page."""
    content = draw_png(shown)
    file = name_picture(shown)
    _write(folder / file, content)
    return {
        "title": clean_line(shown.title),
        "query": clean_line(shown.episode.query),
        "supports": clean_line(", ".join(shown.episode.supports)),
        "file": str(file),
        "picture": base64.b64encode(content).decode(),
        "maps": [
            (clean_line(name), " x ".join(map(str, each.shape)), *(f"{v:.4g}" for v in find_range(each)))
            for name, each in shown.maps.items()
        ],
    }


def name_picture(shown: ShownEpisode) -> Path:
    """Name the file of an episode below the folder of the page."""
    return Path(shown.run, f"episode-{shown.episode.index:05d}.png")


def draw_png(shown: ShownEpisode) -> bytes:
    """Draw an episode as PNG.  Its title names episode, class, IoU and marks."""
    assert shown.pictures is not None  # the inspection collected pictures
    pictures = replace(shown.pictures, title=shown.title)
    figure = draw_episodes(
        [pictures], title=shown.place, marks=[*map(str, shown.marks), "not stored as a run"]
    )
    file = io.BytesIO()
    figure.savefig(
        file, format="png", dpi=_DPI, metadata={"Title": clean_line(f"{shown.title}; {shown.place}")}
    )
    return file.getvalue()


def _write(path: Path, content: bytes) -> None:
    try:
        replace_file(path, content, durable=False)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror or error}). Next: name another folder with --show-out"
        ) from None
