from __future__ import annotations

import sys
from pathlib import Path

import pytest
from registries import scan_again

from fssbench.errors import PluginError, UsageError
from fssbench.plugins.registry import METHODS, Registry, load_plugin

GOOD = """
from fssbench.api import ImageMethod, MethodCard
class Good(ImageMethod):
    card = MethodCard(name="NAME", title="Good", paper="-", year=2026, kind="other", backbone="none",
                      size=64, trained=False, reference="none", licence="none")
    def logits(self, query, support, support_mask):
        import torch
        return torch.stack([1 - support_mask[:, 0], support_mask[:, 0]], 1)
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site-packages folder in which tests write distributions by hand."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("rt_"):
            del sys.modules[name]


def distribution(site: Path, name: str, points: dict[str, str], **modules: str) -> None:
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{key} = {value}" for key, value in points.items()]
    (info / "entry_points.txt").write_text("[fssbench.methods]\n" + "\n".join(lines) + "\n")
    for module, text in modules.items():
        (site / f"{module}.py").write_text(text)


def registry() -> Registry:
    return Registry("method", "fssbench.methods", "fssbench.api.Method")


BROKEN = {
    "raises": ("raise RuntimeError('no luck')", "Thing", "RuntimeError: no luck"),
    "missing-dependency": (
        "import no_such_package_at_all",
        "Thing",
        "No module named 'no_such_package_at_all'",
    ),
    "missing-attribute": ("", "Thing", "Thing"),
    "wrong-base": ("class Thing: pass", "Thing", "must be a subclass of fssbench.api.Method"),
    "not-a-class": ("Thing = 3", "Thing", "3 must be a subclass"),
    "exits": ("raise SystemExit(0)", "Thing", "SystemExit: 0"),
    "syntax": ("def", "Thing", "SyntaxError"),
    "abstract": (
        "from fssbench.api import ImageMethod\nclass Thing(ImageMethod): pass",
        "Thing",
        "must define logits",
    ),
    "future-api": ("from fssbench.api import Holograms", "Thing", "cannot import name 'Holograms'"),
    "[bold]x[/foo]": ("raise ValueError('[/red]')", "Thing", r"ValueError: [/red]"),
    "esc": ("raise ValueError('\\x1b[31m')", "Thing", "ValueError"),
}


def test_broken_plugins_keep_their_reason_and_hide_no_other(site: Path) -> None:
    modules = {f"rt_broken{i}": text for i, (text, _, _) in enumerate(BROKEN.values())}
    points = {name: f"rt_broken{i}:{BROKEN[name][1]}" for i, name in enumerate(BROKEN)}
    distribution(site, "rt-plugins", {**points, "good": "rt_good:Good"}, rt_good=GOOD, **modules)
    result = registry()
    assert {*BROKEN, "good", "hsnet", "panet", "pmnet"} <= set(result.names())
    for name, (_, _, reason) in BROKEN.items():
        for _ in range(2):  # the second time from what was kept
            with pytest.raises(PluginError) as caught:
                result.get(name)
            assert reason in str(caught.value)
            assert "rt-plugins 1.0" in str(caught.value)
    assert result.get("good").card.title == "Good"


def test_names_are_listed_without_importing(site: Path) -> None:
    distribution(site, "rt-lazy", {"lazy": "rt_lazy:Thing"}, rt_lazy="raise RuntimeError")
    assert "lazy" in registry().names()
    assert "rt_lazy" not in sys.modules


def test_a_name_claimed_twice_names_both(site: Path) -> None:
    distribution(site, "rt-one", {"twice": "rt_one:Good"}, rt_one=GOOD)
    distribution(site, "rt-two", {"twice": "rt_two:Good", "alone": "rt_two:Good"}, rt_two=GOOD)
    result = registry()
    with pytest.raises(PluginError, match=r"rt-one 1\.0 .* and rt-two 1\.0|rt-two 1\.0 .* and rt-one 1\.0"):
        result.get("twice")
    assert result.get("alone").card.title == "Good"
    assert "twice" in result.names()


def test_unknown_names_suggest() -> None:
    with pytest.raises(
        UsageError, match=r"unknown method 'hsnt'\. Did you mean hsnet\b.*fssbench list methods"
    ):
        registry().get("hsnt")


def test_interrupt_is_not_swallowed(site: Path) -> None:
    distribution(site, "rt-ctrl", {"ctrl": "rt_ctrl:Thing"}, rt_ctrl="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        registry().get("ctrl")


class TestFiles:
    @pytest.fixture(autouse=True)
    def _own_methods(self) -> None:
        scan_again(METHODS)

    def test_registers(self, tmp_path: Path) -> None:
        file = tmp_path / "mine.py"
        file.write_text(GOOD.replace("NAME", "mine"))
        assert load_plugin(file) == ["method mine"]
        assert load_plugin(file) == ["method mine"]
        assert METHODS.get("mine").__name__ == "Good"

    def test_two_files_may_not_share_a_name(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            (tmp_path / f"{name}.py").write_text(GOOD.replace("NAME", "same"))
        load_plugin(tmp_path / "a.py")
        with pytest.raises(PluginError, match=r"registered twice: .*a\.py and .*b\.py"):
            load_plugin(tmp_path / "b.py")

    def test_may_not_take_a_built_in_name(self, tmp_path: Path) -> None:
        (tmp_path / "a.py").write_text(GOOD.replace("NAME", "hsnet"))
        with pytest.raises(PluginError, match="'hsnet' is registered twice"):
            load_plugin(tmp_path / "a.py")

    @pytest.mark.parametrize(
        "text", ["raise RuntimeError('x')", "import sys; sys.exit()", "def", "import nope_nope"]
    )
    def test_broken(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "broken.py"
        file.write_text(text)
        with pytest.raises(PluginError, match="cannot be imported"):
            load_plugin(file)

    def test_empty(self, tmp_path: Path) -> None:
        file = tmp_path / "empty.py"
        file.write_text("from fssbench.api import Method")
        with pytest.raises(PluginError, match="defines no Method"):
            load_plugin(file)

    def test_absent(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="does not exist"):
            load_plugin(tmp_path / "absent.py")

    def test_nameless(self, tmp_path: Path) -> None:
        file = tmp_path / "nameless.py"
        file.write_text(GOOD.replace("card =", "other ="))
        with pytest.raises(PluginError, match=r"Good.*card"):
            load_plugin(file)
