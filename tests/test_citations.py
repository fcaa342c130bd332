"""What docstrings, comments, docs and README name in this repository is there."""

from __future__ import annotations

import pkgutil
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("fssbench", "methods", "datasets", "reports")
GROUPS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"])
WRITTEN = {"report.md", "mine.md"}
"""Files that fssbench writes for its user."""
SOURCES = sorted(str(f.relative_to(ROOT)) for folder in FOLDERS for f in (ROOT / folder).rglob("*.py"))
PAGES = [
    *(name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(str(f.relative_to(ROOT)) for f in (ROOT / "docs").rglob("*.md")),
    "methods/checkpoints/README.md",
]
PAGE_NAMES = {Path(page).name: page for page in PAGES}

_PATH = re.compile(
    r"(?<![\w/.-])(?:docs|tests|fssbench|methods|datasets|reports)/[\w./-]*\.(?:py|md|csv|json|png)\b"
)
_PAGE = re.compile(r"(?<![\w/.*-])[\w-]+\.md\b")
_NAME = re.compile(r"`(fssbench(?:\.[A-Za-z_]\w*)+)`")
_LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")


def cited_files(text: str) -> Iterator[str]:
    yield from _PATH.findall(text)
    names = set(_PAGE.findall(text)) - WRITTEN - {"README.md"}
    yield from (PAGE_NAMES.get(name, f"docs/{name}") for name in names)


def test_cited_files_exist() -> None:
    cited = [(file, name) for file in [*SOURCES, *PAGES] for name in cited_files((ROOT / file).read_text())]
    assert cited
    assert not [(file, name) for file, name in cited if not (ROOT / name).exists()]


def test_cited_modules_and_names_exist() -> None:
    named = [
        (file, name)
        for file in [*SOURCES, *PAGES]
        for name in set(_NAME.findall((ROOT / file).read_text())) - GROUPS
    ]
    assert named
    assert not [(file, name) for file, name in named if not is_there(name)]


def is_there(name: str) -> bool:
    """Whether a module, or a name in one, can be imported."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def test_links_of_pages_lead_somewhere() -> None:
    links = [(page, link) for page in PAGES for link in _LINK.findall((ROOT / page).read_text())]
    # the pages below reference/ are generated: the build of the site checks links to them
    kept = [(page, link) for page, link in links if "://" not in link and "reference/" not in link]
    assert kept
    assert not [(page, link) for page, link in kept if not ((ROOT / page).parent / link).exists()]


def test_a_wrong_citation_would_be_seen() -> None:
    text = "See protocols.md 2, `docs/gone.md` and tests/gone/test_x.py; OUT/report.md is written."
    assert set(cited_files(text)) == {"docs/protocols.md", "docs/gone.md", "tests/gone/test_x.py"}
    assert not is_there("fssbench.gone")
    assert not is_there("fssbench.errors.Gone")
