"""`--set METHOD.SETTING=VALUE` is for that method; the others of the run do not see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command import run_command
from messages import error_names

from fssbench.errors import UsageError
from fssbench.evaluation.addressed_settings import check_addresses, select_settings
from fssbench.plugins.registry import METHODS
from fssbench.runs.store import find_run_folders, read_manifest

OTHER = """
import torch
from fssbench.api import ImageMethod, MethodCard, MethodConfig

class Levels(MethodConfig):
    level: int = 1
    api_key: str = ""

class Other(ImageMethod):
    card = MethodCard(name="other", title="x", paper="x", year=2026, kind="other", backbone="none", size=64,
                      trained=False, reference="x", licence="x")
    Config = Levels
    def logits(self, query, support, support_mask):
        level = support_mask.mean(1) - 0.5 * self.config.level
        return torch.stack([-level, level], 1)
"""


@pytest.fixture
def two(null: Any) -> Path:
    """A plugin file with a method `other`, which has settings that `copy-mask` lacks."""
    path: Path = null.folder / "other.py"
    path.write_text(OTHER)
    return path


def run(null: Any, plugin: Path, *words: object) -> Any:
    common = ("-b", "pascal-to-chestxray", "-k", "1", "--data", "mini", "--episodes", "2", "--size", "64")
    where = ("-o", null.folder / "runs", "--panels", "0", "--plugin", plugin, "-q", "--json")
    return run_command("run", *common, *where, *words)


def test_only_the_named_method_gets_it(null: Any, two: Path, mini: Path) -> None:
    result = run(null, two, "-m", "other", "-m", "copy-mask", "--set", "other.level=3")
    assert result.exit_code == 0, result.output
    configs = {
        m.block.method: m.block.config for m in map(read_manifest, find_run_folders(null.folder / "runs"))
    }
    assert configs["other"]["level"] == 3
    assert "level" not in configs["copy-mask"]


def test_a_setting_of_one_method_is_refused_with_the_way_to_address_it(
    null: Any, two: Path, mini: Path
) -> None:
    result = run(null, two, "-m", "other", "-m", "copy-mask", "--set", "level=3")
    assert result.exit_code == 2
    error_names(result.output, "copy-mask", "level", "--set other.level=")


@pytest.mark.parametrize(
    ("config", "methods", "addresses"),
    [
        ({"variant": "released"}, ["pmms", "pmnet"], ["pmnet.variant", "pmms.variant"]),
        ({"variant": "released"}, ["copy-mask", "pmms", "pmnet"], ["pmms.variant", "pmnet.variant"]),
    ],
)
def test_every_method_that_may_be_meant_is_addressed(
    config: dict[str, Any], methods: list[str], addresses: list[str]
) -> None:
    with pytest.raises(UsageError) as refused:
        select_settings(config, methods[0], methods)
    assert error_names(refused.value, *(f"--set {address}=" for address in addresses))


@pytest.mark.parametrize("key", ["othr.level", "other.levl", "other.backbone", "other.", ".level"])
def test_a_wrong_address_is_refused(null: Any, two: Path, mini: Path, key: str) -> None:
    result = run(null, two, "-m", "other", "-m", "copy-mask", "--set", f"{key}=3")
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output


def test_an_address_of_a_method_that_is_not_run_is_a_note() -> None:
    (note,) = check_addresses({"panet.x": 1, "y": 2}, ["hsnet"])
    assert "panet" in note
    assert [*check_addresses({"panet.x": 1}, ["panet"])] == []
    with pytest.raises(UsageError):
        [*check_addresses({"nobody.x": 1}, ["panet"])]


def test_common_and_own_settings_are_joined_and_the_own_one_counts() -> None:
    name = next(name for name in METHODS.names() if METHODS.get(name).Config.model_fields)
    field = next(iter(METHODS.get(name).Config.model_fields))
    assert select_settings({field: 1, f"{name}.{field}": 2}, name, [name]) == {field: 2}
    assert select_settings({f"{name}.{field}": 2}, "copy-mask", [name, "copy-mask"]) == {}


def test_a_secret_is_hidden_under_its_address_too(null: Any, two: Path, mini: Path) -> None:
    result = run(null, two, "-m", "other", "-m", "copy-mask", "--set", "other.api_key=S3CRET9")
    assert result.exit_code == 0, result.output
    assert "S3CRET9" not in result.output
    for path in (null.folder / "runs").rglob("*"):
        assert "S3CRET9" not in path.name
        assert not path.is_file() or b"S3CRET9" not in path.read_bytes()
