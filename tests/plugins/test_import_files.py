"""Plugins from files, folders and module names: what they may import, and that no two of them meet."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fssbench.errors import PluginError, UsageError
from fssbench.loading.load import load_method
from fssbench.plugins.registry import METHODS, load_plugin


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("pf_"):
            del sys.modules[name]


def answer(name: str) -> object:
    """What the plugin's module holds as `ANSWER`."""
    return sys.modules[METHODS.get(name).__module__].ANSWER


STYLES = {
    "import": "import helper; ANSWER = helper.VALUE",
    "from": "from helper import VALUE as ANSWER",
    "as": "import helper as h; ANSWER = h.VALUE",
    "relative": "from . import helper; ANSWER = helper.VALUE",
    "relative-from": "from .helper import VALUE as ANSWER",
    "by-name": "import importlib; ANSWER = importlib.import_module('helper').VALUE",
    "by-unknown-name": "import importlib; ANSWER = importlib.import_module('hel' + 'per').VALUE",
    "path": "import os, sys; sys.path.insert(0, os.path.dirname(__file__)); import helper; ANSWER = helper.VALUE",
}


@pytest.mark.parametrize("style", STYLES)
def test_helpers_of_equal_name_do_not_meet(
    tmp_path: Path, write_method: Any, style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("one", "two"):
        write_method(tmp_path / name / f"{name}.py", name=name, top=STYLES[style])
        (tmp_path / name / "helper.py").write_text(f"VALUE = {name!r}")
        load_plugin(tmp_path / name / f"{name}.py")
    assert (answer("one"), answer("two")) == ("one", "two")
    assert "helper" not in sys.modules


def test_a_late_import_finds_the_own_helper(tmp_path: Path, write_method: Any) -> None:
    for name in ("one", "two"):
        body = "import helper; from helper import LEVEL; support_mask = support_mask * LEVEL"
        write_method(tmp_path / name / f"{name}.py", name=name, body=body)
        (tmp_path / name / "helper.py").write_text(f"LEVEL = {1 if name == 'one' else 0}")
        load_plugin(tmp_path / name / f"{name}.py")
    mask = torch.ones(1, 1, 8, 8)
    images = torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 3, 8, 8)
    masks = [bool(load_method(name).segment(*images, mask).any()) for name in ("one", "two")]
    assert masks == [True, False]


def test_a_helper_package_and_its_modules(tmp_path: Path, write_method: Any) -> None:
    top = "import nets.deep.block; from nets.deep import other; import nets.deep.block as b\n"
    top += "ANSWER = nets.deep.block.A + other.B + b.A"
    write_method(tmp_path / "mine.py", top=top)
    (tmp_path / "nets" / "deep").mkdir(parents=True)
    (tmp_path / "nets" / "__init__.py").write_text("")
    # deep has no __init__
    (tmp_path / "nets" / "deep" / "block.py").write_text("import common; A = common.A")
    (tmp_path / "nets" / "deep" / "other.py").write_text("from .block import A; B = A * 10")
    (tmp_path / "common.py").write_text("A = 1")
    load_plugin(tmp_path / "mine.py")
    assert answer("mine") == 12


def test_a_folder_without_init_hides_no_library(tmp_path: Path, write_method: Any) -> None:
    write_method(tmp_path / "mine.py", top="import numpy; ANSWER = numpy.__version__")
    (tmp_path / "numpy").mkdir()
    load_plugin(tmp_path / "mine.py")
    assert answer("mine") == importlib.import_module("numpy").__version__


def test_a_plugin_named_as_a_library_may_use_it(tmp_path: Path, write_method: Any) -> None:
    write_method(tmp_path / "scipy.py", top="import scipy; ANSWER = scipy.__version__")
    load_plugin(tmp_path / "scipy.py")
    assert answer("mine") == importlib.import_module("scipy").__version__


def test_a_file_inside_a_package_imports_its_package(tmp_path: Path, write_method: Any) -> None:
    package = tmp_path / "pf_package"
    write_method(
        package / "inner" / "mine.py",
        top="from ..base import A\nfrom pf_package.base import A as B\nimport beside\nANSWER = A + B + beside.A",
    )
    for folder in (package, package / "inner"):
        (folder / "__init__.py").write_text("")
    (package / "base.py").write_text("A = 1")
    (package / "inner" / "beside.py").write_text("A = 10")
    load_plugin(package / "inner" / "mine.py")
    assert answer("mine") == 12


@pytest.mark.parametrize("target", ["net_v1.2.py", "folder", "package.3"])
def test_a_dot_in_a_name_is_part_of_it(tmp_path: Path, write_method: Any, target: str) -> None:
    folder = tmp_path if target.endswith(".py") else tmp_path / target
    write_method(
        folder / "net_v1.2.py", top="from . import helper; from .inner.more import B; ANSWER = helper.A + B"
    )
    write_method(folder / "net_v1_2.py", name="other")
    (folder / "helper.py").write_text("A = 1")
    (folder / "inner").mkdir()
    (folder / "inner" / "more.py").write_text("B = 10")
    if target == "package.3":
        (folder / "__init__.py").write_text("")
    assert "method mine" in load_plugin(tmp_path / target)
    assert answer("mine") == 11
    assert len(load_method("mine").provenance.sources) == 3 + (target == "package.3")


IN_PROCESSES = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from fssbench.api import Dataset, DatasetCard
from .names import name_class

class Counted(Dataset):
    card = DatasetCard(name="counted", title="t", domain="d", folders=("f",), url="u", licence="l",
                       citation="c", layout="l")
    def classes(self):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return dict(enumerate(pool.map(name_class, range(2))))
    pool = files = image = label = mask = verify = miniature = None
"""


@pytest.mark.parametrize("program", ["fssbench", "python -m fssbench"])
def test_processes_that_a_plugin_starts_find_its_modules(tmp_path: Path, program: str) -> None:
    """A data set does not import torch, so the two child processes begin quickly."""
    folder = tmp_path / "my plugin"
    folder.mkdir()
    (folder / "counted.py").write_text(IN_PROCESSES)
    (folder / "names.py").write_text("import words\ndef name_class(number): return words.WORD + str(number)")
    (folder / "words.py").write_text("WORD = 'picture '")
    script = tmp_path / "fssbench_command"  # as pip writes one
    script.write_text("from fssbench.cli import main\nif __name__ == '__main__':\n    main()\n")
    begin = [str(script)] if program == "fssbench" else ["-m", "fssbench"]
    command = [sys.executable, "-P", *begin, "show", "counted", "--plugin", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "picture 1" in done.stdout


def test_a_package_folder_gives_what_it_exports(tmp_path: Path, write_method: Any) -> None:
    package = tmp_path / "pf_exporting"
    write_method(package / "mine.py")
    write_method(package / "other.py", name="hidden")
    (package / "__init__.py").write_text("from .mine import Mine")
    assert load_plugin(package) == ["method mine"]


def test_a_package_folder_that_exports_nothing_gives_all_its_plugins(
    tmp_path: Path, write_method: Any
) -> None:
    package = tmp_path / "pf_silent"
    for name in ("one", "two"):
        write_method(package / f"{name}.py", name=name)
    (package / "__init__.py").write_text("")
    assert sorted(load_plugin(package)) == ["method one", "method two"]


def test_a_folder_of_modules_executes_neither_scripts_nor_tests(tmp_path: Path, write_method: Any) -> None:
    write_method(tmp_path / "mine.py", top="import base")
    (tmp_path / "base.py").write_text("class Base: pass")
    (tmp_path / "setup.py").write_text("raise SystemExit('executed')")
    (tmp_path / "test_mine.py").write_text("raise SystemExit('executed')")
    (tmp_path / "script.py").write_text("raise SystemExit('executed')")
    assert load_plugin(tmp_path) == ["method mine"]


def test_a_module_name(tmp_path: Path, write_method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    write_method(tmp_path / "pf_named" / "inner.py")
    assert load_plugin("pf_named.inner") == ["method mine"]
    assert METHODS.get("mine").__module__ == "pf_named.inner"


def test_what_is_installed_may_be_named_too() -> None:
    assert "method panet" in load_plugin("fssbench.methods.panet")
    assert METHODS.get("panet").card.name == "panet"


def test_the_same_file_again_is_the_same_class(tmp_path: Path, write_method: Any) -> None:
    path = write_method(tmp_path / "mine.py")
    load_plugin(path)
    first = METHODS.get("mine")
    load_plugin(str(path))
    assert METHODS.get("mine") is first


@pytest.mark.parametrize("edited", ["mine.py", "helper.py"])
def test_an_edited_file_is_imported_again(tmp_path: Path, write_method: Any, edited: str) -> None:
    path = write_method(tmp_path / "mine.py", top="import helper; ANSWER = 1 * helper.VALUE")
    (tmp_path / "helper.py").write_text("VALUE = 1")
    load_plugin(path)
    old, hashes = METHODS.get("mine"), [load_method("mine").provenance.source_sha256]
    stat = (tmp_path / edited).stat()
    (tmp_path / edited).write_text((tmp_path / edited).read_text().replace("= 1", "= 2"))
    os.utime(tmp_path / edited, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # size and time as they were
    with pytest.raises(PluginError, match=rf"{edited}.*edited"):
        load_method(old)
    load_plugin(path)
    assert answer("mine") == 2
    hashes.append(load_method("mine").provenance.source_sha256)
    assert len(set(hashes)) == 2
    with pytest.raises(PluginError, match="earlier import"):
        load_method(old)


@pytest.mark.parametrize(
    ("target", "kind", "words"),
    [
        ("absent.py", UsageError, "absent.py does not exist"),
        ("no/such/folder", UsageError, "no/such/folder does not exist"),
        ("pf_nowhere", UsageError, "'pf_nowhere' does not exist"),
        ("pf_nowhere.inner", UsageError, "pf_nowhere.inner"),
        ("text.txt", UsageError, "not a Python file"),
        ("empty", PluginError, "no Python module"),
        ("project", PluginError, r"one of its packages: one, src.two"),
        ("json", PluginError, "plugin module json defines no Method"),
    ],
)
def test_what_is_no_plugin_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, kind: type[Exception], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("")
    (tmp_path / "empty").mkdir()
    for package in ("one", "src/two", "tests"):
        (tmp_path / "project" / package).mkdir(parents=True)
        (tmp_path / "project" / package / "__init__.py").write_text("")
    with pytest.raises(kind, match=words):
        load_plugin(target)


def test_a_file_that_was_meant_is_suggested(
    tmp_path: Path, write_method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_method(tmp_path / "pf_here.py")
    with pytest.raises(UsageError, match=r"--plugin pf_here\.py"):
        load_plugin("pf_here")
