"""The documentation is built without a warning and without a network, and its pages load nothing from other sites."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
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


class _Loads(HTMLParser):
    """Collects what a browser loads with a page, and the anchors that links inside the site need."""

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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The built site; every warning of the build is in `site/warnings.txt`."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    def refuse(*_: object) -> None:
        raise _Refused

    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        patch.setenv("FSSBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.chdir(ROOT)
        records: list[str] = []
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger("mkdocs").addHandler(handler)
        try:
            config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder / "site"))
            config.plugins.on_startup(command="build", dirty=False)
            build(config)
        finally:
            logging.getLogger("mkdocs").removeHandler(handler)
        (folder / "warnings.txt").write_text("\n".join(records))
    return folder / "site"


def test_it_is_built_without_a_warning(site: Path) -> None:
    assert (site.parent / "warnings.txt").read_text() == ""
    assert (site / "index.html").is_file()


def test_no_page_loads_anything_from_another_site(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 80
    for page in pages:
        parser = _Loads()
        parser.feed(page.read_text())
        assert parser.loads, page
        assert not [load for load in parser.loads if "//" in load.split("?")[0][:9]], page
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", sheet.read_text()), sheet


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
