"""Fixtures every test may use.

Fixtures import what imports torch: the process that starts the workers of a session never needs it, and they wait for
that process.
"""

from __future__ import annotations

import gc
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import drawn_data
import plugin_factory
import pytest
from made_once import BuiltInDrawings, install_toys, make_once
from nightly_record import record_session
from places import ROOT, TOY_PLUGIN, TRAIN_PLUGIN
from registries import load_support_plugin, plugins_restored
from slow_tests import mark_slow_tests, read_slow_tests

from fssbench.threads import NUMBER_VARIABLES

if TYPE_CHECKING:
    from fssbench.api import Dataset

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
"""Name of this worker, such as `gw0`; empty in a session without workers."""
gc.disable()  # until all tests are collected: nothing of what collection makes is garbage


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes the outcome of nightly tests into the documentation."""
    parser.addoption("--write-nightly", action="store_true", help="write the outcome into docs/nightly.md")


def pytest_configure() -> None:
    """Leave the user's settings alone, and stop if the environment was installed before the entry points changed.

    Names of data folders are read while tests are collected.  With old entry points, plugins would appear to be broken.
    """
    os.environ["FSSBENCH_CONFIG"] = str(Path(tempfile.gettempdir()) / "fssbench-tests-without-settings")
    import fssbench  # noqa: F401 - from a clone it brings its entry points, so that an editable installation is never old

    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    declared = {(group, *point) for group, points in groups.items() for point in points.items()}
    try:
        points = importlib.metadata.distribution("fssbench").entry_points
    except importlib.metadata.PackageNotFoundError:
        return
    installed = {(point.group, point.name, point.value) for point in points}
    if declared - installed:
        changed = ", ".join(sorted(f"{name} in {group}" for group, name, _ in declared - installed))
        command = "python -m pip install --no-deps --no-build-isolation -e ."
        pytest.exit(
            f"entry points have changed since fssbench was installed ({changed}). Next: `{command}`", 4
        )


class FromTheEnd(pytest.Dir):
    """A folder whose files are collected in the opposite order.

    Two workers that collect at the same time would both compile all tests, and all that these import.  If one of them
    begins at the end, each compiles half, and reads the bytecode of the other for the rest.
    """

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Collect what is in the folder."""
        return reversed([*super().collect()])


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Let every second worker collect from the end."""
    return FromTheEnd.from_parent(parent, path=path) if WORKER.endswith(tuple("13579")) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark nightly tests and those of tests/slow.toml as slow, so that CI leaves them out."""
    if WORKER:
        items.sort(key=lambda item: item.path.parts)  # all workers need one order
    mark_slow_tests(items, read_slow_tests(), whole=not any("::" in argument for argument in config.args))
    for item in items:
        if item.get_closest_marker("nightly"):
            item.add_marker(pytest.mark.slow)
            if item.get_closest_marker("timeout") is None:
                # they are long, and the machine may be at other work
                item.add_marker(pytest.mark.timeout(1800))


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:
    """Write the outcome of the session into docs/nightly.md, if the user asked for it."""
    if config.getoption("--write-nightly"):
        kinds = ("passed", "failed", "skipped", "error")
        reports = [report for kind in kinds for report in terminalreporter.getreports(kind)]
        record_session(ROOT / "docs" / "nightly.md", reports, ROOT, whole=exitstatus in {0, 1})


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Tell the garbage collector to leave alone what lives as long as the session: torch, and all collected tests.

    Otherwise each full collection walks through all of it, and each measurement of memory asks for two.  What tests
    import later is walked through all the same, so collections are rarer than by default.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 10)
    gc.enable()


def _find_shared() -> Path | None:
    named = os.environ.get("FSSBENCH_SHARED")
    if named:
        return Path(named)
    roots = [ROOT]
    # a git worktree lies elsewhere; its common directory tells where the main checkout is
    answer = subprocess.run(
        ["git", "rev-parse", "--path-format=absolute", "--git-common-dir"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode == 0:
        roots.append(Path(answer.stdout.strip()).parent)
    return next((r.parent / "shared" for r in roots if (r.parent / "shared" / "golden").is_dir()), None)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared folder with golden outputs and real samples; tests that need it skip without it."""
    result = _find_shared()
    if result is None:
        pytest.skip("needs the shared folder (goldens and real samples); set FSSBENCH_SHARED to it")
    return result


@pytest.fixture(autouse=True)
def _no_more_threads() -> Iterator[None]:
    """No test leaves more threads than there were: where cores are busy, all later tests would spin and wait."""
    variables = {name: os.environ.get(name) for name in NUMBER_VARIABLES}
    number = _count_threads()
    yield
    left = {name: os.environ.get(name) for name in NUMBER_VARIABLES}
    now = _count_threads()
    if left == variables and (number is None or now is None or now <= number):
        return
    if number is not None:
        sys.modules["torch"].set_num_threads(number)
    for name, value in variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    pytest.fail(f"before the test there were {number} threads and {variables}, and after it {now} and {left}")


def _count_threads() -> int | None:
    """Count the threads that torch computes with; None if it is not imported."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch is not None else None


@pytest.fixture(autouse=True)
def _own_cache(
    _no_more_threads: None,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """No test reads or writes the user's cache, data or settings; a test without a folder gets one if it writes one."""
    if "tmp_path" in request.fixturenames:
        folder = request.getfixturevalue("tmp_path")
    else:
        folder = tmp_path_factory.getbasetemp() / "of-a-test-without-folder"
    monkeypatch.setenv("FSSBENCH_CACHE", str(folder / "cache"))
    monkeypatch.setenv("FSSBENCH_CONFIG", str(folder / "config"))
    monkeypatch.delenv("FSSBENCH_DATA", raising=False)
    monkeypatch.delenv("FSSBENCH_DATA_FOLDERS", raising=False)
    yield
    if "tmp_path" not in request.fixturenames and folder.exists():
        shutil.rmtree(folder)


@pytest.fixture(scope="module", autouse=True)
def _plugins_of_a_file() -> Iterator[None]:
    """A plugin that the fixtures of one file load is not there in the next."""
    with plugins_restored():
        yield


@pytest.fixture(autouse=True)
def _own_plugins() -> Iterator[None]:
    """A plugin that one test loads is not there in the next."""
    with plugins_restored():
        yield


@pytest.fixture(scope="session", autouse=True)
def _drawings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuiltInDrawings]:
    """Every cache and data folder gets a copy of the same drawings; tests/datasets calls the drawing itself."""
    from fssbench.data import location

    drawings = BuiltInDrawings(tmp_path_factory, location.draw_dataset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(location, "draw_dataset", drawings.copy)
        yield drawings


@pytest.fixture(scope="session")
def mini(tmp_path_factory: pytest.TempPathFactory, _drawings: BuiltInDrawings) -> Path:
    """A data folder with all miniature data sets, drawn once per session; read-only by agreement."""
    from fssbench.data.location import MINIATURE_SEED, make_miniature
    from fssbench.plugins.registry import DATASETS

    def draw(root: Path) -> None:
        outcome = make_miniature(root)
        assert set(outcome.values()) == {"written"}, outcome

    _drawings.make_all(map(DATASETS.get, DATASETS.names()), MINIATURE_SEED)
    return make_once(tmp_path_factory, "mini", draw)


@pytest.fixture(scope="session")
def toys_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the third-party package of `tests/plugin_package` is installed; read-only by agreement."""
    return make_once(tmp_path_factory, "toys", install_toys)


@pytest.fixture
def toy() -> type[Dataset]:
    """A third-party data set, loaded from `tests/support/toy_plugin.py` as `--plugin` loads one."""
    from fssbench.plugins.registry import DATASETS

    load_support_plugin(TOY_PLUGIN)
    cls: type[Dataset] = DATASETS.get("toy")
    return cls


@pytest.fixture
def null(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Null runs below a temporary folder, see tests/support/null_harness.py."""
    from null_harness import NullHarness

    harness = NullHarness(tmp_path, tmp_path_factory.getbasetemp() / "null-runs")
    monkeypatch.setenv("NULL_CALLS", str(harness.calls_file))
    return harness


@pytest.fixture(scope="session")
def drawn() -> Any:
    """Draws small data sets and unusual files, see tests/support/drawn_data.py."""
    return drawn_data


@pytest.fixture(scope="session")
def write_method() -> Any:
    """Writes a plugin file with one method, see tests/support/plugin_factory.py."""
    return plugin_factory.write_method


@pytest.fixture(scope="session")
def table() -> Any:
    """Makes synthetic runs, cells and results, see tests/support/table_factory.py."""
    import table_factory

    return table_factory


@pytest.fixture
def shapes(tmp_path: Path) -> Iterator[Path]:
    """A data folder of `tests/support/train_plugin.py`, which is loaded as `--plugin` loads it; one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # many threads on images of 32 px wait for each other
    load_support_plugin(TRAIN_PLUGIN)
    (tmp_path / "data" / "shapes").mkdir(parents=True)
    yield tmp_path / "data"
    torch.set_num_threads(threads)
