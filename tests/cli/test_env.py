from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from fssbench.cli import main, torch_facts


def test_shows_versions_settings_and_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FSSBENCH_DATA", str(tmp_path))
    result = json.loads(CliRunner().invoke(main, ["env", "--json"]).stdout)
    # the build for CUDA on PyPI names it in `__version__` alone
    assert result["packages"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
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


ASK = """
import sys
from fssbench.cli.torch_facts import count_threads, list_devices
without_import = [count_threads(), list_devices()], "torch" in sys.modules
import torch
assert "torch" in sys.modules
print([*without_import, [torch.get_num_threads(), list_devices()]])
"""


@pytest.mark.parametrize(
    "settings", [{}, {"OMP_NUM_THREADS": "3"}, {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "2"}]
)
def test_devices_and_threads_are_those_of_torch(settings: dict[str, str]) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in {"OMP_NUM_THREADS", "MKL_NUM_THREADS"}}
    answer = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, check=True, env=environment | settings
    )
    without_import, imported, asked = ast.literal_eval(answer.stdout)
    assert without_import == asked
    assert imported == (sys.platform != "linux" or len(asked[1]) > 1)


@pytest.mark.parametrize(
    ("text", "without_gpu"),
    [
        ("cuda: Optional[str] = None\nhip: Optional[str] = None", True),
        ("cuda = None\nhip = None", True),
        ("cuda = None\nhip = '7.1'", False),
        ("cuda = None", False),
        ("cuda = read()\nhip = None", None),
        ("cuda = '13.0'\nhip = None", None),
        ("cuda = ", False),
    ],
)
@pytest.mark.parametrize("driver", [False, True])
def test_a_gpu_is_ruled_out_only_for_certain(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, without_gpu: bool | None, driver: bool
) -> None:
    """Without `without_gpu` it depends on the driver."""
    (tmp_path / "version.py").write_text(text)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(torch_facts, "find_torch", lambda: tmp_path)
    monkeypatch.setattr(torch_facts, "can_be_loaded", lambda _: driver)
    assert torch_facts.is_without_gpu() is (not driver if without_gpu is None else without_gpu)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not torch_facts.is_without_gpu()
