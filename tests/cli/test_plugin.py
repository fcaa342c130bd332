"""`--plugin` in every verb: a file, a folder, a module name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fssbench.cli import VERBS, main

TARGETS = ("file", "folder", "package", "module")


@pytest.fixture
def target(request: pytest.FixtureRequest, tmp_path: Path, write_method: Any, monkeypatch: Any) -> str:
    """A plugin of each kind."""
    kind, name = request.param, f"cp_{request.param}"
    folder = tmp_path / name
    top = "from . import helper" if kind in {"package", "module"} else "import helper"
    path = write_method(folder / "method.py", top=top)
    (folder / "helper.py").write_text("A = 1")
    if kind in {"package", "module"}:
        (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    for loaded in [m for m in sys.modules if m.startswith("cp_")]:
        del sys.modules[loaded]
    return {"file": str(path), "folder": str(folder), "package": str(folder), "module": f"{name}.method"}[
        kind
    ]


VERBS_WITH_IT = {
    "list": ["list", "methods"],
    "show": ["show", "mine"],
    "run": [
        "run",
        "-m",
        "mine",
        "-b",
        "fss1000",
        "-k",
        "1",
        "--episodes",
        "1",
        "--size",
        "32",
        "--data",
        "mini",
        "-q",
    ],
    "bench": ["bench", "-m", "mine", "-k", "1", "--size", "32", "--repeats", "1", "--device", "cpu"],
}


@pytest.mark.parametrize("verb", [v for v in VERBS_WITH_IT if v != "bench"])
@pytest.mark.parametrize("target", TARGETS, indirect=True)
def test_verbs_take_plugins_of_every_kind(verb: str, target: str, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, [*VERBS_WITH_IT[verb], "--plugin", target])
    assert done.exit_code == 0, done.output
    assert "mine" in done.output


@pytest.mark.parametrize("target", TARGETS, indirect=True)
def test_check_takes_plugins_of_every_kind(target: str) -> None:
    done = CliRunner().invoke(main, ["check", target])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("target", ["folder"], indirect=True)  # a file: see test_bench.py
def test_bench_loads_the_plugin_in_its_own_process(target: str, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, [*VERBS_WITH_IT["bench"], "--plugin", target])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    "verb",
    [["data", "verify"], ["data", "mini"], ["data", "prepare", "x", "y"], ["episodes", "toy"], ["train"]],
)
def test_other_verbs_have_the_option(verb: list[str]) -> None:
    """A plugin that does not exist is what they complain about."""
    required = {"train": ["-m", "panet", "-b", "fss1000"]}.get(verb[0], [])
    done = CliRunner().invoke(main, [*verb, *required, "--plugin", "cp_absent"])
    assert done.exit_code == 2
    assert "cp_absent" in done.output


@pytest.mark.parametrize("verb", ["list", "show"])
def test_verbs_that_list_go_on_without_a_broken_plugin(verb: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('no luck')")
    rest = {"list": ["methods"], "show": ["panet"]}[verb]
    done = CliRunner().invoke(main, [verb, *rest, "--plugin", str(tmp_path / "broken.py")])
    assert done.exit_code == 0
    assert "warning:" in done.stderr
    assert "no luck" in done.stderr


def test_a_config_file_may_name_plugins(tmp_path: Path, write_method: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    write_method(tmp_path / "mine.py")
    (tmp_path / "c.toml").write_text('plugin = "mine.py"\nmethod = ["mine"]')
    done = CliRunner().invoke(main, ["run", "--config", "c.toml"])
    assert "nothing to run on" in done.output
    assert "unknown method" not in done.output


def test_the_option_is_the_same_everywhere() -> None:
    for verb in VERBS:
        help_text = CliRunner().invoke(main, [verb, "--help"]).output
        if "--plugin" in help_text:
            assert "FILE|FOLDER|MODULE" in help_text
