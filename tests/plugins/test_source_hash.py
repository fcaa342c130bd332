"""The source hash follows what a method is made of, and nothing else."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from registries import scan_again

from fssbench.errors import PluginError
from fssbench.loading.load import load_method
from fssbench.plugins.registry import load_plugin
from fssbench.plugins.source_hash import collect_source, hash_source
from fssbench.runs.store import read_run


class Base:
    """Stands in for the contract."""


FILES = {
    "__init__.py": "",
    "method.py": "from .layers import Conv\nfrom . import extra\nfrom tests_base import Base\nimport json\n"
    "class Method(Base):\n    def late(self):\n        from .late import value\n        return value\n",
    "layers.py": "import os\nfrom .deep.inner import x\nclass Conv: pass\n",
    "extra.py": "",
    "late.py": "value = 1\n",
    "unrelated.py": "",
    "deep/__init__.py": "",
    "deep/inner.py": "x = 1\nfrom .. import layers\n",
    "child.py": "from .method import Method\nclass Child(Method): pass\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    counter = 0
    module = type(sys)("tests_base")
    module.Base = Base  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tests_base", module)

    def hashed(changes: dict[str, str] | None = None, name: str = "method.Method") -> str:
        nonlocal counter
        counter += 1
        root = tmp_path / str(counter)
        for path, text in {**FILES, **(changes or {})}.items():
            target = root / "somepackage" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        for loaded in [m for m in sys.modules if m.startswith("somepackage")]:
            del sys.modules[loaded]
        importlib.invalidate_caches()
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(root))
            stem, _, attribute = name.partition(".")
            cls = getattr(importlib.import_module(f"somepackage.{stem}"), attribute)
            return hash_source(cls, base=Base)

    yield hashed
    for loaded in [m for m in sys.modules if m.startswith("somepackage")]:
        del sys.modules[loaded]


def test_it_does_not_depend_on_where_the_files_lie(package: Callable[..., str]) -> None:
    assert package() == package()


@pytest.mark.parametrize(
    "file",
    ["method.py", "layers.py", "extra.py", "late.py", "deep/inner.py", "deep/__init__.py", "__init__.py"],
)
def test_what_is_imported_counts_also_indirectly_and_late(package: Callable[..., str], file: str) -> None:
    assert package({file: FILES[file] + "\nchanged = 1\n"}) != package()


@pytest.mark.parametrize("file", ["method.py", "layers.py", "__init__.py"])
def test_comments_and_docstrings_do_not_count(package: Callable[..., str], file: str) -> None:
    assert package({file: '"""A text."""\n' + FILES[file] + "\n# a comment\n"}) == package()


@pytest.mark.parametrize("file", ["unrelated.py", "child.py"])
def test_what_is_not_imported_does_not_count(package: Callable[..., str], file: str) -> None:
    assert package({file: FILES[file] + "\nchanged = 1\n"}) == package()


def test_the_file_of_a_base_class_counts(package: Callable[..., str]) -> None:
    before = package(name="child.Child")
    assert before != package()
    assert package({"late.py": "value = 2\n"}, name="child.Child") != before


# --- plugin files ------------------------------------------------------------------------------------


@pytest.fixture
def hashed(tmp_path: Path, write_method: Any) -> Callable[..., str]:
    """Hash of a plugin that is written with some files into a new folder."""
    counter = 0

    def of(
        files: dict[str, str] | None = None, *, settings: dict[str, Any] | None = None, **parts: str
    ) -> str:
        nonlocal counter
        counter += 1
        folder = tmp_path / str(counter)
        path = write_method(folder / "mine.py", name=f"mine{counter}", **{"top": "", **parts})
        path.write_text(path.read_text().replace(f'"mine{counter}"', "__name__[-4:] + __file__[-9]"))
        for name, text in (files or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text.replace("FOLDER", str(folder)))
        (registered,) = load_plugin(path)
        given = {k: v.replace("FOLDER", str(folder)) for k, v in (settings or {}).items()}
        return str(load_method(registered.removeprefix("method "), **given).provenance.source_sha256)

    return of


def test_a_plugin_file_is_known_by_its_content(hashed: Callable[..., str]) -> None:
    assert hashed() == hashed() == hashed(top="# a comment") != hashed(top="A = 1")


IMPORTS = {
    "plain": {"top": "import helper"},
    "from": {"top": "from helper import A"},
    "late": {"body": "import helper"},
    "by name": {"body": "import importlib; importlib.import_module('helper')"},
    "by unknown name": {"top": "import importlib; importlib.import_module('hel' + 'per')"},
    "in the constructor": {"init": "import importlib; importlib.import_module('hel' + 'per')"},
    "executed as text": {"init": "exec(open(__file__.replace('mine.py', 'helper.py')).read())"},
    "indirect": {"top": "import middle"},
    "star": {"top": "from helper import *"},
    "optional": {"top": "try:\n    import helper\nexcept ImportError: pass"},
}


@pytest.mark.parametrize("style", IMPORTS)
def test_an_edit_of_a_helper_is_another_source(hashed: Callable[..., str], style: str) -> None:
    files = {"helper.py": "A = 1", "middle.py": "import helper", "unrelated.py": "A = 1"}
    hashes = [
        hashed(files, **IMPORTS[style]),
        hashed({**files, "helper.py": "A = 2"}, **IMPORTS[style]),
        hashed({**files, "unrelated.py": "A = 2"}, **IMPORTS[style]),
    ]
    assert hashes[0] == hashes[2] != hashes[1]


READS = {
    "at import": {"top": "DATA = open(__file__.replace('mine.py', 'data.json')).read()"},
    "in the constructor": {"init": "self.data = open(__file__.replace('mine.py', 'data.json')).read()"},
    "bytes": {"init": "import pathlib; pathlib.Path(__file__).with_name('data.json').read_bytes()"},
    "declared": {"attributes": "files = ('data.json',)"},
    "declared by pattern": {"attributes": "files = ('*.json',)"},
    "below": {"top": "DATA = open(__file__.replace('mine.py', 'below/data.json')).read()"},
    "numpy": {"init": "import numpy; numpy.fromfile(__file__.replace('mine.py', 'data.json'))"},
}


@pytest.mark.parametrize("way", READS)
def test_an_edit_of_a_data_file_is_another_source(hashed: Callable[..., str], way: str) -> None:
    hashes = [
        hashed({"data.json": text, "below/data.json": text, "other.json.txt": other}, **READS[way])
        for text, other in (("[1]", "a"), ("[2]", "a"), ("[1]", "b"))
    ]
    assert hashes[0] == hashes[2] != hashes[1]


def test_a_file_that_a_setting_names_counts_wherever_it_lies(
    hashed: Callable[..., str], tmp_path: Path
) -> None:
    hashes = []
    for text in ("1", "2", "1"):
        (tmp_path / "far.txt").write_text(text)
        hashes.append(
            hashed(init="config.table and open(config.table)", settings={"table": str(tmp_path / "far.txt")})
        )
    assert hashes[0] == hashes[2] != hashes[1]


def test_what_others_read_does_not_count(hashed: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "elsewhere.txt").write_text("1")
    before = hashed(init=f"open({str(tmp_path / 'elsewhere.txt')!r}).read()")
    (tmp_path / "elsewhere.txt").write_text("2")
    assert hashed(init=f"open({str(tmp_path / 'elsewhere.txt')!r}).read()") == before


def test_a_declared_file_must_be_there(hashed: Callable[..., str]) -> None:
    with pytest.raises(PluginError, match=r"absent\.json"):
        hashed(attributes="files = ('absent.json',)")


def test_modules_elsewhere_count(
    hashed: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PYTHONPATH, editable installs, and packages of several modules that import each other."""
    hashes = []
    for text in ("1", "2", "1"):
        root = tmp_path / "path" / str(len(hashes))
        (root / "src_outside" / "deep").mkdir(parents=True)
        (root / "src_outside" / "__init__.py").write_text("")
        (root / "src_outside" / "deep" / "__init__.py").write_text("from ..leaf import A")
        (root / "src_outside" / "leaf.py").write_text(f"A = {text}")
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(root))
            hashes.append(hashed(top="import src_outside.deep"))
        for name in [m for m in sys.modules if m.startswith("src_outside")]:
            del sys.modules[name]
    assert hashes[0] == hashes[2] != hashes[1]


def test_versions_of_imported_distributions_are_recorded(tmp_path: Path, write_method: Any) -> None:
    top = "import numpy, json\nfrom sklearn import metrics\ndef late():\n    import hypothesis"
    load_plugin(write_method(tmp_path / "mine.py", top=top))
    method = load_method("mine")
    assert method.provenance.distributions == {name: version(name) for name in ("hypothesis", "scikit-learn")}


def test_a_module_in_site_packages_without_a_distribution_counts(tmp_path: Path, write_method: Any) -> None:
    """Copied there by hand: no version says what it is."""
    site = tmp_path / "site-packages"
    site.mkdir()
    hashes = []
    for text in ("1", "2"):
        (site / "src_copied.py").write_text(f"A = {text}")
        path = write_method(tmp_path / text / "mine.py", name=f"mine{text}", top="import src_copied")
        sys.path.insert(0, str(site))
        try:
            load_plugin(path)
            hashes.append(load_method(f"mine{text}").provenance.sources["src_copied"])
        finally:
            sys.path.remove(str(site))
            sys.modules.pop("src_copied", None)
            importlib.invalidate_caches()
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize("top", ["import base", "import importlib; importlib.import_module('ba' + 'se')"])
def test_a_hash_does_not_depend_on_which_plugin_was_loaded_first(
    top: str, tmp_path: Path, write_method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fssbench.plugins.registry import METHODS

    sources = []
    for order in (["base"], ["derived", "base"]):
        scan_again(METHODS)
        folder = tmp_path / "-".join(order)
        reads = "from pathlib import Path; TABLE = Path(__file__).with_name('{}.txt').read_text()"
        write_method(folder / "base.py", name="base", top=f"import helper; {reads.format('base')}")
        write_method(folder / "derived.py", name="derived", top=f"{top}; {reads.format('derived')}")
        for name in ("helper.py", "base.txt", "derived.txt"):
            (folder / name).write_text("1")
        for name in order:
            load_plugin(folder / f"{name}.py")
        sources.append(load_method("base").provenance.sources)
    assert sources[0] == sources[1]
    assert set(sources[0]) == {"base", "helper", "base.txt"}


def test_built_ins_depend_on_no_other_distribution() -> None:
    from fssbench.api import Dataset, Method
    from fssbench.plugins.registry import DATASETS, METHODS

    for registry, base in ((METHODS, Method), (DATASETS, Dataset)):
        for name in registry.names():
            source = collect_source(registry.get(name), base=base)
            assert not source.distributions, name
            assert all("fssbench" not in part for part in source.parts), "moving a package would change it"


DATASET = """
from fssbench.api import Dataset, DatasetCard, open_image, read_grey

class Mine(Dataset):
    card = DatasetCard(name="mine", title="t", domain="d", folders=("f",), url="u", licence="l", citation="c",
                       layout="l")
    classes = pool = files = image = label = mask = verify = miniature = None
"""


def test_modules_of_the_core_are_no_part_of_a_plugin(tmp_path: Path) -> None:
    """A plugin that is imported first loads parts of fssbench, which are no plugin's own."""
    path = tmp_path / "mine.py"
    path.write_text(DATASET)
    code = (
        "from fssbench.plugins.registry import DATASETS, load_plugin, list_import_observations\n"
        f"load_plugin({str(path)!r})\n"
        "from fssbench.contracts.datasets import Dataset\n"
        "from fssbench.plugins.source_hash import collect_source\n"
        "cls = DATASETS.get('mine')\n"
        "print(sorted(collect_source(cls, base=Dataset, observed=list_import_observations(cls)).parts))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stdout.strip() == "['mine']", done.stderr


# --- while a run goes on -----------------------------------------------------------------------------

LATE = {
    "code by an unknown name": (
        "import importlib; importlib.import_module('hel' + 'per')",
        "helper.py",
        "files =",
    ),
    "code as text": ("exec(open(__file__.replace('mine.py', 'helper.py')).read())", "helper.py", "files ="),
    "data": ("open(__file__.replace('mine.py', 'data.json')).read()", "data.json", "files ="),
}


@pytest.mark.parametrize("way", LATE)
def test_what_the_hash_lacks_ends_the_run_before_it_is_stored(
    null: Any, tmp_path: Path, write_method: Any, way: str
) -> None:
    body, file, hint = LATE[way]
    for name in ("helper.py", "data.json"):
        (tmp_path / "plugin").mkdir(exist_ok=True)
        (tmp_path / "plugin" / name).write_text("A = 1")
    load_plugin(write_method(tmp_path / "plugin" / "mine.py", body=body))
    with pytest.raises(PluginError, match=rf"'mine', episode 0 .*{file}.*{hint}"):
        null.run("runs", null.plan(2), load_method("mine"))
    load_plugin(write_method(tmp_path / "plugin" / "mine.py", body=body, attributes=f"files = ({file!r},)"))
    (run,) = null.run("runs", null.plan(2), load_method("mine"))
    assert run.computed == 2


def test_a_helper_that_is_edited_during_a_run_ends_it(null: Any, tmp_path: Path, write_method: Any) -> None:
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin" / "helper.py").write_text("A = 1")
    load_plugin(write_method(tmp_path / "plugin" / "mine.py", body="import helper"))
    method = load_method("mine")
    (tmp_path / "plugin" / "helper.py").write_text("A = 2")
    with pytest.raises(PluginError, match=r"helper\.py was edited"):
        null.run("runs", null.plan(2), method)


def test_a_helper_and_a_version_are_in_the_manifest(null: Any, tmp_path: Path, write_method: Any) -> None:
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin" / "helper.py").write_text("import sklearn")
    load_plugin(write_method(tmp_path / "plugin" / "mine.py", top="import helper"))
    (run,) = null.run("runs", null.plan(2), load_method("mine"))
    manifest = read_run(run.path).manifest
    assert set(manifest.context.sources) == {"helper", "mine"}
    assert manifest.block.distributions == {"scikit-learn": version("scikit-learn")}


def test_a_method_built_by_hand_has_its_source_too(null: Any, tmp_path: Path, write_method: Any) -> None:
    from fssbench.plugins.registry import METHODS

    identities = set()
    for text in ("1", "2"):
        load_plugin(write_method(tmp_path / text / "mine.py", name=f"mine{text}", top=f"A = {text}"))
        cls = METHODS.get(f"mine{text}")
        (run,) = null.run("runs", null.plan(2), cls(cls.Config()))
        block = read_run(run.path).manifest.block.as_stored()
        identities.add(block["source_sha256"])
    assert len(identities) == 2
    assert None not in identities


# --- code in no file ---------------------------------------------------------------------------------


def answer_cells(folder: str) -> None:
    """Write what a session says about the class of each cell in a folder; each session is a fork of this process."""
    import json
    import os
    import sys
    from pathlib import Path
    from types import ModuleType

    from fssbench import load_method

    for cell in sorted(Path(folder).glob("*.cell")):
        if os.fork():  # torch is imported once for all sessions
            assert os.wait()[1] == 0
            continue
        try:
            session = sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(cell.read_text(), "<cell>", "exec"), session.__dict__)
            method = load_method(session.Mine)
            answer = [method.provenance.source_sha256, *method.provenance.marks]
            cell.with_suffix(".answer").write_text(json.dumps(answer))
        finally:
            os._exit(not cell.with_suffix(".answer").exists())  # without taking torch down, which takes long


CELLS = {
    "a method": ({"body": "value = 1"}, ("value = 1", "value = 2")),
    "a helper": ({"top": "def helper(): return 1\n", "body": "helper()"}, ("return 1", "return 2")),
    "a global": ({"top": "LEVEL = 1\n", "body": "print(LEVEL)"}, ("LEVEL = 1", "LEVEL = 2")),
    "an attribute": ({"attributes": "level = 1"}, ("level = 1", "level = 2")),
    "a set": ({"body": "f = lambda: [1 for _ in {'a', 'b', 'c', 'd'} if _ in {'e', 'f'}]"}, ("[1", "[2")),
}
"""What is edited: parts of a class that is typed into a session, and the edit."""


@pytest.fixture(scope="module")
def session_answers(tmp_path_factory: pytest.TempPathFactory, write_method: Any) -> dict[str, list[Any]]:
    """What sessions say about each class: as it is, edited, and with a space, by another order of all sets."""
    answers: dict[str, list[Any]] = {case: [] for case in CELLS}
    for forms, answer in ((("{old}", "{new}"), answer_cells), (("{old} ",), answer_cells_elsewhere)):
        folder = tmp_path_factory.mktemp("sessions")
        for case, (parts, (old, new)) in CELLS.items():
            for number, form in enumerate(forms):
                cell = write_method(folder / f"{case}-{number}.cell", **parts)
                cell.write_text(cell.read_text().replace(old, form.format(old=old, new=new)))
        answer(str(folder))
        for case, told in answers.items():
            told += [json.loads((folder / f"{case}-{n}.answer").read_text()) for n in range(len(forms))]
    return answers


def answer_cells_elsewhere(folder: str) -> None:
    """Do the same in another process, in which sets have another order."""
    order = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    code = f"import sys, torch\n{inspect.getsource(answer_cells)}\nanswer_cells(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, folder],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": order},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("case", CELLS)
def test_a_class_of_a_session_is_known_by_its_code(case: str, session_answers: dict[str, list[Any]]) -> None:
    plain, edited, spaced = session_answers[case]
    assert plain == spaced != edited
    assert "code in no file" in " ".join(plain[1:])


def test_a_replaced_function_is_another_source(tmp_path: Path, write_method: Any) -> None:
    from fssbench.plugins.registry import METHODS

    load_plugin(write_method(tmp_path / "mine.py"))
    cls = METHODS.get("mine")
    before = load_method("mine").provenance.source_sha256
    plain = cls.logits
    try:
        cls.logits = lambda self, query, support, support_mask: -plain(self, query, support, support_mask)
        assert load_method("mine").provenance.source_sha256 != before
    finally:
        cls.logits = plain
    assert load_method("mine").provenance.source_sha256 == before
