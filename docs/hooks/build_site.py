"""Hook of mkdocs: adds the pages that are generated when the site is built.

- the reference, from the registry, from click's tree and from docstrings;
- the notebooks, as pages;
- files of the repository that are pages of the site too, such as CONTRIBUTING.md.  Links to them lead to these pages.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from site_api import write_api_pages
from site_commands import write_command_pages
from site_notebooks import write_notebook_page
from site_registry import (
    write_backbone_pages,
    write_benchmark_pages,
    write_dataset_pages,
    write_method_pages,
    write_other_pages,
)

ROOT = Path(__file__).parents[2]
ROOT_PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "methods/checkpoints/README.md": "checkpoints.md",
}
"""Files of the repository that are pages of the site, and their place there."""
GENERATED = "generated: "
"""In the navigation, `generated: FOLDER` stands for the generated pages of that folder."""
_LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(?=[)#])")


def write_pages() -> dict[str, str]:
    """Write all generated pages: Markdown by place below `docs/`."""
    pages: dict[str, str] = {}
    for write in (
        write_method_pages,
        write_dataset_pages,
        write_benchmark_pages,
        write_backbone_pages,
        write_other_pages,
        write_command_pages,
        write_api_pages,
    ):
        pages |= write()
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        pages[f"notebooks/{notebook.stem}.md"] = write_notebook_page(notebook)
    for file, place in ROOT_PAGES.items():
        if (ROOT / file).is_file():
            pages[place] = (ROOT / file).read_text(encoding="utf-8")
    return pages


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and name them in the navigation."""
    pages = write_pages()
    for place, text in pages.items():
        files.append(File.generated(config, place, content=text))
    config.nav = _expand(config.nav, sorted(pages))
    return files


def _expand(nav: object, pages: list[str]) -> list[object]:
    """Replace `generated: FOLDER` in the navigation by the pages of that folder."""
    entries: list[object] = []
    for entry in nav if isinstance(nav, list) else []:
        if isinstance(entry, str) and entry.startswith(GENERATED):
            folder = entry.removeprefix(GENERATED)
            entries += [page for page in pages if posixpath.dirname(page) == folder]
        elif isinstance(entry, dict):
            entries.append({k: _expand(v, pages) if isinstance(v, list) else v for k, v in entry.items()})
        else:
            entries.append(entry)
    return entries


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to files of the repository lead to the pages that these files have in the site."""
    here = page.file.src_uri
    source = next((file for file, place in ROOT_PAGES.items() if place == here), f"docs/{here}")

    def redirect(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        place = ROOT_PAGES.get(target) or target.removeprefix("docs/")
        if target not in ROOT_PAGES and not target.startswith("docs/"):
            return match[1]
        return posixpath.relpath(place, posixpath.dirname(here) or ".")

    return _LINK.sub(redirect, markdown)
