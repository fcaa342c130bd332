from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from nightly_record import HEAD, START, describe_outcomes, write_outcomes
from places import ROOT


@dataclass
class Report:
    """The part of a report of pytest that is read."""

    nodeid: str
    outcome: str = "passed"
    duration: float = 0.0


def describe(*reports: Report, whole: bool = True) -> dict[str, str]:
    return describe_outcomes(reports, day="2026-11-27", commit="abc", whole=whole)  # type: ignore[arg-type]


def test_cases_of_a_test_are_counted_together_and_a_failed_phase_decides() -> None:
    rows = describe(
        Report("a.py::one[1]"),
        Report("a.py::one[1]", "failed", 60),
        Report("a.py::one[1]"),
        Report("a.py::one[2]", duration=30),
        Report("b.py::two", "skipped"),
    )
    assert rows == {
        "a.py::one": "| `a.py::one` | 1 **failed**, 1 passed | 1.5 | 2026-11-27 | `abc` |",
        "b.py::two": "| `b.py::two` | 1 skipped | 0.0 | 2026-11-27 | `abc` |",
    }


def test_the_last_test_of_an_interrupted_session_says_so() -> None:
    rows = describe(Report("a.py::one"), Report("b.py::two[1]"), whole=False)
    assert "interrupted" not in rows["a.py::one"]
    assert "1 passed, **interrupted**" in rows["b.py::two"]


def test_a_session_replaces_the_rows_of_its_tests_alone(tmp_path: Path) -> None:
    page = tmp_path / "nightly.md"
    page.write_text(f"# Nightly\n\n{START}\n", encoding="utf-8")
    write_outcomes(page, {"b": "| `b` | 1 **failed** |", "c": "| `c` | 1 passed |"})
    write_outcomes(page, {"a": "| `a` | 2 passed |", "b": "| `b` | 1 passed |"})
    rows = ["| `a` | 2 passed |", "| `b` | 1 passed |", "| `c` | 1 passed |"]
    assert page.read_text(encoding="utf-8") == "\n".join(["# Nightly", "", START, "", *HEAD, *rows]) + "\n"


def test_a_page_without_the_line_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "nightly.md"
    page.write_text("# Nightly\n", encoding="utf-8")
    with pytest.raises(pytest.UsageError, match="lacks the line"):
        write_outcomes(page, {"a": "| `a` | 1 passed |"})
    assert page.read_text(encoding="utf-8") == "# Nightly\n"


def test_the_page_names_tests_that_exist() -> None:
    _, _, table = (ROOT / "docs" / "nightly.md").read_text(encoding="utf-8").partition(START)
    tests = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    assert tests
    for test in tests:
        file, _, name = test.partition("::")
        text = (ROOT / file).read_text(encoding="utf-8")
        assert f"def {name}(" in text or f"\n{name} = draw_more(" in text, test
