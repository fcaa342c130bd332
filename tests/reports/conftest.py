"""A report that many tests look at, written once per session."""

from __future__ import annotations

from pathlib import Path

import pytest
from fssbench.reports.formats.figure_files import FigureReporter
from fssbench.reports.formats.html import HtmlReporter
from made_once import make_once
from report_factory import make_results


@pytest.fixture(scope="session")
def whole_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page and all figures of three methods on miniature data, with pictures; read-only."""

    def write(folder: Path) -> None:
        results = make_results(folder=folder / "runs", marks=("miniature",))
        FigureReporter().write(results, folder)
        HtmlReporter().write(results, folder)

    return make_once(tmp_path_factory, "whole_report", write)
