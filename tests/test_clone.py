"""A clone is a working program, however fssbench is installed; each way is a virtual environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from made_once import put_mini_into_cache

import fssbench
from fssbench.clone import CloneDistribution, CloneFinder, enter_clone, find_plugin_package
from fssbench.errors import PluginError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BUILT_IN = {
    kind: set(PROJECT["entry-points"][f"fssbench.{kind}"]) for kind in ("methods", "datasets", "reporters")
}
OTHER_VERSION = "0.0.7"

SCRIPT = '''
"""A user's script: the README's example, a plugin file, and what was met."""
import contextlib, importlib, importlib.metadata, io, json, sys
from pathlib import Path

before = list(sys.path)
import datasets
import fssbench, fssbench.datasets, fssbench.methods, fssbench.reports
from fssbench.api import Dataset, Method
from fssbench.plugins.registry import DATASETS, METHODS, REPORTERS, load_plugin, list_import_observations
from fssbench.plugins.source_hash import _list_own_requirements, collect_source

with contextlib.redirect_stdout(io.StringIO()) as shown:
    exec(README_EXAMPLE)
load_plugin("my_method.py")
sources = {}
for registry, base in ((METHODS, Method), (DATASETS, Dataset)):
    for name in registry.names():
        cls = registry.get(name)
        files = cls.files if base is Method else ()
        source = collect_source(cls, base=base, files=files, observed=list_import_observations(cls))
        sources[name] = [source.sha256, source.parts, source.distributions]
broken, modules = [], []
if (installed := Path(fssbench.__file__).parent).parent.name == "site-packages":
    places = [path.relative_to(installed.parent).with_suffix("") for path in installed.rglob("*.py")]
    modules = [".".join(place.parts).removesuffix(".__init__") for place in places if place.name != "__main__"]
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:
            broken.append([name, repr(error)])
manifests = [json.loads(path.read_text()) for path in Path(OUT).glob("*/manifest.json")]
print(json.dumps({
    "files": {m.__name__: m.__file__ for m in (fssbench, fssbench.methods, fssbench.datasets, fssbench.reports)},
    "foreign": datasets.__file__,
    "path": sys.path == before,
    "modules": len(modules),
    "broken": broken,
    "same": {
        "versions": [fssbench.__version__, importlib.metadata.version("fssbench")],
        "needed": sorted(_list_own_requirements()),
        "origins": {n: r.plugin(n).origin for r in (METHODS, DATASETS, REPORTERS) for n in r.names() if n != "mine"},
        "reporters": [REPORTERS.get(name).__name__ for name in REPORTERS.names()],
        "sources": sources,
        "shown": shown.getvalue(),
        "runs": [manifest["identity"] for manifest in manifests],
    },
}))
'''
METHOD = """
from fssbench.methods.ssp import SSP


class Mine(SSP):
    card = SSP.card.model_copy(update={"name": "mine"})
"""


class Environment:
    """A virtual environment with what fssbench needs, in which programs run as a user runs them."""

    def __init__(self, folder: Path, dependencies: Path, cache: Path) -> None:
        venv.create(folder, symlinks=True, with_pip=False)
        self.python = folder / "bin" / "python"
        self.site = next(folder.glob("lib/python*/site-packages"))
        (self.site / "dependencies.pth").write_text(f"{dependencies}\n")
        (self.site / "datasets").mkdir()
        (self.site / "datasets" / "__init__.py").write_text('"""A foreign package."""\n')
        self._cache = cache

    def unpack(self, wheel: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.site)

    def run(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        prefixes = ("PYTHON", "FSSBENCH", "VIRTUAL_ENV")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
        return subprocess.run(
            [str(self.python), *arguments],
            cwd=cwd,
            env={**kept, "FSSBENCH_CACHE": str(self._cache), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout, as far as the program needs it."""
    root = tmp_path_factory.mktemp("clone")
    for name in ("fssbench", "methods", "datasets", "reports"):
        shutil.copytree(ROOT / name, root / name)  # with its bytecode, so that no process has to compile
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root / name)
    return root


@pytest.fixture(scope="module")
def environments(
    clone: Path, mini: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Environment]:
    """Makes the environment of a way of installing fssbench when it is first asked for."""
    root = tmp_path_factory.mktemp("environments")
    dependencies = root / "dependencies" / "site-packages"
    dependencies.mkdir(parents=True)
    for place in map(Path, sys.path):
        if place.name in {"site-packages", "dist-packages"} and place.is_dir():
            for entry in place.iterdir():
                left_out = "fssbench" in entry.name or entry.name in {"datasets", "__pycache__"}
                if not left_out and not (dependencies / entry.name).exists():
                    (dependencies / entry.name).symlink_to(entry)
    put_mini_into_cache(mini, root / "cache")
    wheel = _build(clone, root, "wheel")

    def make(way: str) -> Environment:
        environment = Environment(root / way.replace(" ", "-"), dependencies, root / "cache")
        if way != "nothing":
            environment.unpack(_build(clone, root, "editable") if way == "editable" else wheel)
        if way == "another version":
            _make_another_version(environment.site)
        return environment

    return cache(make)


def _build(clone: Path, root: Path, kind: str) -> Path:
    """Call the build backend in the clone, as `pip install` does: `build/` and `*.egg-info` stay behind there."""
    folder = root / f"{kind}-built"
    folder.mkdir()
    call = f"from setuptools.build_meta import build_{kind} as build; build({str(folder)!r})"
    subprocess.run([sys.executable, "-c", call], cwd=clone, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def _make_another_version(site: Path) -> None:
    """Change version, entry points and all code of an installed fssbench."""
    info = next(site.glob("fssbench-*.dist-info"))
    metadata = (
        (info / "METADATA")
        .read_text()
        .replace(f"\nVersion: {PROJECT['version']}", f"\nVersion: {OTHER_VERSION}")
    )
    (info / "METADATA").write_text(metadata.replace("Requires-Dist: numpy", "Requires-Dist: numbers"))
    points = (info / "entry_points.txt").read_text().replace("panet = ", "gone = ")
    (info / "entry_points.txt").write_text(
        points.replace("fssbench.methods.ssp:", "fssbench.methods.elsewhere:")
    )
    info.rename(site / f"fssbench-{OTHER_VERSION}.dist-info")
    for module in (site / "fssbench").rglob("*.py"):
        module.write_text("raise RuntimeError('code of another version')\n")


WAYS = [
    # another installed version disturbs a clone no less than this one
    pytest.param("wheel", "in the clone", marks=pytest.mark.slow),
    ("wheel", "elsewhere"),
    # as elsewhere, and as without installation
    pytest.param("editable", "in the clone", marks=pytest.mark.slow),
    ("editable", "elsewhere"),
    ("nothing", "in the clone"),
    ("another version", "in the clone"),
]


@pytest.fixture(scope="module")
def first() -> dict[str, Any]:
    """What the first way has shown; every other must show the same."""
    return {}


@pytest.mark.parametrize(("installed", "place"), WAYS)
def test_a_script_meets_one_version_whole(
    installed: str,
    place: str,
    environments: Callable[[str], Environment],
    clone: Path,
    tmp_path: Path,
    first: dict[str, Any],
) -> None:
    environment, folder = environments(installed), clone if place == "in the clone" else tmp_path
    (folder / "my_method.py").write_text(METHOD)
    out = str(tmp_path / "stored")
    example = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)[0].replace('out="runs"', "out=OUT")
    script = f"README_EXAMPLE = {example!r}\nOUT = {out!r}\n{SCRIPT}"
    (folder / "my_script.py").write_text(script)

    done = environment.run("my_script.py", cwd=folder)

    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    home = environment.site if (installed, place) == ("wheel", "elsewhere") else clone
    files = {name: Path(file).resolve() for name, file in facts["files"].items()}
    assert all(file.is_relative_to(home.resolve()) for file in files.values()), files
    if folder != clone:  # in the clone it is Python that looks for `datasets` there first
        assert Path(facts["foreign"]).is_relative_to(environment.site)
    assert facts["path"], "sys.path was changed"
    assert facts["broken"] == []
    assert (facts["modules"] > 200) == (home == environment.site), "every module of the wheel is imported"
    same = facts["same"]
    assert same["versions"] == [PROJECT["version"]] * 2
    assert set(same["origins"]) == set().union(*BUILT_IN.values())
    assert len(same["reporters"]) == len(BUILT_IN["reporters"])
    assert re.match(r"mIoU \d+\.\d", same["shown"])
    assert len(same["runs"]) == 1
    expected = first.setdefault("same", same)
    for name, source in expected["sources"].items():
        assert (name, same["sources"][name]) == (name, source)
    assert same == expected


@pytest.mark.parametrize(
    "installed",
    [
        *(pytest.param(way, marks=pytest.mark.slow) for way in ("wheel", "editable")),
        "nothing",
        "another version",
    ],
)
def test_list_in_the_clone_shows_every_built_in_as_sound(
    installed: str, environments: Callable[[str], Environment], clone: Path
) -> None:
    environment = environments(installed)
    info = environment.site / "stranger-1.0.dist-info"  # another distribution's plugin is listed besides
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fssbench.datasets]\nstranger = stranger:Absent\n")

    done = environment.run("-m", "fssbench", "list", "datasets", "--json", cwd=clone)

    shutil.rmtree(info)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["name"] for row in rows if row["status"] == "ok"} == BUILT_IN["datasets"]
    assert [row["name"] for row in rows if row["status"] != "ok"] == ["stranger"]


@pytest.fixture
def small_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of empty packages, and finders that are put back afterwards."""
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if not isinstance(f, CloneFinder)])
    for name in ("fssbench", "methods", "datasets", "reports"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


@pytest.mark.parametrize("name", ["report", "tests", "docs", "build", "evaluate", "train"])
@pytest.mark.parametrize("content", ["__init__.py", "thing.py", "page.html"])
def test_other_folders_of_the_clone_are_no_modules(small_clone: Path, name: str, content: str) -> None:
    """In a clone, `fssbench report` writes `report` beside the package, and `fssbench.report` is a function."""
    (small_clone / name).mkdir()
    (small_clone / name / content).touch()
    assert enter_clone(small_clone / "fssbench")
    assert find_plugin_package(f"fssbench.{name}") is None
    assert find_plugin_package(name) is None


@pytest.mark.parametrize("name", ["methods", "datasets", "reports"])
def test_the_plugin_folders_of_the_clone_are_modules(small_clone: Path, name: str) -> None:
    assert find_plugin_package(f"fssbench.{name}") is None
    assert enter_clone(small_clone / "fssbench")
    spec = find_plugin_package(f"fssbench.{name}")
    assert spec is not None
    assert spec.origin == str(small_clone / name / "__init__.py")
    assert find_plugin_package(name) is None


def test_fssbench_itself_has_one_folder() -> None:
    """Each further folder of `__path__` would make modules of everything that lies in it."""
    assert list(fssbench.__path__) == [str(Path(fssbench.__file__).parent)]


def test_a_damaged_pyproject_of_the_clone_is_named(tmp_path: Path) -> None:
    distribution = CloneDistribution(tmp_path / "pyproject.toml", b"<<<<<<< HEAD\n")
    with pytest.raises(PluginError) as caught:
        distribution.entry_points  # noqa: B018
    assert str(tmp_path / "pyproject.toml") in str(caught.value)


@pytest.mark.parametrize("lacking", ["", "methods/__init__.py", "datasets/__init__.py", "pyproject.toml"])
def test_only_a_whole_clone_is_entered(lacking: str, small_clone: Path) -> None:
    if lacking:
        (small_clone / lacking).unlink()
    before = len(sys.meta_path)
    assert enter_clone(small_clone / "fssbench") == (not lacking)
    assert len(sys.meta_path) == before + (not lacking)


def test_an_installed_package_beside_folders_of_these_names_is_no_clone(tmp_path: Path) -> None:
    for name in ("methods", "datasets", "reports", "fssbench/methods"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "pyproject.toml").touch()
    assert not enter_clone(tmp_path / "fssbench")


def test_one_version_is_written_twice() -> None:
    assert fssbench.__version__ == PROJECT["version"]
