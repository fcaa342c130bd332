"""One thing has the singular in what a user reads."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from fssbench.reports.formats.html import HtmlReporter
from fssbench.reports.formats.markdown import MarkdownReporter
from report_factory import make_cell, make_results, make_run

from fssbench.metrics import Score
from fssbench.plural import describe_count, join_some

WRONG = re.compile(r"(?<!of )\b1 (episodes|runs|files|images|classes|methods|benchmarks)\b|\b1 of 1 \w+s\b")


@pytest.mark.parametrize(("number", "words"), [(0, "0 entries"), (1, "1 entry"), (4000, "4,000 entries")])
def test_only_one_is_singular(number: int, words: str) -> None:
    assert describe_count(number, "entry", "entries") == words


@pytest.mark.parametrize(
    ("count", "comma", "semicolon"),
    [
        (0, "", ""),
        (2, "a0, a1", "a0; a1"),
        (3, "a0, a1 and 1 more", "a0; a1; and 1 more"),
        (1502, "a0, a1 and 1,500 more", "a0; a1; and 1,500 more"),
    ],
)
def test_a_long_list_is_cut_short(count: int, comma: str, semicolon: str) -> None:
    texts = [f"a{i}" for i in range(count)]
    assert join_some(iter(texts), 2) == comma
    assert join_some(texts, 2, "; ") == semicolon


def test_a_run_of_one_episode_has_the_singular_everywhere(tmp_path: Path) -> None:
    run = make_run(episodes=1)
    cell = make_cell([run])
    results = replace(make_results(), runs=(run,), cells=(cell,))
    shown = [str(Score(50.0, 60.0, {}, (), 1)), repr(run), repr(cell)]
    assert all("1 episode" in text for text in shown), shown
    for reporter in (MarkdownReporter(), HtmlReporter()):
        (file,) = reporter.write(results, tmp_path)
        shown.append(file.read_text())
        assert "1 run on 1 benchmark" in shown[-1]
    assert [WRONG.search(text) for text in shown] == [None] * len(shown)
