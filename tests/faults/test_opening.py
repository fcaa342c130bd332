"""What a stranger's data folder may hold, with the commands a user types: nothing runs, nothing hangs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from command import run_command
from PIL import Image
from processes import run_commands

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs files that only POSIX systems have")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A drawn FSS-1000."""
    assert run_command("data", "mini", "data", "--dataset", "fss1000", folder=tmp_path).exit_code == 0
    return tmp_path / "data"


def run(folder: Path, *arguments: str, code: int = 0) -> str:
    """What the command prints, started in a folder with a Ghostscript that leaves a trace."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    program = programs / "gs"
    program.write_text(f"#!/bin/sh\ntouch '{folder}/CANARY'\n")
    program.chmod(0o755)
    environment = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    (done,) = run_commands(arguments, folder=folder, environment=environment)
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    assert not (folder / "CANARY").exists(), "a program was started"
    assert "\x1b" not in output
    assert "Traceback" not in output
    return output


RUN = (
    "run",
    "-b",
    "fss1000",
    "-m",
    "panet",
    "--backbone",
    "efficientnet-lite0",
    "-k",
    "1",
    "--episodes",
    "4",
)
FAST = ("--data", "data", "--size", "64", "--panels", "0", "-q")


def test_postscript_in_a_jpg_is_an_error_and_runs_nothing(tmp_path: Path, data: Path) -> None:
    folder = sorted((data / "FSS-1000").iterdir())[0]
    width, height = Image.open(folder / "1.jpg").size
    for path in folder.glob("*.jpg"):
        path.write_text(
            "%!PS-Adobe-3.0 EPSF-3.0\n"
            f"%%BoundingBox: 0 0 {width} {height}\n"
            "%%EndComments\n"
            "(\\033]0;title\\007) print flush\nshowpage\n%%EOF\n"
        )
    said = run(tmp_path, "data", "verify", "fss1000", "--data", "data", code=3)
    assert f"{folder.name}/1.jpg" in said
    assert "PostScript" in said
    assert "PostScript" in run(tmp_path, *RUN, "--episodes", "100", *FAST, code=3)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_pipes_and_devices_are_errors_and_nothing_waits(tmp_path: Path, data: Path, kind: str) -> None:
    for path in (data / "FSS-1000").glob("*/*.png"):
        path.unlink()
        if kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to("/dev/zero")
    verified = run_command("data", "verify", "fss1000", "--data", "data", folder=tmp_path)
    assert verified.exit_code == 3
    assert ("named pipe" if kind == "pipe" else "/dev/zero") in verified.output
    done = run_command(*RUN, *FAST, folder=tmp_path)
    assert done.exit_code == 3
    assert "Traceback" not in done.output
