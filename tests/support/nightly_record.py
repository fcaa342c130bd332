"""Writes outcomes of `pytest -m nightly --write-nightly` into docs/nightly.md, so that nobody writes them by hand.

All nightly tests together take hours, so a session may run a part of them: it replaces the rows of its tests.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

START = "<!-- results: written by pytest -m nightly --write-nightly -->"
HEAD = ("| test | outcome | minutes | day | commit |", "| --- | --- | --- | --- | --- |")
_WORDS = {"passed": "passed", "failed": "**failed**", "skipped": "skipped"}


def describe_outcomes(
    reports: Iterable[pytest.TestReport], *, day: str, commit: str, whole: bool
) -> dict[str, str]:
    """Describe a session in one table row per test; cases of one test are counted together.

    Args:
        reports: the reports of all phases of all tests, in their order.
        day: when they ran.
        commit: the state of the checkout.
        whole: whether the session came to its end; otherwise its last test may lack cases.
    """
    outcomes: dict[str, str] = {}
    seconds: Counter[str] = Counter()
    last = ""
    for report in reports:
        last = report.nodeid.partition("[")[0]
        seconds[last] += report.duration
        known = outcomes.get(report.nodeid)
        if known in (None, "passed"):  # a failed or skipped phase decides
            outcomes[report.nodeid] = report.outcome
    by_test: dict[str, Counter[str]] = {}
    for node, outcome in outcomes.items():
        by_test.setdefault(node.partition("[")[0], Counter())[outcome] += 1
    rows = {}
    for test, counts in by_test.items():
        told = [f"{number} {_WORDS.get(outcome, outcome)}" for outcome, number in sorted(counts.items())]
        if test == last and not whole:
            told.append("**interrupted**")
        rows[test] = f"| `{test}` | {', '.join(told)} | {seconds[test] / 60:.1f} | {day} | `{commit}` |"
    return rows


def write_outcomes(page: Path, rows: Mapping[str, str]) -> None:
    """Put rows by test into the table of a page, in place of older rows of the same tests."""
    before, marker, after = page.read_text(encoding="utf-8").partition(START)
    if not marker:
        raise pytest.UsageError(f"{page} lacks the line {START}")
    kept = {line.split("`")[1]: line for line in after.splitlines() if line.startswith("| `")}
    table = [row for _, row in sorted({**kept, **rows}.items())]
    page.write_text(before + "\n".join([START, "", *HEAD, *table]) + "\n", encoding="utf-8")


def record_session(page: Path, reports: Iterable[pytest.TestReport], root: Path, *, whole: bool) -> None:
    """Write the outcomes of the session that ends now."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    ).stdout.strip()
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    write_outcomes(page, describe_outcomes(reports, day=day, commit=commit or "unknown", whole=whole))
