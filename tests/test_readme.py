"""Every command of the README is run: installation by `.ci/run`, the rest here."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command import run_command

from fssbench.api import MARK_MEANINGS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = [line.strip() for line in README.splitlines() if line.startswith("    ")]
FSSBENCH = [c for c in COMMANDS if c.startswith("fssbench ")]
PYTHON = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
SHORT = ["--episodes", "1", "--shot", "1"]
"""Added to runs here; the full ones are the slow test below."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: the commands run here one after another, as the README tells them."""
    return tmp_path_factory.mktemp("readme")


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


def test_it_is_short_and_its_links_lead_somewhere() -> None:
    assert len(README.splitlines()) < 100
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).is_file(), target


def test_installation_and_tests_are_what_ci_runs() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    assert 'pip install -c constraints.txt ".[mini]"' in COMMANDS
    developing = 'pip install -c constraints.txt -e ".[mini,test]"'
    assert developing in COMMANDS
    assert developing.replace("pip install", "pip install -q") in ci
    assert "pytest" in COMMANDS
    assert "\npytest " in ci
    known = re.compile(r"pip install|export FSSBENCH_DATA=DATA$|pytest$|fssbench ")
    assert all(known.match(command) for command in COMMANDS)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("command", FSSBENCH)
def test_command(
    command: str, place: Path, mini: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FSSBENCH_CACHE", str(place / "cache"))
    monkeypatch.setenv("FSSBENCH_DATA", str(mini))
    words = shlex.split(command)[1:]
    words = [str(shared / "golden" / "splits") if word == "SPLITS" else word for word in words]
    if words[0] == "run":
        words += SHORT
    if words[0] == "new":
        (place / "mine.py").unlink(missing_ok=True)
    elif "mine.py" in words and not (place / "mine.py").exists():  # another worker ran the command before
        run_command("new", "method", "mine", folder=place)
    done = run_command(*words, folder=place)
    assert done.exit_code == 0, done.output
    assert "Traceback" not in done.stderr
    assert done.stdout
    if words[0] == "run":
        assert "FB-IoU" in done.stdout
        assert "miniature" in done.stdout
    if words[0] == "report":
        page = (place / "report" / "report.html").read_text()
        assert "miniature" in page
        assert "part-trained" in page
        assert MARK_MEANINGS["untrained"] not in page


@pytest.mark.parametrize("block", PYTHON)
def test_python(
    block: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FSSBENCH_CACHE", str(place / "cache"))
    monkeypatch.chdir(place)
    exec(block, {})
    (shown,) = re.findall(r"^# (mIoU .*)$", block, flags=re.MULTILINE)
    _, _, marks = shown.partition(" episodes ")
    printed = capsys.readouterr().out
    assert re.match(r"mIoU \d+\.\d, FB-IoU \d+\.\d, 4 episodes", printed)
    assert marks in printed, "the README shows other marks than Python prints"


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
