"""The README is short, shows what is printed, and names the installation that `.ci/run` does.

Its commands are run by tests/docs/test_pages.py.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from doc_blocks import read_page, split_commands
from places import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = read_page(ROOT / "README.md").blocks
COMMANDS = [command for block in BLOCKS if block.language == "sh" for command in split_commands(block.text)]
FSSBENCH = [c for c in COMMANDS if c.startswith("fssbench ")]
PYTHON = [block.text for block in BLOCKS if block.language == "python"]


def run(place: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FSSBENCH_CACHE": str(place / "cache")}
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_short() -> None:
    assert len(README.splitlines()) < 100


def test_installation_and_tests_are_what_ci_runs() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    assert 'pip install -c constraints.txt ".[mini]"' in COMMANDS
    developing = 'pip install -c constraints.txt -e ".[mini,test,docs]"'
    assert developing in COMMANDS
    assert developing.replace("pip install", "pip install -q") in ci
    assert "pytest" in COMMANDS
    assert "\npytest " in ci


@pytest.mark.parametrize("block", PYTHON)
def test_marks_in_a_comment_are_those_that_python_prints(
    block: str,
    mini: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(block.replace('data="mini"', f"data={str(mini)!r}"), {})
    (shown,) = re.findall(r"^# (mIoU .*(?:\n# .*)*)$", block, flags=re.MULTILINE)
    printed = capsys.readouterr().out.strip()
    # another processor may round the figures otherwise
    without_figures = [re.sub(r"IoU \d+\.\d", "IoU", text) for text in (shown.replace("\n#", ""), printed)]
    assert without_figures[0] == without_figures[1], "the README shows something else than Python prints"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_two_commands_as_they_stand(tmp_path: Path) -> None:
    quick, report = FSSBENCH[:2]
    done = run(tmp_path, ["-m", "fssbench", *shlex.split(quick)[1:]])
    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stdout.splitlines() if "FB-IoU" in line]) == 3 * (3 * 2 + 4)
    done = run(tmp_path, ["-m", "fssbench", *shlex.split(report)[1:]])
    assert done.returncode == 0, done.stderr
    assert {p.suffix for p in (tmp_path / "report").iterdir()} >= {".html", ".md", ".csv", ".tex"}
