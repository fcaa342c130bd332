"""Writes the pages of the Python API: one per group of names, each filled by mkdocstrings from the docstrings."""

from __future__ import annotations

import importlib
from pathlib import Path

from fssbench.lazy import map_names_to_modules

FOLDER = "reference/api"
GROUPS = {
    "methods": ("contracts.methods", "contracts.method_card", "contracts.ablations", "contracts.notes",
                "contracts.training", "contracts.pixel_loss", "contracts.prediction", "plugins."),
    "backbones": ("contracts.backbones",),
    "datasets": ("contracts.datasets", "contracts.lists", "data.", "images.", "files.", "datasets."),
    "errors": ("errors",),
    "reports": ("",),
}  # fmt: skip
"""Modules whose names in `fssbench.api` are shown on a page, by the beginning of their path; the last page takes
the rest."""
INTRODUCTIONS = {
    "methods": "What the author of a method imports from `fssbench.api`. [Plugins](../../plugins.md) has an example.",
    "backbones": "What the author of a backbone imports from `fssbench.api`.",
    "datasets": "What the author of a data set imports from `fssbench.api`: the contract, and readers that refuse what "
    "[Data](../../data.md) lists.",
    "errors": "Errors that plugins raise. Each names the thing, the value, what is allowed, and the next command.",
    "reports": "What the author of a reporter imports from `fssbench.api`: results, runs, comparisons, marks.",
}


def write_api_pages() -> dict[str, str]:
    """Write the pages; every public name is on exactly one."""
    pages = {
        f"{FOLDER}/fssbench.md": _write_page(
            "fssbench", "What a script or a notebook uses.", _public_names("fssbench")
        ),
        f"{FOLDER}/reporting.md": "# fssbench.reporting\n\n::: fssbench.reporting\n",
        f"{FOLDER}/testing.md": "# fssbench.testing\n\n"
        + "".join(f"::: fssbench.testing.{name}\n\n" for name in _public_names("fssbench.testing")),
    }
    groups: dict[str, list[str]] = {group: [] for group in GROUPS}
    api = importlib.import_module("fssbench.api")
    for name, module in sorted(map_names_to_modules(Path(str(api.__file__))).items()):
        place = module.removeprefix("fssbench.")
        group = next(group for group, starts in GROUPS.items() if place.startswith(starts))
        groups[group].append(name)
    for group, names in groups.items():
        title = f"fssbench.api: {group}"
        pages[f"{FOLDER}/{group}.md"] = _write_page("fssbench.api", INTRODUCTIONS[group], names, title)
    return pages


def _public_names(module: str) -> list[str]:
    return sorted(name for name in importlib.import_module(module).__all__ if not name.startswith("__"))


def _write_page(module: str, introduction: str, names: list[str], title: str = "") -> str:
    entries = "".join(f"::: {module}.{name}\n\n" for name in names)
    return f"# {title or module}\n\n{introduction}\n\n{entries}"
