"""Hashes of a data set that is known to be good: what changed since is named, file by file."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from fssbench.cli import main

FOLDERS = ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight drawn pairs of ISIC, as F20 draws them; the working folder is the one above."""
    rng = np.random.default_rng(0)
    root = tmp_path / "data" / "ISIC"
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    for i in range(8):
        mask = np.zeros((96, 96), np.uint8)
        mask[20:50, 20:70] = 255
        image = rng.integers(0, 120, (96, 96, 3), dtype=np.uint8)
        image[mask > 0] = [230, 60, 20]
        Image.fromarray(image).save(root / FOLDERS[0] / f"ISIC_{i:07}.jpg", quality=95)
        Image.fromarray(mask).save(root / FOLDERS[1] / f"ISIC_{i:07}_segmentation.png")
    monkeypatch.chdir(tmp_path)
    return root


def verify(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["data", "verify", "isic2018", "--data", "data", "--all", *arguments])
    assert result.exit_code == code, result.output + result.stderr
    return result


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for k in range(3):
        content[len(content) // 3 + k] ^= 0x55
    path.write_bytes(bytes(content))


def compared(code: int = 3) -> dict[str, str]:
    """What became of files since they were recorded, by path: the first clause of the problem."""
    (row,) = map(json.loads, verify("--against", "good.sha256", "--json", code=code).stdout.splitlines())
    problems = ((finding["path"], finding["problem"]) for finding in row["findings"])
    return {path: re.split("[:,]", problem)[0] for path, problem in problems if "record" in problem}


def test_damage_that_a_decoder_passes_over_is_found(data: Path) -> None:
    verify("--record", "good.sha256")
    verify("--against", "good.sha256")
    damaged = sorted(data.rglob("*.jpg"))
    for path in damaged:
        damage(path)
        Image.open(path).load()
    assert compared() == {path.relative_to(data).as_posix(): "the file was changed" for path in damaged}
    assert "--record" in verify(code=3).stderr, "what cannot be found without hashes is said"


def test_changed_missing_and_additional_files_are_named(data: Path) -> None:
    verify("--record", "good.sha256")
    one, two, three = sorted((data / FOLDERS[0]).iterdir())[:3]
    Image.new("RGB", (96, 96), "red").save(one)
    two.rename(two.with_name("ISIC_0000099.jpg"))
    (three.parent / ".DS_Store").write_bytes(b"x")
    assert compared() == {
        f"{FOLDERS[0]}/{one.name}": "the file was changed",
        f"{FOLDERS[0]}/{two.name}": "the file is missing",
        f"{FOLDERS[0]}/ISIC_0000099.jpg": "the file was added",
    }


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_a_record_and_sha256sum_understand_each_other(data: Path) -> None:
    strange = data / "back\\slash and\nline"
    strange.write_bytes(b"x")
    if sys.platform == "linux":
        Path(os.fsdecode(os.fsencode(data) + b"/M\xfcller")).write_bytes(b"y")
    verify("--record", "good.sha256")
    check = ["sha256sum", "-c", "--strict", str(Path("good.sha256").resolve())]
    subprocess.run(check, cwd=data, check=True, capture_output=True)
    files = [str(path.relative_to(data)) for path in sorted(data.rglob("*")) if path.is_file()]
    printed = subprocess.run(["sha256sum", *files], cwd=data, check=True, capture_output=True).stdout
    Path("theirs.txt").write_bytes(printed.replace(b"  ISIC", b"  ./ISIC"))
    verify("--against", "theirs.txt")
    verify("--against", "good.sha256")
    strange.write_bytes(b"z")
    verify("--against", "theirs.txt", code=3)


@pytest.mark.parametrize(
    "change", [lambda b: b.replace(b"\n", b"\r\n"), lambda b: b.decode().encode("utf-16")]
)
def test_a_record_is_read_with_other_line_ends_and_encodings(data: Path, change: Any) -> None:
    verify("--record", "good.sha256")
    Path("good.sha256").write_bytes(change(Path("good.sha256").read_bytes()))
    verify("--against", "good.sha256")


def test_records_are_equal_wherever_the_data_lie_and_hold_the_record_itself_out(
    data: Path, tmp_path: Path
) -> None:
    verify("--record", "data/ISIC/good.sha256")
    verify("--against", "data/ISIC/good.sha256")
    kept = (data / "good.sha256").read_bytes()
    (data / "good.sha256").unlink()
    shutil.move(data, tmp_path / "disk")
    data.symlink_to(tmp_path / "disk")
    verify("--record", "again.sha256")
    assert Path("again.sha256").read_bytes() == kept


def test_what_cannot_be_recorded_or_compared_is_said_before_the_data_are_looked_at(data: Path) -> None:
    verify("--record", "good.sha256")
    before = Path("good.sha256").read_bytes()
    for arguments, code, said in (
        (("--record", "good.sha256"), 3, "--against"),
        (("--against", "absent"), 3, "absent"),
        (("--record", "a", "--against", "good.sha256"), 2, "only one of"),
        (("pascal", "--record", "a"), 2, "one NAME"),
    ):
        result = verify(*arguments, code=code)
        assert said in result.stderr
        assert "checking" not in result.stderr
    assert Path("good.sha256").read_bytes() == before
    Path("other").write_bytes(before.replace(b"set: isic2018", b"set: pascal"))
    assert "pascal" in verify("--against", "other", code=2).stderr
    Path("torn").write_bytes(before + b"91c5dd7e64  ISIC/x.jpg\n")
    number = len(before.splitlines()) + 1
    assert f"line {number}" in verify("--against", "torn", code=3).stderr


def test_links_in_circles_end_and_links_out_are_refused(data: Path, tmp_path: Path) -> None:
    (data / "round").symlink_to(data)
    verify("--record", "good.sha256")
    assert Path("good.sha256").read_text().count("ISIC_0000000.jpg") == 1
    (tmp_path / "secret").write_text("x")
    (data / "link").symlink_to(tmp_path / "secret")
    assert "secret" in verify("--record", "again.sha256", code=3).stderr
    assert not Path("again.sha256").exists()
