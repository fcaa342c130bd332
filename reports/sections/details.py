"""The tables of strata and of supports, as the formats of text write them."""

from __future__ import annotations

from typing import Any

from fssbench.api import LegendMark

from ..content.analysis import Analysis
from .difficulty import make_strata_tables
from .sensitivity import make_sensitivity_lines, make_support_choice_lines


def make_detail_tables(analysis: Analysis, legend: dict[str, LegendMark]) -> dict[str, tuple[Any, ...]]:
    """Make the tables by the names that the templates have for them; a table without a row is empty.

    `not_shown` holds a sentence if the strata are not those of all results.
    """
    return {
        "strata_tables": make_strata_tables(analysis, legend),
        "not_shown": (analysis.describe_not_shown(),) if analysis.cells_not_shown else (),
        "support_choices": make_support_choice_lines(analysis, legend),
        "sensitivity": make_sensitivity_lines(analysis, legend),
    }
