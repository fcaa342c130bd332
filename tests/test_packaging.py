from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from fssbench.cli.env import EXTRAS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {
    "fssbench": "fssbench",
    "methods": "fssbench.methods",
    "datasets": "fssbench.datasets",
    "reports": "fssbench.reports",
}


def list_packages() -> set[str]:
    packages = set()
    for folder, package in FOLDERS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            packages.add(".".join([package, *init.parent.relative_to(ROOT / folder).parts]))
    return packages


def test_every_package_folder_is_named() -> None:
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == list_packages()


def test_every_folder_with_modules_is_a_package() -> None:
    for folder in FOLDERS:
        for module in (ROOT / folder).rglob("*.py"):
            assert (module.parent / "__init__.py").is_file(), f"{module.parent} has no __init__.py"


@pytest.fixture(scope="module")
def wheel_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in (*FOLDERS, "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    call = f"from setuptools.build_meta import build_wheel as build; build({str(out)!r})"
    subprocess.run([sys.executable, "-c", call], cwd=source, check=True, capture_output=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel(wheel_file: Path) -> set[str]:
    """The names of the files in the wheel."""
    with zipfile.ZipFile(wheel_file) as archive:
        return set(archive.namelist())


def test_wheel_holds_every_module_and_data_file(wheel: set[str]) -> None:
    assert "fssbench/py.typed" in wheel
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            data = (
                path.parent.name in {"templates", "data", "checkpoints"}
                and path.is_file()
                and not path.name.startswith(".")
            )
            if path.suffix == ".py" or data:
                name = f"{package.replace('.', '/')}/{path.relative_to(ROOT / folder)}"
                assert name in wheel, f"{name} is not in the wheel"


def test_wheel_claims_one_top_level_name(wheel: set[str]) -> None:
    tops = {name.split("/")[0] for name in wheel}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"fssbench"}


def test_entry_points_name_existing_modules() -> None:
    for group, points in PROJECT["project"]["entry-points"].items():
        for name, target in points.items():
            module, _, attribute = target.partition(":")
            parts = module.split(".")  # backbones lie in `fssbench/`, the other plugins beside it
            places = (ROOT.joinpath(*parts), ROOT.joinpath(*parts[1:]))
            files = [
                f
                for place in places
                for f in (place.with_suffix(".py"), place / "__init__.py")
                if f.is_file()
            ]
            assert len(files) == 1, f"{group} {name}: {target}"
            assert attribute in files[0].read_text(), f"{group} {name}: no {attribute}"


def test_the_checkouts_root_is_not_on_the_path(tmp_path: Path) -> None:
    # its `datasets/` would shadow the Hugging Face package of that name
    run = subprocess.run(
        [sys.executable, "-P", "-c", "import fssbench.methods, sys; print(*sys.path, sep='\\n')"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert str(ROOT.resolve()) not in {str(Path(line).resolve()) for line in run.stdout.splitlines() if line}
    # nor does pytest put it there; `python -m pytest` does, once
    here = [str(Path(line).resolve()) for line in sys.path]
    assert here.count(str(ROOT.resolve())) == ("-m" in sys.orig_argv)


def test_core_imports_no_plugin_package() -> None:
    for path in (ROOT / "fssbench").rglob("*.py"):
        text = path.read_text()
        for room in ("methods", "datasets", "reports"):
            for line in text.splitlines():
                words = line.strip()
                imports = words.startswith((f"from fssbench.{room}", f"import fssbench.{room}"))
                assert not imports, f"{path.relative_to(ROOT)}: {words}"


def test_constraints_satisfy_the_requirements() -> None:
    from packaging.requirements import Requirement

    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    wanted = [*PROJECT["project"]["dependencies"]]
    for requirements in PROJECT["project"]["optional-dependencies"].values():
        wanted += requirements
    for requirement in map(Requirement, wanted):
        if requirement.name in pins:
            assert requirement.specifier.contains(pins[requirement.name]), requirement


DEVELOPING = {"docs", "test"}
"""Extras of those who change fssbench itself."""


def test_every_extra_is_named_where_it_is_needed_and_no_other() -> None:
    texts = [
        path.read_text()
        for folder in (*FOLDERS, "docs")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".md"}
    ]
    named = set(re.findall(r"fssbench\[([\w-]+)\]", "\n".join(texts)))
    assert named == set(PROJECT["project"]["optional-dependencies"]) - DEVELOPING


def test_env_shows_the_packages_of_the_extras() -> None:
    from packaging.requirements import Requirement

    extras = PROJECT["project"]["optional-dependencies"]
    names = {
        Requirement(text).name for extra, texts in extras.items() if extra not in DEVELOPING for text in texts
    }
    assert set(EXTRAS) == names


def test_ci_is_executable_and_strict() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text()
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_citation_file_is_valid_and_names_this_version() -> None:
    yaml = pytest.importorskip("yaml", reason="comes with the extra `docs`")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = PROJECT["project"]
    assert citation["cff-version"] == "1.2.0"
    assert {"cff-version", "message", "title", "authors"} <= set(citation), "the schema of CFF demands these"
    allowed = {"type", "version", "license", "keywords", "abstract"}
    assert set(citation) <= {"cff-version", "message", "title", "authors"} | allowed
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert citation["authors"] == project["authors"]
    assert citation["type"] == "software"
    assert len(set(citation["keywords"])) == len(citation["keywords"]) > 0
