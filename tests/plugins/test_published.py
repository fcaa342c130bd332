"""Published figures come from entry points; the built-in tables are one, and no method is lost."""

from __future__ import annotations

import importlib.metadata
from importlib.metadata import EntryPoint

import pytest
from fssbench.reports.content.published import of_method, read_published

from fssbench.errors import PluginError
from fssbench.plugins.published import GROUP, collect_published_figures
from fssbench.plugins.registry import METHODS


def test_figures_of_every_method_in_the_tables() -> None:
    shown = {each for name in METHODS.names() for each in METHODS.get(name).card.published or (name,)}
    listed = {p.id for p in read_published()}
    assert listed - shown == {i for i in listed if "/" in i}
    assert (
        collect_published_figures(["ssp"])["pascal5i, resnet50, 1-shot, SSP"] == "61.4 (PMNet paper, Table 1)"
    )
    assert collect_published_figures(["hsnet-hm", "vat-hm"]) == of_method("hsnet-hm") | of_method("vat-hm")
    assert collect_published_figures(["nobody"]) == {}


def test_another_package_adds_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("mine", f"{__name__}:theirs", GROUP)]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
    monkeypatch.setattr(EntryPoint, "load", lambda self: lambda id: {f"{id}, here": "12.3 (a paper)"})
    assert collect_published_figures(["a", "b"]) == {"a, here": "12.3 (a paper)", "b, here": "12.3 (a paper)"}


def test_one_that_does_not_load_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("broken", "no_such_module:figures", GROUP)]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
    with pytest.raises(PluginError, match="no_such_module:figures do not load"):
        collect_published_figures(["a"])
