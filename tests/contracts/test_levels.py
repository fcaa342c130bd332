"""The levels of findings and judgements: texts in JSON, enums in code, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fssbench.api import Finding, FindingLevel, Judgement, JudgementLevel, Verification


@pytest.mark.parametrize("level", ["error", "warning"])
def test_a_plugin_may_give_the_level_of_a_finding_as_text(level):
    finding = Finding(level, "a.png", "torn", "get it again")
    assert isinstance(finding.level, FindingLevel)
    assert finding == Finding(FindingLevel(level), "a.png", "torn", "get it again")
    assert json.loads(json.dumps({"level": finding.level})) == {"level": level}
    assert replace(finding, path="b.png").level is finding.level


@pytest.mark.parametrize("level", ["fatal", "Error", "", None, 1])
def test_a_finding_of_an_unknown_level_is_refused(level):
    """It would be neither an error nor a warning, and the data set would count as sound."""
    with pytest.raises(ValueError, match="error or warning"):
        Finding(level, "a.png", "torn", "get it again")


def test_errors_alone_make_a_data_set_unusable():
    report = Verification("toy", Path(), findings=[Finding("warning", "a", "odd", "nothing")])
    assert report.ok
    report.findings.append(Finding("error", "b", "torn", "get it again"))
    assert not report.ok


def test_a_judgement_has_a_known_level():
    assert Judgement("doubt", "soft", "edges", "sharpen them").level is JudgementLevel.DOUBT  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="fatal"):
        Judgement("fatal", "soft", "edges", "sharpen them")  # type: ignore[arg-type]
