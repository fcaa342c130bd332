"""The source hash follows what a method is made of, and nothing else."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fssbench.sources import source_sha256


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
            return source_sha256(cls, base=Base)

    yield hashed
    for loaded in [m for m in sys.modules if m.startswith("somepackage")]:
        del sys.modules[loaded]


def test_it_does_not_depend_on_where_the_files_lie(package: Callable[..., str]) -> None:
    assert package() == package()


@pytest.mark.parametrize("file", ["method.py", "layers.py", "extra.py", "late.py", "deep/inner.py"])
def test_what_is_imported_counts_also_indirectly_and_late(package: Callable[..., str], file: str) -> None:
    assert package({file: FILES[file] + "\n# changed\n"}) != package()


@pytest.mark.parametrize("file", ["unrelated.py", "child.py"])
def test_what_is_not_imported_does_not_count(package: Callable[..., str], file: str) -> None:
    assert package({file: FILES[file] + "\n# changed\n"}) == package()


def test_the_file_of_a_base_class_counts(package: Callable[..., str]) -> None:
    before = package(name="child.Child")
    assert before != package()
    assert package({"late.py": "value = 2\n"}, name="child.Child") != before


def test_a_scratch_file_hashes_by_content_alone(tmp_path: Path) -> None:
    from fssbench.api import Method
    from fssbench.registry import _import

    text = "from fssbench.api import ImageMethod\nclass A(ImageMethod):\n    logits = None\n"
    hashes = []
    for folder, body in (("one", text), ("two", text), ("three", text + "# more\n")):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "scratch.py"
        path.write_text(body)
        hashes.append(source_sha256(_import(path).A, base=Method))
    assert hashes[0] == hashes[1] != hashes[2]
