"""The documentation is built without a warning and without a network, and its pages load nothing from other sites."""

from __future__ import annotations

import logging
import re
import socket
from html.parser import HTMLParser
from pathlib import Path

import pytest
from places import ROOT

from fssbench.benchmarks.catalogue import BENCHMARKS
from fssbench.cli import VERBS
from fssbench.plugins.registry import BACKBONES, DATASETS, METHODS

pytest.importorskip("mkdocs", reason="needs the extra `docs`")
pytest.importorskip("material", reason="needs the extra `docs`")
pytest.importorskip("mkdocstrings_handlers.python", reason="needs the extra `docs`")

pytestmark = pytest.mark.timeout(600)  # the first test builds the site


class _Refused(Exception):
    """A connection was tried."""


_TAG = re.compile(
    r"<(?:script|img|iframe|source|audio|video|embed|object|link)\b(?:[^>\"']|\"[^\"]*\"|'[^']*')*>"
    r"|<\w(?:[^>\"']|\"[^\"]*\"|'[^']*')*\sstyle=(?:[^>\"']|\"[^\"]*\"|'[^']*')*>"
)
"""Tags with which a page may load something, which are few; all others need not be parsed."""


class _Loads(HTMLParser):
    """Collects what a browser loads with a page."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in {"script", "img", "iframe", "source", "audio", "video", "embed", "object"}:
            self.loads += [values.get("src") or "", values.get("data") or "", values.get("srcset") or ""]
        if tag == "link" and "canonical" not in (values.get("rel") or ""):
            self.loads.append(values.get("href") or "")
        self.loads += re.findall(r"url\(([^)]*)\)", values.get("style") or "")


def list_loads(page: str) -> list[str]:
    """List what a browser loads with a page."""
    parser = _Loads()
    for tag in _TAG.finditer(page):
        parser.feed(tag[0])
        parser.clear_cdata_mode()  # a script does not go on to its end, which is not read
    return parser.loads


def find_foreign(loads: list[str]) -> list[str]:
    return [load for load in loads if "//" in load.split("?")[0][:9]]


def build_site(folder: Path, *, search: bool) -> list[str]:
    """Build the site in a folder without a network; return the warnings of the build.

    Args:
        folder: an empty folder.
        search: with the index for its search, which takes a seventh of the time.
    """
    from mkdocs.commands.build import build
    from mkdocs.config import load_config
    from mkdocs.utils.yaml import yaml_load

    def refuse(*_: object) -> None:
        raise _Refused

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        patch.setenv("FSSBENCH_CACHE", str(folder / "cache"))
        patch.chdir(ROOT)
        records: list[str] = []
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger("mkdocs").addHandler(handler)
        try:
            plugins = yaml_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["plugins"]
            kept = [each for each in plugins if search or each != "search"]
            config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder / "site"), plugins=kept)
            assert ("material/search" in config.plugins) is search
            config.plugins.on_startup(command="build", dirty=False)
            build(config)
        finally:
            logging.getLogger("mkdocs").removeHandler(handler)
    return records


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The site without its search, and the warnings of its build."""
    folder = tmp_path_factory.mktemp("site")
    warnings = build_site(folder, search=False)
    return folder / "site", warnings


@pytest.fixture
def site(built: tuple[Path, list[str]]) -> Path:
    return built[0]


def test_it_is_built_without_a_warning(built: tuple[Path, list[str]]) -> None:
    site, warnings = built
    assert warnings == []
    assert (site / "index.html").is_file()


@pytest.mark.slow
def test_it_is_built_with_its_search_without_a_warning(tmp_path: Path) -> None:
    assert build_site(tmp_path, search=True) == []
    assert "chestxray" in (tmp_path / "site" / "search" / "search_index.json").read_text()


def test_no_page_loads_anything_from_another_site(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 80
    for page in pages:
        loads = list_loads(page.read_text())
        assert loads, page
        assert not find_foreign(loads), page
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", sheet.read_text()), sheet


@pytest.mark.parametrize(
    ("page", "foreign"),
    [
        ('<p class="a>b" style="background: url(https://x.y/z)">', 1),
        ('<img alt="a > b" src="//x.y/z.png"><img src="z.png">', 1),
        ("<script>var a='<p>'</script><script async src='https://x.y/z.js'></script>", 1),
        ('<script>var a="<p>"</script><img\n src="https://x.y/z.png">', 1),
        ('<link rel="stylesheet" href="https://x.y"><link rel="canonical" href="https://x.y">', 1),
        ('<a href="https://x.y">z</a><img src="z.png?from=https://x.y">', 0),
    ],
)
def test_a_page_that_loads_from_another_site_would_be_seen(page: str, foreign: int) -> None:
    assert len(find_foreign(list_loads(page))) == foreign


def test_every_registered_name_has_a_page(site: Path) -> None:
    for folder, names in {
        "methods": METHODS.names(),
        "datasets": DATASETS.names(),
        "backbones": BACKBONES.names(),
        "benchmarks": BENCHMARKS,
        "commands": VERBS,
    }.items():
        lacking = [name for name in names if not (site / "reference" / folder / f"{name}.html").is_file()]
        assert not lacking, folder


def test_pages_hold_the_facts_of_the_registry(site: Path) -> None:
    method = (site / "reference" / "methods" / "pmnet.html").read_text()
    for fact in (
        "Corrected of the reference",
        "does not run as published",
        "Published mIoU",
        "K supports",
        "65.4",
    ):
        assert fact in method, fact
    benchmark = (site / "reference" / "benchmarks" / "pascal-to-isic2018.html").read_text()
    assert "Pitfalls" in benchmark
    assert "was never stated" in benchmark
    assert "--episodes" in (site / "reference" / "commands" / "run.html").read_text()


def test_every_public_name_of_the_api_is_documented(site: Path) -> None:
    import fssbench.api

    pages = "".join(page.read_text() for page in (site / "reference" / "api").glob("*.html"))
    documented = set(re.findall(r'id="fssbench\.api\.(\w+)"', pages))
    assert documented == set(fssbench.api.__all__)
