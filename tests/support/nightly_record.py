"""Writes the outcome of `pytest -m nightly --write-nightly` into docs/nightly.md, so that nobody writes it by hand."""

from __future__ import annotations

import platform
import subprocess
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

START = "<!-- results: written by pytest -m nightly --write-nightly -->"
_WORDS = {"passed": "passed", "failed": "**failed**", "skipped": "skipped"}


def describe_outcomes(
    reports: Iterable[pytest.TestReport], seconds: float, root: Path, command: str, whole: bool
) -> str:
    """Describe a session as a table with one row per test; cases of one test are counted together.

    Args:
        reports: the reports of all phases of all tests.
        seconds: how long the session took.
        root: the checkout.
        command: arguments of pytest, which say what was selected.
        whole: whether the session came to its end.
    """
    outcomes: dict[str, str] = {}
    for report in reports:
        known = outcomes.get(report.nodeid)
        if known in (None, "passed"):  # a failed or skipped phase decides
            outcomes[report.nodeid] = report.outcome
    by_test: dict[str, Counter[str]] = {}
    for node, outcome in outcomes.items():
        by_test.setdefault(node.partition("[")[0], Counter())[outcome] += 1
    total = Counter(outcomes.values())
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    ).stdout.strip()
    lines = [
        START,
        "",
        f"Last written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, on commit `{commit or 'unknown'}`, Python "
        f"{platform.python_version()}, {platform.system()} {platform.machine()}: "
        f"{', '.join(f'{number} {outcome}' for outcome, number in sorted(total.items())) or 'no test'}, in "
        f"{seconds / 60:.0f} minutes{'' if whole else ', **interrupted before its end**'}. "
        f"Command: `pytest {command}`.",
        "",
        "| test | outcome |",
        "| --- | --- |",
    ]
    for test, counts in sorted(by_test.items()):
        told = ", ".join(
            f"{number} {_WORDS.get(outcome, outcome)}" for outcome, number in sorted(counts.items())
        )
        lines.append(f"| `{test}` | {told} |")
    return "\n".join(lines) + "\n"


def write_outcomes(page: Path, text: str) -> None:
    """Replace what stands behind the marker line of a page."""
    before, marker, _ = page.read_text(encoding="utf-8").partition(START)
    if not marker:
        raise pytest.UsageError(f"{page} lacks the line {START}")
    page.write_text(before + text, encoding="utf-8")
