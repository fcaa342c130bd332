from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from fssbench.cli import main


def test_shows_versions_settings_and_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FSSBENCH_DATA", str(tmp_path))
    result = json.loads(CliRunner().invoke(main, ["env", "--json"]).stdout)
    assert result["packages"]["torch"] == torch.__version__
    assert result["devices"][0] == "cpu"
    assert result["data"] == "found"
    assert result["settings"]["FSSBENCH_DATA"] == f".../{tmp_path.name}"


@pytest.mark.parametrize(("data", "state"), [("mini", "drawn on demand"), ("/no/such/folder", "not found")])
def test_data_state(monkeypatch: pytest.MonkeyPatch, data: str, state: str) -> None:
    monkeypatch.setenv("FSSBENCH_DATA", data)
    assert json.loads(CliRunner().invoke(main, ["env", "--json"]).stdout)["data"] == state


def test_leaks_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "someone"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("FSSBENCH_CACHE", str(home / "cache"))
    for name in ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "FSSBENCH_TOKEN", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, "planted-secret")
    for arguments in (["env"], ["env", "--json"]):
        text = CliRunner().invoke(main, arguments).output
        assert "planted-secret" not in text
        assert "someone" not in text
        assert ".../cache" in text
