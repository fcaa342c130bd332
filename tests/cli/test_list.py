from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from command import run_command
from processes import Done, run_commands

TOY_RUN = Path(__file__).parents[1] / "runs" / "toy_run"


@pytest.fixture(scope="module")
def site(toys_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The third-party package, installed as a user would, and a distribution whose plugins are broken."""
    target = Path(shutil.copytree(toys_site, tmp_path_factory.mktemp("site") / "toys"))
    info = target / "rt_broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rt-broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[fssbench.methods]\n[red]a[/foo] = rt_broken:Thing\ntoy-colour = rt_broken:Other\n"
        "[fssbench.datasets]\nexits = rt_exits:Thing\n"
    )
    (target / "rt_broken.py").write_text("raise RuntimeError('[/red] \\x1b[31m no luck')")
    (target / "rt_exits.py").write_text("raise SystemExit(0)")
    return target


def run_installed(site: Path, *commands: str, cwd: Path) -> list[Done]:
    """Commands in processes that find the packages of `site`."""
    return run_commands(
        *(command.split() for command in commands), folder=cwd, environment={"PYTHONPATH": str(site)}
    )


def rows_by_name(output: str) -> dict[str, dict[str, object]]:
    return {row["name"]: row for row in map(json.loads, output.splitlines())}


def list_rows(*arguments: str, folder: Path) -> dict[str, dict[str, object]]:
    done: Result = run_command("list", *arguments, "--json", folder=folder)
    assert done.exit_code == 0, done.stderr
    return rows_by_name(done.stdout)


def test_a_strangers_plugins_are_listed_and_broken_ones_hide_none(site: Path, tmp_path: Path) -> None:
    (done,) = run_installed(site, "list methods --json", cwd=tmp_path)
    methods = rows_by_name(done.stdout)
    assert {"hsnet", "panet", "pmnet", "toy-prototype", "[red]a[/foo]"} <= set(methods)
    assert methods["toy-prototype"]["status"] == "ok"
    assert methods["toy-prototype"]["title"] == "Toy prototype"
    assert "fssbench-toys 0.3.0" in str(methods["toy-prototype"]["origin"])
    broken = methods["[red]a[/foo]"]
    assert broken["status"] == "broken"
    assert "no luck" in str(broken["reason"])
    assert "\x1b" not in str(broken["reason"])
    clash = methods["toy-colour"]
    assert clash["status"] == "broken"
    assert "fssbench-toys 0.3.0" in str(clash["reason"])
    assert "rt-broken 1.0" in str(clash["reason"])


def test_broken_plugins_in_plain_text(site: Path, tmp_path: Path) -> None:
    (done,) = run_installed(site, "list datasets", cwd=tmp_path)
    assert done.returncode == 0
    lines = {line.split("\t")[0]: line for line in done.stdout.splitlines()}
    assert "SystemExit: 0" in lines["exits"]
    assert "toy-discs" in lines
    assert "suim" in lines
    assert "Traceback" not in done.stdout + done.stderr


def test_data_sets_say_where_they_are_found(tmp_path: Path) -> None:
    (tmp_path / "real" / "ISIC").mkdir(parents=True)
    result = list_rows("datasets", "--data", "real", folder=tmp_path)
    assert result["isic2018"]["found"] == "ISIC"
    assert result["suim"]["found"] is None


def test_plugin_files(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nope_nope")
    done = run_command("list", "methods", "--plugin", "broken.py", folder=tmp_path)
    assert done.exit_code == 0
    assert "No module named 'nope_nope'" in done.stderr
    assert "hsnet" in done.stdout


def test_benchmarks_and_suites(tmp_path: Path) -> None:
    benchmarks = list_rows("benchmarks", folder=tmp_path)
    assert len(benchmarks) == 10
    assert benchmarks["coco20i"]["classes"] == 80
    suites = list_rows("suites", folder=tmp_path)
    assert len(str(suites["paper"]["benchmarks"]).split()) == 10


def test_runs(tmp_path: Path) -> None:
    assert list_rows("runs", folder=tmp_path) == {}
    (tmp_path / "runs" / "torn").mkdir(parents=True)
    (tmp_path / "runs" / "torn" / "manifest.json").write_text('{"identity":')
    result = list_rows("runs", folder=tmp_path)
    assert result["torn"]["status"] == "damaged"
    assert result["torn"]["reason"]


def test_runs_of_an_edited_method_are_told_apart(tmp_path: Path) -> None:
    shutil.copytree(TOY_RUN, tmp_path / "runs" / "toy")
    manifest = json.loads((TOY_RUN / "manifest.json").read_text())
    (row,) = list_rows("runs", folder=tmp_path).values()
    assert row["begun"] == manifest["context"]["created_utc"]
    assert row["source"] == manifest["block"]["source_sha256"][:8]


def test_unknown_kind(tmp_path: Path) -> None:
    done = run_command("list", "metods", folder=tmp_path)
    assert done.exit_code == 2
    assert "Did you mean methods?" in done.stderr


def test_check_runs_on_installed_plugins(site: Path, tmp_path: Path) -> None:
    names = ("toy-prototype", "toy-discs", "toy-text")
    checks = run_installed(site, *(f"check {name}" for name in names), cwd=tmp_path)
    for done in checks:
        assert done.returncode == 0, done.stdout + done.stderr
        assert " 0 failed" in done.stderr
    assert "Next: fssbench run --method toy-prototype " in checks[0].stderr
    assert "--benchmark pascal-to-isic2018 --data mini" in checks[0].stderr


def test_methods_say_what_they_read_and_backbones_what_they_saw(tmp_path: Path) -> None:
    methods = list_rows("methods", folder=tmp_path)
    assert methods["panet"]["reads"] == "supports, query"
    assert methods["copy-mask"]["kind"] == "bound"
    backbones = list_rows("backbones", folder=tmp_path)
    assert backbones["dinov2-s"]["pretraining"] == "LVD-142M"
    assert backbones["sam-h-promptable"]["pretraining"] == "SA-1B"
    assert backbones["resnet50"]["pretraining"] == "ImageNet-1K"


def test_runs_are_named_as_every_verb_names_them(null: Any, tmp_path: Path) -> None:
    """`--out` is the earlier form of RUNS, which stays."""
    null.run("first", null.plan(2))
    null.run("second", null.plan(3))
    first, second = null.folder / "first", null.folder / "second"
    (one,), (other,) = (list_rows("runs", str(folder), folder=tmp_path) for folder in (first, second))
    assert list_rows("runs", str(first), str(second), folder=tmp_path).keys() == {one, other}
    assert list_rows("runs", "--out", str(first), folder=tmp_path).keys() == {one}
    assert list_rows("runs", str(first / one), folder=tmp_path).keys() == {one}
    assert list_rows("runs", str(first), "--out", str(second), folder=tmp_path).keys() == {one, other}
    missing = run_command("list", "runs", first, tmp_path / "none")
    assert (missing.exit_code, missing.stdout) == (2, "")
    assert f"{tmp_path / 'none'} does not exist" in missing.stderr
    (tmp_path / "none").mkdir()
    empty = run_command("list", "runs", tmp_path / "none")
    assert (empty.exit_code, f"There are no runs in {tmp_path / 'none'}" in empty.stderr) == (0, True)
    assert "only benchmarks and suites are defined in files" in run_command("list", "methods", first).stderr
