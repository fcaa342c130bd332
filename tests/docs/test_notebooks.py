"""The notebooks of docs/notebooks: what is stored, and that every cell runs; one of them in a real kernel.

Starting a kernel and importing torch in it takes seconds, so the cells of the others run in this process.
"""

from __future__ import annotations

import ast
import contextlib
import json
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from made_once import put_mini_into_cache
from places import DOCS

import fssbench

NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
KERNEL = "own-method"
"""The notebook that runs in a kernel."""
MISTAKE = "name = 'pascal-to-chestxrya'\nfssbench.plan(name, data='mini')"


def read_cells(path: Path) -> list[str]:
    """The code cells of a notebook."""
    return ["".join(c["source"]) for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]


def run_cell(cell: str, names: dict[str, Any]) -> Any:
    """Run a cell as a notebook does; return the value of its last line, if that is an expression."""
    if cell.startswith("%%writefile "):
        first, _, content = cell.partition("\n")
        Path(first.split()[1]).write_text(content)
        return None
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if last else None  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, mini: Path) -> Path:
    """A folder whose cache all notebooks share; the miniature of the session is in it."""
    folder = tmp_path_factory.mktemp("notebooks")
    put_mini_into_cache(mini, folder / "cache")
    return folder


def show(value: Any) -> str:
    """What a notebook shows of a value."""
    page = getattr(value, "_repr_html_", None)
    return str(page() if page else value)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_without_outputs_and_without_a_machine(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
            compile(
                cell.source.partition("\n")[2] if cell.source.startswith("%%") else cell.source,
                "cell",
                "exec",
            )
        assert cell.metadata == {}
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for word in ("/home/", "/work", "/tmp", "C:\\\\"):
        assert word not in path.read_text()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("own-images", ("part-trained", "left.png", "no accuracy", "data:image/jpeg;base64,")),
        ("read-results", ("miniature", "capped (4 of 600 episodes)", "too few queries (4)", "report.html")),
    ],
)
def test_every_cell_runs(
    name: str, shown: tuple[str, ...], place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FSSBENCH_CACHE", str(place / "cache"))
    names: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.chdir(tmp_path):
        values = [run_cell(cell, names) for cell in read_cells(DOCS / "notebooks" / f"{name}.ipynb")]
        text = "".join(show(value) for value in values if value is not None)
    for word in shown:
        assert word in text


@pytest.mark.timeout(300)
def test_a_kernel_shows_plans_figures_progress_and_the_sentence_of_an_error(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FSSBENCH_CACHE", str(place / "cache"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(DOCS / "notebooks" / f"{KERNEL}.ipynb", as_version=4)
    wrong = nbformat.v4.new_code_cell(MISTAKE, metadata={"tags": ["raises-exception"]})
    notebook.cells.append(wrong)
    client = nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    bundles = [output.data for output in outputs if "data" in output]
    pages = "".join(bundle.get("text/html", "") for bundle in bundles)
    for word in (
        "<progress",
        "miniature",
        "capped (4 of 600 episodes)",
        "too few queries (4)",
        "part-trained",
    ):
        assert word in pages
    assert any("image/png" in bundle for bundle in bundles), "the plan is not drawn"
    assert not [output for output in outputs if output.get("name") == "stderr"]
    (error,) = [output for output in outputs if output.output_type == "error"]
    assert "Did you mean pascal-to-chestxray" in error.evalue
    assert len(error.traceback) == 2
    assert "line 2" in error.traceback[0]
    assert [run.path.name for run in fssbench.results(tmp_path / "runs").results.runs]
