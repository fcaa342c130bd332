from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from click.testing import Result
from command import run_command
from places import TEMPLATES
from processes import Started

METHOD, REPORTER = ((TEMPLATES / f"{kind}.py").read_text() for kind in ("method", "reporter"))


def check(folder: Path, *arguments: str) -> Result:
    return run_command("check", *arguments, folder=folder)


def test_the_start_of_a_method_keeps_its_contract(tmp_path: Path) -> None:
    (tmp_path / "my_method.py").write_text(METHOD)
    done = check(tmp_path, "my_method.py", "--json")
    assert done.exit_code == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["status"] for row in rows} <= {"pass", "skip"}
    assert {row["name"] for row in rows} == {"mine"}
    assert sum(row["status"] == "pass" for row in rows) >= 23
    following = done.stderr.splitlines()[-1]
    wanted = "--plugin my_method.py --method mine --method panet --benchmark pascal-to-isic2018 --data mini"
    assert following == f"Next: fssbench run {wanted}"


def test_the_start_of_a_reporter_keeps_its_contract(tmp_path: Path) -> None:
    (tmp_path / "lines.py").write_text(REPORTER)
    done = check(tmp_path, "lines.py")
    assert done.exit_code == 0, done.stdout + done.stderr
    assert "2 passed, 0 skipped, 0 failed" in done.stderr


def test_a_failing_check_is_named_and_ends_in_4(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(METHOD.replace("* self.config.scale", "* float('nan')"))
    done = check(tmp_path, "bad.py")
    assert done.exit_code == 4
    lines = {line.split("\t")[2]: line.split("\t") for line in done.stdout.splitlines()}
    assert lines["one_shot"][0] == "fail"
    assert "NaN" in lines["one_shot"][3]
    assert lines["card_is_complete"][0] == "pass"
    assert "error: bad.py breaks its contract" in done.stderr
    assert "Next:" not in done.stderr


@pytest.mark.parametrize(
    ("content", "code", "text"),
    [
        ("import nope_nope", 4, "cannot be imported: ModuleNotFoundError"),
        ("x = 1", 4, "defines no Method"),
        (None, 2, "does not exist"),
    ],
)
def test_files_that_are_no_plugin(tmp_path: Path, content: str | None, code: int, text: str) -> None:
    if content is not None:
        (tmp_path / "plugin.py").write_text(content)
    done = check(tmp_path, "plugin.py")
    assert done.exit_code == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_unknown_names_suggest(tmp_path: Path) -> None:
    done = check(tmp_path, "hsnt")
    assert done.exit_code == 2
    assert "Did you mean hsnet" in done.stderr


def test_a_cause_is_shown_once_with_the_checks_it_fells(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(METHOD.replace("* self.config.scale", "* self.config.nothing"))
    done = check(tmp_path, "bad.py")
    lines = [line.split("\t") for line in done.stdout.splitlines() if line.startswith("fail")]
    assert [line[2] for line in lines] == ["one_shot"]
    assert "nothing" in lines[0][3]
    assert all(name in lines[0][3] for name in ("odd_sizes", "support_order", "fast_enough"))
    failed = int(re.findall(r"(\d+) failed", done.stderr)[0])
    assert f"{failed - 1} more checks" in lines[0][3]
    assert "with 1 cause" in done.stderr

    rows = [json.loads(line) for line in check(tmp_path, "bad.py", "--json").stdout.splitlines()]
    assert [row["cause"] for row in rows if row["status"] == "fail"] == [1] * failed
    assert {row["cause"] for row in rows if row["status"] != "fail"} == {None}


def test_the_size_is_validated(tmp_path: Path) -> None:
    for size in ("16", "x"):
        done = check(tmp_path, "panet", "--size", size)
        assert done.exit_code == 2
        assert "--size" in done.stderr


def test_a_traceback_is_shown_once_for_a_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FSSBENCH_DEBUG", "1")
    (tmp_path / "bad.py").write_text(METHOD.replace("* self.config.scale", "* self.config.nothing"))
    done = check(tmp_path, "bad.py")
    assert done.exit_code == 4
    assert capfd.readouterr().err.count("has no attribute 'nothing'\n") == 1  # of the method's own process


def test_progress_is_shown_on_a_terminal_alone(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty", reason="a terminal is imitated with pty")
    (tmp_path / "lines.py").write_text(REPORTER)
    piped = check(tmp_path, "lines.py")
    assert "writes_files" not in piped.stderr
    terminal, end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    done = Started(["check", "lines.py"], tmp_path, environment, terminal=os.ttyname(end))
    out, _ = done.communicate()
    os.close(end)
    shown = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    assert done.returncode == 0
    assert "2/2" in shown
    assert out == piped.stdout
