"""Turns the notebooks of the documentation into pages: their texts and cells, without a kernel."""

from __future__ import annotations

import json
from pathlib import Path


def write_notebook_page(notebook: Path) -> str:
    """Write a notebook as Markdown, with a link to the file itself.

    Args:
        notebook: a file of nbformat 4.
    """
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    texts = [_write_cell(cell["cell_type"], "".join(cell["source"])) for cell in cells if cell["source"]]
    link = f'[Download this notebook]({notebook.name}){{ download="{notebook.name}" }}\n'
    head, *rest = texts
    return "\n".join([head, link, *rest] if head.startswith("# ") else [f"# {notebook.stem}\n", link, *texts])


def _write_cell(kind: str, source: str) -> str:
    if kind == "markdown":
        return source + "\n"
    return f"````python\n{source}\n````\n" if kind == "code" else f"````text\n{source}\n````\n"
