"""A page that many tests look at, written once per session."""

from __future__ import annotations

from pathlib import Path

import pytest
from fssbench.reports.formats.html import HtmlReporter
from made_once import make_once
from report_factory import make_results


@pytest.fixture(scope="session")
def whole_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of three methods on miniature data, with all figures and with pictures; read-only by agreement."""

    def write(folder: Path) -> None:
        HtmlReporter().write(make_results(folder=folder / "runs", marks=("miniature",)), folder)

    return make_once(tmp_path_factory, "whole_page", write) / "report.html"
